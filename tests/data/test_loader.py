"""A batch is a function of (seed, epoch, position): not of workers, history, or where reading began."""

import os
import re

import numpy as np
import pytest
import torch
from timm.data.distributed_sampler import RepeatAugSampler

from dsmixer.data.boxes.batches import BoxesToScore
from dsmixer.data.boxes.survey import open_boxes
from dsmixer.data.loader import CountedBatches, DataError, Feed, Images, in_order, repeated
from dsmixer.data.masks.batches import MaskedImages
from dsmixer.data.masks.folders import open_masks
from dsmixer.data.masks.transforms import whole_pair
from dsmixer.data.seeds import seed_generators
from dsmixer.data.splits import Split, open_splits
from dsmixer.data.transforms import eval_transform, train_transform
from tests.engine import dense

AUGMENTED = train_transform(
    16, [0.5] * 3, [0.5] * 3, crop_pct=0.9, interpolation="bilinear", hflip=0.5, vflip=0.5, crop_padding=2,
    crop_scale=0.5, crop_ratio=2.0, crop_interpolation="random", rotate=10, translate=0.1, scale=0.1,
    rand_augment="rand-m9-mstd0.5-inc1", color_jitter=0.4, erase=0.5, erase_count=3, erase_mode="rand",
)  # fmt: skip


def read(split, workers, start=0, repeats=1):
    images = Images(split, "RGB", AUGMENTED, seed=5)
    batches = CountedBatches(
        len(images), 8, batches_per_epoch=len(images) // 8, epochs=2, seed=5, start=start, repeats=repeats
    )
    return list(Feed(images, batches, workers, timeout=60))


def test_augmented_batches_do_not_depend_on_workers_or_on_where_reading_began(folder):
    split = open_splits("parquet", str(folder), 0.2).train
    here = read(split, workers=0)
    assert len(here) == 8
    for other, offset in ((read(split, workers=2), 0), (read(split, workers=1, start=3), 3)):
        assert len(other) == len(here) - offset
        for batch, expected in zip(other, here[offset:], strict=True):
            assert torch.equal(batch.images, expected.images)
            assert torch.equal(batch.rows, expected.rows)
    assert not torch.equal(here[0].images, here[4].images)  # the next epoch draws anew
    for batch in here:
        assert torch.equal(batch.targets, torch.from_numpy(split.source.labels[batch.rows.numpy()]))


def test_repeats_are_timms_each_with_an_augmentation_of_its_own():
    order = np.random.default_rng(0).permutation(10)
    theirs = RepeatAugSampler(order, num_replicas=1, rank=0, shuffle=False, num_repeats=3, selected_round=0)
    places = repeated(order, 3)
    assert (places % 10).tolist() == [int(order[i]) for i in theirs]
    assert len(set(places.tolist())) == len(places) == 10
    assert np.array_equal(repeated(order, 1), order)


def test_repeated_batches_do_not_depend_on_workers_or_on_where_reading_began(folder):
    split = open_splits("parquet", str(folder), 0.2).train
    here = read(split, workers=0, repeats=3)
    assert [len(batch.rows) for batch in here] == [8] * 8  # as many as without
    for other, offset in ((read(split, workers=2, repeats=3), 0), (read(split, workers=0, start=5, repeats=3), 5)):
        for batch, expected in zip(other, here[offset:], strict=True):
            assert torch.equal(batch.images, expected.images)
            assert torch.equal(batch.rows, expected.rows)
    rows, images = here[0].rows.tolist(), here[0].images
    assert rows[0] == rows[1] == rows[2] != rows[3]
    assert not torch.equal(images[0], images[1])
    assert set(rows[:3]) != set(here[4].rows.tolist()[:3])  # another order in the next epoch


def test_reading_here_leaves_the_generators_alone(folder):
    split = open_splits("parquet", str(folder), 0.2).train
    images = Images(split, "RGB", AUGMENTED, seed=5)
    seed_generators(3)
    before = torch.get_rng_state()
    images.__getitems__([(0, 1), (0, 2)])
    assert torch.equal(before, torch.get_rng_state())


def test_an_evaluation_sees_every_image_once(folder):
    split = open_splits("parquet", str(folder), 0.2).test
    images = Images(split, "RGB", eval_transform(8, [0.5] * 3, [0.5] * 3), seed=0)
    rows = torch.cat([batch.rows for batch in Feed(images, in_order(len(images), 3), 0, 0)])
    assert rows.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_one_sentence_also_from_a_worker(folder, write, workers):
    write(folder / "test.parquet", ["a"], [0, 0, 0], broken={1})
    split = open_splits("parquet", str(folder), 0.2).test
    images = Images(split, "RGB", eval_transform(8, [0.5] * 3, [0.5] * 3), seed=0)
    with pytest.raises(DataError, match=r"^row 1 of .*/test: damaged image[^\n]*$"):
        list(Feed(images, in_order(len(images), 2), workers, 60))


class Deadly:
    """A source whose third image kills the process that reads it."""

    def __init__(self, source):
        self.classes, self.labels, self.source = source.classes, source.labels, source

    def image(self, row, mode):
        if row == 2:
            os._exit(1)
        return self.source.image(row, mode)

    def name(self, row):
        return self.source.name(row)


def test_a_dead_worker_is_reported_with_the_images_it_was_reading(folder):
    split = open_splits("parquet", str(folder), 0.2).test
    images = Images(Split(Deadly(split.source), split.rows), "RGB", eval_transform(8, [0.5] * 3, [0.5] * 3), seed=0)
    four = ", ".join(f"row {row} of {folder / 'test'}" for row in range(4))
    with pytest.raises(DataError, match=rf"exited unexpectedly.* at one of 4 images: {re.escape(four)}; try"):
        list(Feed(images, in_order(len(images), 2), 1, 60))


@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_masks_and_boxes_that_were_being_read_are_named_alike(kind, tmp_path, monkeypatch):
    root = dense.write(kind, tmp_path)
    if kind == "masks":
        split, read = open_masks(str(root), val_fraction=0.1, classes=dense.CLASSES, ignore_index=255).test, "pair"
        samples, first = MaskedImages(split, "RGB", whole_pair([0.5] * 3, [0.5] * 3), seed=0), "images/test/0.png"
    else:
        split, read = open_boxes(str(root), 0.1).test, "image"
        samples, first = BoxesToScore(split), "test/0.png"
    monkeypatch.setattr(type(split.source), read, lambda *_: os._exit(1))
    second = first.replace("0", "1")
    with pytest.raises(DataError, match=rf"exited unexpectedly.* at one of 4 images: {first}, {second}, .*; try"):
        list(Feed(samples, in_order(len(samples), 2), 1, 60))


def test_of_many_images_the_first_ten_are_named(folder):
    split = open_splits("parquet", str(folder), 0.2).train
    named = Images(split, "RGB", AUGMENTED, seed=5).named([7, 7, *range(12)])
    names = [f"row {row} of {folder / 'train'}" for row in (7, *range(7), 8, 9)]
    assert named == f"12 images: {', '.join(names)} and 2 more"


def test_starting_to_read_leaves_the_generators_alone(folder):
    split = open_splits("parquet", str(folder), 0.2).train
    seed_generators(3)
    before = torch.get_rng_state()
    read(split, workers=0)
    read(split, workers=1)
    assert torch.equal(before, torch.get_rng_state())


def test_nobody_looks_for_a_replacement_of_an_image_that_can_be_read(folder, monkeypatch):
    split = open_splits("parquet", str(folder), 0.2).train
    images = Images(split, "RGB", AUGMENTED, seed=5, replace=True)
    monkeypatch.setattr(Images, "alike", lambda *_: pytest.fail("it passes over all labels: 5 ms on ImageNet"))
    assert len(images.__getitems__([(0, 1), (0, 2)]).rows) == 2
