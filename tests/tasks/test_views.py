"""Ways to look at an image agree where they must."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dsmixer.tasks.views import Views, look

IMAGES = torch.randn(2, 3, 13, 22, generator=torch.Generator().manual_seed(0))


class Wide(nn.Module):
    """Sees far: what it says of a pixel depends on the whole input and on the pixel's place in it."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images):
        place = torch.linspace(0, 1, images.shape[3])
        return self.classify(images) + images.mean((1, 2, 3))[:, None, None, None] + place


def pointwise():
    torch.manual_seed(1)
    return nn.Conv2d(3, 5, 1).eval()


@pytest.fixture(scope="module")
def wide():
    torch.manual_seed(0)
    return Wide().eval()


@torch.inference_mode()
def test_whole_is_the_models_own_answer(wide):
    assert torch.equal(look(wide, IMAGES, Views()), wide(IMAGES))


@pytest.mark.parametrize("window", [22, 30])
@torch.inference_mode()
def test_one_window_that_covers_the_image_is_the_whole(wide, window):
    assert torch.equal(look(wide, IMAGES, Views(window=window, stride=5)), wide(IMAGES))


@given(st.integers(1, 30), st.data(), st.booleans())
@settings(max_examples=30, deadline=None)
@torch.inference_mode()
def test_windows_and_mirrors_change_nothing_for_a_function_of_each_pixel(window, data, flip):
    stride = data.draw(st.integers(1, window))
    model = pointwise()
    views = Views(window=window, stride=stride, short_side=None, scales=(1.0,), flip=flip)
    got, expected = look(model, IMAGES, views), model(IMAGES)
    torch.testing.assert_close(got.softmax(1), expected.softmax(1), atol=1e-5, rtol=1e-5)
    if not flip:
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_scales_change_nothing_where_the_image_does_not_change():
    images = torch.randn(2, 3, 1, 1).expand(2, 3, 13, 22)
    views = Views(window=8, stride=5, short_side=9, scales=(0.5, 1.0, 1.75), flip=True)
    got, expected = look(pointwise(), images, views), pointwise()(images)
    assert got.shape == (2, 5, 13, 22)
    torch.testing.assert_close(got.softmax(1), expected.softmax(1), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_windows_overlap_by_a_third_unless_a_stride_is_given():
    assert Views(window=32).stride == 21
    assert Views(window=1).stride == 1


def test_overlaps_are_the_mean_of_what_each_window_says():
    class Place(nn.Module):
        def forward(self, images):
            """The column within the window."""
            return torch.arange(images.shape[3]).float().expand(images.shape[0], 1, images.shape[2], -1)

    # windows of columns 0 to 3, 2 to 5, and, moved back to the border, 3 to 6
    got = look(Place(), torch.zeros(1, 3, 2, 7), Views(window=4, stride=2))[0, 0, 0]
    assert got.tolist() == pytest.approx([0, 1, (2 + 0) / 2, (3 + 1 + 0) / 3, (2 + 1) / 2, (3 + 2) / 2, 3])


@torch.inference_mode()
def test_several_views_are_the_mean_probability(wide):
    alone = wide(IMAGES).softmax(1)
    mirrored = wide(IMAGES.flip(3)).flip(3).softmax(1)
    got = look(wide, IMAGES, Views(flip=True))
    torch.testing.assert_close(got.softmax(1), (alone + mirrored) / 2)
    assert not torch.allclose(alone, mirrored, atol=1e-3)


@torch.inference_mode()
def test_the_model_sees_the_size_that_was_asked_for():
    seen = []

    def model(images):
        seen.append(tuple(images.shape[2:]))
        return images[:, :2, ::2, ::2]  # half the size, as a head may answer

    got = look(model, IMAGES, Views(short_side=26, scales=(1.0, 0.5)))
    assert seen == [(26, 44), (13, 22)]
    assert got.shape == (2, 2, 13, 22)


@torch.inference_mode()
def test_a_certain_answer_stays_finite():
    logits = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1)
    got = look(lambda images: logits.expand(1, 2, *images.shape[2:]), IMAGES[:1], Views(flip=True))
    assert got.isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [{"window": 0}, {"stride": 4}, {"window": 4, "stride": 5}, {"window": 4, "stride": 0}, {"scales": ()},
     {"scales": (1.0, 0.0)}, {"short_side": 0}],
)  # fmt: skip
def test_views_of_nothing_or_with_gaps_are_refused(wrong):
    with pytest.raises(ValueError, match=r"window is|scales are|short_side is"):
        Views(**wrong)
