"""Image and mask move together, draws are counted, padding is not scored."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from dsmixer.data.loader import CountedBatches, Feed, in_order
from dsmixer.data.masks.batches import MaskedImages
from dsmixer.data.masks.files import IGNORE, MaskCoding
from dsmixer.data.masks.folders import MaskFolder, MaskSplit, Pairs
from dsmixer.data.masks.transforms import Photometric, flip_both, random_pair, scaled_crop, whole_pair
from dsmixer.data.seeds import seed_generators

OFF = {
    "crop_size": 4096,
    "short_side": None,
    "scale": (1.0, 1.0),
    "most_of_one_class": 1.0,
    "hflip": 0.0,
    "photometric": 0.0,
}
ALL = {
    "crop_size": 24,
    "short_side": 40,
    "scale": (0.5, 2.0),
    "most_of_one_class": 0.75,
    "hflip": 0.5,
    "photometric": 0.5,
}
STATS = [0.0] * 3, [1 / 255] * 3  # so that a normalized pixel is its value from 0 to 255


def labelled(height, width):
    """A mask of blocks, and an image whose gray level is twenty times the class."""
    mask = np.kron(np.random.default_rng(0).integers(0, 10, (-(-height // 8), -(-width // 8))), np.ones((8, 8), int))
    mask = mask[:height, :width]
    return Image.fromarray(np.repeat((20 * mask)[:, :, None], 3, 2).astype(np.uint8)), mask


def test_with_everything_off_training_is_evaluation_and_keeps_every_pixel():
    image, mask = labelled(37, 51)
    mask[0, 0] = IGNORE
    pixels, labels = whole_pair(*STATS)(image, mask)
    again, same = random_pair(*STATS, **OFF)(image, mask)
    assert torch.equal(again, pixels)
    assert torch.equal(same, labels)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, torch.from_numpy(mask))
    torch.testing.assert_close(pixels, torch.from_numpy(np.array(image)).permute(2, 0, 1).float())


@pytest.mark.parametrize("size", [(96, 96), (61, 97), (200, 50)])
def test_image_and_mask_stay_aligned_under_any_scale_crop_and_flip(size):
    image, mask = labelled(*size)
    move = random_pair(*STATS, **{**ALL, "photometric": 0.0, "hflip": 0.5})
    for seed in range(8):
        seed_generators(seed)
        pixels, labels = move(image, mask)
        assert tuple(labels.shape) == tuple(pixels.shape[1:])
        assert max(labels.shape) <= 24
        # blurred along the blocks' edges, and there alone: half a pixel of shift would be wrong all along them
        wrong = (pixels[0] - 20 * labels).abs() > 10
        edges = torch.zeros_like(wrong)
        for step in (1, 2):
            for axis in (0, 1):
                for direction in (-step, step):
                    edges |= labels != labels.roll(direction, axis)
        assert not (wrong & ~edges)[2:-2, 2:-2].any()
        assert (pixels[0] - 20 * labels)[~wrong].mean().abs() < 3


def test_a_ramp_tells_that_the_mask_is_not_shifted_by_half_a_pixel():
    ramp = np.tile(np.arange(200), (20, 1))
    image = Image.fromarray(ramp.astype(np.uint8)).convert("RGB")
    labels = Image.fromarray(ramp.astype(np.int32))
    for scale in (0.5, 0.75, 1.5, 2.0):
        seed_generators(1)
        moved, mask = scaled_crop(image, labels, side=64, short_side=None, scale=(scale, scale), most_of_one_class=1)
        gap = np.asarray(moved, float)[:, 4:-4, 0] - np.asarray(mask, float)[:, 4:-4]
        assert abs(gap.mean()) < 0.3, scale


def test_a_crop_of_nearly_one_class_is_tried_again():
    mask = np.zeros((64, 64), np.int64)
    mask[:, 56:] = 1

    def shares(limit):
        for seed in range(40):
            seed_generators(seed)
            _, window = scaled_crop(
                Image.new("RGB", (64, 64)),
                Image.fromarray(mask.astype(np.int32)),
                side=16, short_side=None, scale=(1, 1), most_of_one_class=limit,
            )  # fmt: skip
            yield (np.asarray(window) == 1).mean() >= 0.25

    assert sum(shares(0.75)) > 2 * sum(shares(1.0)) > 0


def test_a_crop_where_nothing_is_scored_comes_through():
    empty = Image.fromarray(np.full((32, 32), IGNORE, np.int32))
    _, window = scaled_crop(
        Image.new("RGB", (32, 32)), empty, side=16, short_side=None, scale=(1, 1), most_of_one_class=0.75
    )
    assert (np.asarray(window) == IGNORE).all()


def test_flipping_is_of_both_or_none():
    image, mask = labelled(8, 16)
    flipped, labels = flip_both(image, Image.fromarray(mask.astype(np.int32)), 1.0)
    assert np.array_equal(np.asarray(labels), mask[:, ::-1])
    assert np.array_equal(np.asarray(flipped), np.asarray(image)[:, ::-1])


def test_colors_change_and_channels_keep_their_place():
    red = Image.new("RGB", (4, 4), (200, 40, 40))
    distort = Photometric(p=1.0, hue=(0.0, 0.0))
    seen = set()
    for seed in range(12):
        seed_generators(seed)
        color = distort(red).getpixel((0, 0))
        assert color[0] > color[1] == color[2]
        seen.add(color)
    assert len(seen) > 6


def test_a_seed_decides_every_draw_and_workers_can_receive_the_transform():
    image, mask = labelled(60, 80)
    transform = random_pair(*STATS, **ALL)
    draws = []
    for seed in (1, 1, 2):
        seed_generators(seed)
        draws.append(pickle.loads(pickle.dumps(transform))(image, mask))
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[2][0])


@pytest.fixture
def split(tmp_path):
    """Six images of three sizes."""
    images, masks = [], []
    for row in range(6):
        image, mask = labelled(30 + 5 * (row % 3), 40)
        images.append(tmp_path / f"{row}.png")
        masks.append(tmp_path / f"{row}-mask.png")
        image.save(images[-1])
        Image.fromarray(mask.astype(np.uint8)).save(masks[-1])
    source = MaskFolder(Pairs(images, list(masks), []), [str(i) for i in range(10)], MaskCoding(10, ignore_index=255))
    return MaskSplit(source, np.arange(6))


def test_batches_do_not_depend_on_workers_and_leave_the_generators_alone(split):
    data = MaskedImages(split, "RGB", random_pair(*STATS, **ALL), seed=5, least_side=24)
    seed_generators(3)
    before = torch.get_rng_state()

    def read(workers):
        plan = CountedBatches(6, 2, batches_per_epoch=3, epochs=2, seed=5, start=0)
        return list(Feed(data, plan, workers, timeout=60))

    here, there = read(0), read(1)
    assert torch.equal(before, torch.get_rng_state())
    assert len(here) == 6
    for batch, other in zip(here, there, strict=True):
        assert batch.images.shape == (2, 3, 24, 24)
        assert all(torch.equal(a, b) for a, b in zip(batch[:4], other[:4], strict=True))


def test_images_of_several_sizes_are_padded_with_what_is_not_scored(split):
    data = MaskedImages(split, "RGB", whole_pair([0.5] * 3, [0.5] * 3), seed=0)
    batch = next(iter(Feed(data, in_order(6, 3), 0, 0)))
    assert batch.images.shape == (3, 3, 40, 40)
    assert batch.sizes.tolist() == [[30, 40], [35, 40], [40, 40]]
    assert batch.rows.tolist() == [0, 1, 2]
    for image, mask, (height, width) in zip(batch.images, batch.masks, batch.sizes.tolist(), strict=True):
        assert (mask[:height, :width] >= 0).all()
        assert (mask[height:] == IGNORE).all()
        assert (image[:, height:, :width] == 0).all()
    assert batch.to(torch.device("meta")).masks.is_meta
