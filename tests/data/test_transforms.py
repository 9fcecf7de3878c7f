"""What reaches the network: sizes, scale, and geometry in the right direction."""

import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import label

from dsmixer.data.seeds import seed_generators
from dsmixer.data.transforms import Transform, affine, eval_transform, shifted_crop, train_transform

OFF = {
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "hflip": 0.0,
    "vflip": 0.0,
    "crop_padding": 0,
    "crop_scale": 1.0,
    "crop_ratio": 4 / 3,
    "crop_interpolation": "bicubic",
    "rotate": 0.0,
    "translate": 0.0,
    "scale": 0.0,
    "rand_augment": None,
    "color_jitter": 0.0,
    "erase": 0.0,
    "erase_count": 1,
    "erase_mode": "pixel",
}
ALL = {
    "crop_pct": 0.9,
    "interpolation": "bilinear",
    "hflip": 0.5,
    "vflip": 0.5,
    "crop_padding": 2,
    "crop_scale": 0.5,
    "crop_ratio": 2.0,
    "crop_interpolation": "random",
    "rotate": 10.0,
    "translate": 0.1,
    "scale": 0.1,
    "rand_augment": "rand-m9-mstd0.5-inc1",
    "color_jitter": 0.4,
    "erase": 1.0,
    "erase_count": 3,
    "erase_mode": "rand",
}


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
@pytest.mark.parametrize("size", [(8, 8), (31, 17), (5, 40)])
def test_evaluation_gives_a_normalized_square(mode, channels, size):
    pixels = eval_transform(16, [0.5] * channels, [0.25] * channels)(Image.new(mode, size, "white"))
    assert pixels.shape == (channels, 16, 16)
    torch.testing.assert_close(pixels, torch.full_like(pixels, 2.0))


def test_training_with_everything_off_is_evaluation():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    assert torch.equal(train_transform(16, mean, std, **OFF)(image), eval_transform(16, mean, std)(image))


def test_a_seed_decides_every_random_part_and_workers_can_receive_it():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    transform = train_transform(32, [0.5] * 3, [0.5] * 3, **ALL)
    draws = []
    for seed in (1, 1, 2):
        seed_generators(seed)
        draws.append(pickle.loads(pickle.dumps(transform))(image))
    assert draws[0].shape == (3, 32, 32)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_affine_moves_turns_and_zooms_about_the_middle(monkeypatch):
    image = Image.fromarray(np.zeros((9, 9), np.uint8))
    image.putpixel((6, 4), 255)  # right of the middle
    draws = iter([90, 1, 0, 0])
    monkeypatch.setattr(random, "uniform", lambda *_: next(draws))
    turned = np.asarray(affine(image, 90, 0, 0))
    assert np.argwhere(turned > 128).tolist() in ([[6, 4]], [[2, 4]])
    draws = iter([0, 1, 1 / 9, 2 / 9])
    assert np.argwhere(np.asarray(affine(image, 0, 1, 0)) > 128).tolist() == [[6, 7]]  # one right, two down
    draws = iter([0, 2, 0, 0])
    assert np.argwhere(np.asarray(affine(image, 0, 0, 1)) > 128)[:, 1].mean() > 7  # twice as far from the middle


def test_a_shifted_crop_keeps_the_size_and_moves_within_the_padding():
    image = Image.new("L", (8, 8))
    image.putpixel((4, 4), 255)
    places = set()
    for seed in range(60):
        random.seed(seed)
        moved = shifted_crop(image, 2)
        assert moved.size == (8, 8)
        places.add(tuple(np.argwhere(np.asarray(moved) == 255)[0].tolist()))
    assert {y for y, _ in places} == {x for _, x in places} == {2, 3, 4, 5, 6}


def test_the_highest_magnitude_of_rand_augment_is_survived():
    transform = train_transform(16, [0.5] * 3, [0.5] * 3, **{**OFF, "rand_augment": "rand-m10-n9-inc1"})
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8))
    for seed in range(40):  # posterize is one of 15 operations: some of these ask for 0 bits
        seed_generators(seed)
        assert transform(image).isfinite().all()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_tensor_is_scaled_and_shifted_channel_by_channel(mode):
    array = np.random.default_rng(0).integers(0, 255, (5, 7, 3)[: 3 if mode == "RGB" else 2], np.uint8)
    mean, std = [0.4, 0.5, 0.6][: len(mode)], [0.1, 0.2, 0.3][: len(mode)]
    pixels = Transform([], mean, std)(Image.fromarray(array))
    expected = array.reshape(5, 7, -1).transpose(2, 0, 1) / 255
    for channel, (plane, m, s) in enumerate(zip(expected, mean, std, strict=True)):
        assert np.allclose(pixels[channel].numpy(), (plane - m) / s, atol=1e-6)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()


def ramp(width, height):
    """Red tells the column, green the row, from 0 to 1."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 0 * x], -1).round().astype(np.uint8))


def plain(**options):
    return train_transform(64, [0.0] * 3, [1.0] * 3, **{**OFF, **options})


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_evaluated_crop_is_the_middle_of_the_middle_square(interpolation):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8))
    found = eval_transform(16, [0.0] * 3, [1.0] * 3, 0.75, interpolation)(image)
    middle = image.crop((30, 10, 90, 70))  # 0.75 of 80 is 60
    expected = eval_transform(16, [0.0] * 3, [1.0] * 3, 1.0, interpolation)(middle)
    inside = (..., slice(2, -2), slice(2, -2))  # at its border Pillow also weighs the pixels next to the crop
    assert torch.equal(found[inside], expected[inside])
    other = eval_transform(16, [0.0] * 3, [1.0] * 3, 0.75, "bilinear" if interpolation == "bicubic" else "bicubic")
    assert not torch.equal(found, other(image))


def test_the_evaluated_crop_is_nearly_timms():
    from timm.data import create_transform

    image = ramp(300, 200)
    theirs = create_transform(64, interpolation="bicubic", crop_pct=0.875, mean=(0.0,) * 3, std=(1.0,) * 3)(image)
    ours = eval_transform(64, [0.0] * 3, [1.0] * 3, 0.875)(image)
    assert (ours - theirs).abs().max() < 1 / 73  # a pixel: they resize to a whole number of pixels, 73, and then cut


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
def test_a_resized_crop_keeps_at_least_its_share_with_sides_within_the_ratio(interpolation):
    shares, ratios = [], []
    for seed in range(40):
        seed_generators(seed)
        pixels = plain(crop_scale=0.2, crop_ratio=2.0, crop_interpolation=interpolation)(ramp(256, 256))
        width, height = (float(pixels[i].max() - pixels[i].min()) for i in (0, 1))
        shares.append(width * height)
        ratios.append(width / height)
    assert 0.17 < min(shares) < 0.4
    assert 0.8 < max(shares) <= 1
    assert 0.48 < min(ratios) < 0.7
    assert 1.4 < max(ratios) < 2.1


def test_flips_turn_left_to_right_and_upside_down():
    image = ramp(64, 64)
    straight = plain()(image)
    assert torch.equal(plain(hflip=1.0)(image), straight.flip(2))
    assert torch.equal(plain(vflip=1.0)(image), straight.flip(1))


def test_color_jitter_stays_within_its_share():
    seen = []
    for seed in range(40):
        seed_generators(seed)
        seen.append(float(plain(color_jitter=0.4)(Image.new("RGB", (64, 64), (100, 100, 100))).mean()) * 255)
    assert 60 <= min(seen) < 75  # of a gray area only the brightness can change
    assert 125 < max(seen) <= 140


def test_erasing_fills_rectangles_as_asked():
    image, most = Image.new("RGB", (64, 64), "white"), 0
    for seed in range(30):
        seed_generators(seed)
        const = plain(erase=1.0, erase_count=3, erase_mode="const")(image)
        assert set(const.unique().tolist()) == {0.0, 1.0}
        most = max(most, label(const[0].numpy() == 0)[1])
        seed_generators(seed)
        one_color = plain(erase=1.0, erase_mode="rand")(image)[0]
        assert len(one_color.unique()) == 2
        seed_generators(seed)
        assert len(plain(erase=1.0, erase_mode="pixel")(image)[0].unique()) > 10
    assert most == 3
