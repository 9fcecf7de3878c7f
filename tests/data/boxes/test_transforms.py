"""Boxes and masks stay on their objects, whatever happens to the image; a seed decides what happens."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from dsmixer.data.boxes.batches import BoxesToScore, BoxesToTrainOn
from dsmixer.data.boxes.coco import open_coco
from dsmixer.data.boxes.source import Objects
from dsmixer.data.boxes.transforms import Window, large_scale_jitter, multi_scale, to_target, to_tensor
from dsmixer.data.seeds import seed_generators
from dsmixer.data.splits import Split
from tests.data.annotated import coco, write_coco

GRAY = [0.5, 0.5, 0.5]
TRANSFORMS = {
    "multi-scale": multi_scale([64, 96, 128], 200, 0.5),
    "cropped": multi_scale([64, 96, 128], 200, 0.5, crop=[300, 420]),
    "jitter": large_scale_jitter(96, (0.3, 2.0), 0.5, GRAY),
}


@pytest.fixture
def split(tmp_path):
    write_coco(tmp_path, "train", coco())
    data = coco(images=4)
    data["annotations"][0]["iscrowd"] = 1
    data["annotations"][1]["bbox"] = [60, 40, 10, 20]  # sticks out
    del data["annotations"][2]["segmentation"]
    write_coco(tmp_path, "val", data)
    return Split(open_coco(str(tmp_path))["val"], np.arange(4))


def one_object(box, size):
    left, top, right, bottom = box
    polygon = [left, top, right, top, right, bottom, left, bottom]
    return Objects(np.array([box], float), np.array([5]), np.array([False]), np.array([1.0]), [[polygon]]), size


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_box_and_the_mask_stay_on_the_object(name):
    objects, (width, height) = one_object([30, 20, 70, 60], (120, 80))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[20:60, 30:70] = (255, 0, 0)
    seen = 0
    for seed in range(25):
        seed_generators(seed)
        target = to_target(objects, width, height, masks=True, name="")
        image, moved = TRANSFORMS[name](Image.fromarray(pixels), target)
        tensor = to_tensor(image)
        red = (tensor[0] > 0.75) & (tensor[1] < 0.25)
        assert moved["masks"].shape[-2:] == tensor.shape[-2:]
        if len(moved["boxes"]) == 0:
            assert red.sum() < 50  # the crop has left it outside, or nearly
            continue
        rows, columns = torch.where(red)
        seen += 1
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        torch.testing.assert_close(
            moved["boxes"][0].as_subclass(torch.Tensor), torch.tensor(found).float(), atol=2, rtol=0
        )
        overlap = (red & moved["masks"][0].bool()).sum() / (red | moved["masks"][0].bool()).sum()
        assert overlap > 0.8  # a border of a pixel about an object of 12
        assert moved["labels"].tolist() == [5]
    assert seen > 15


@pytest.mark.parametrize("name", TRANSFORMS)
def test_sizes_are_what_was_asked_for(name):
    objects, size = one_object([30, 20, 70, 60], (120, 80))
    sizes = set()
    for seed in range(12):
        seed_generators(seed)
        target = to_target(objects, *size, masks=False, name="")
        image, _ = TRANSFORMS[name](Image.new("RGB", size), target)
        sizes.add(image.size)
    if name == "cropped":
        assert {min(size) for size in sizes} <= {64, 96, 128} | set(range(48, 128))  # thin ones end at 200
        assert len({round(width / height, 1) for width, height in sizes}) > 3
    else:
        assert sizes == ({(96, 64), (144, 96), (192, 128)} if name == "multi-scale" else {(96, 96)})


def test_a_window_has_the_sides_that_were_asked_for_or_all_there_is():
    objects, size = one_object([30, 20, 70, 60], (120, 80))
    sides = set()
    for seed in range(200):
        seed_generators(seed)
        image, _ = Window(50, 100)(Image.new("RGB", size), to_target(objects, *size, masks=False, name=""))
        sides.add(image.size)
    widths, heights = zip(*sides, strict=True)
    assert (min(widths), max(widths), min(heights), max(heights)) == (50, 100, 50, 80)


def test_a_box_that_sticks_out_ends_with_the_image_also_where_padding_follows():
    objects, size = one_object([100, 20, 200, 60], (120, 80))
    seed_generators(0)
    pixels = np.full((80, 120, 3), 255, np.uint8)
    jitter = large_scale_jitter(96, (0.3, 0.3), 0, [0, 0, 0])
    image, target = jitter(Image.fromarray(pixels), to_target(objects, *size, masks=False, name=""))
    white = np.flatnonzero(np.asarray(image).max((0, 2)) > 128)
    assert abs(float(target["boxes"][0, 2]) - (white.max() + 1)) <= 1


def test_what_a_crop_leaves_outside_is_gone_with_its_label_and_mask():
    objects, size = one_object([0, 0, 12, 12], (120, 80))
    jitter, counts = large_scale_jitter(96, (1.5, 2.0), 0.5, GRAY), []
    for seed in range(30):
        seed_generators(seed)
        _, target = jitter(Image.new("RGB", size), to_target(objects, *size, masks=True, name=""))
        counts.append(len(target["boxes"]))
        assert len(target["labels"]) == len(target["masks"]) == counts[-1]
        assert (target["boxes"][:, 2:] - target["boxes"][:, :2] >= 1).all()
    assert set(counts) == {0, 1}


def test_padding_has_the_colour_that_normalizes_to_zero():
    objects, size = one_object([30, 20, 70, 60], (120, 80))
    seed_generators(0)
    image, _ = large_scale_jitter(96, (0.1, 0.1), 0, GRAY)(
        Image.new("RGB", size), to_target(objects, *size, masks=False, name="")
    )
    values, counts = np.unique(np.asarray(image), return_counts=True)
    assert values[counts.argmax()] == 128


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_sample_is_a_function_of_seed_epoch_and_position(split, name):
    data = BoxesToTrainOn(split, TRANSFORMS[name], 0, masks=False)
    keys = [(0, 1), (0, 3)]
    once, again = data.__getitems__(keys), pickle.loads(pickle.dumps(data)).__getitems__(keys[::-1])
    assert torch.equal(once.images[0], again.images[1])
    assert torch.equal(once.targets[1]["boxes"], again.targets[0]["boxes"])
    epochs = [data.__getitems__([(epoch, 3)]).images[0] for epoch in range(8)]
    assert any(other.shape != epochs[0].shape or not torch.equal(other, epochs[0]) for other in epochs[1:])


def test_reading_leaves_the_generators_alone(split):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    BoxesToTrainOn(split, TRANSFORMS["jitter"], 0, masks=False).__getitems__([(0, 0), (0, 1)])
    assert torch.equal(before, torch.get_rng_state())


def test_crowds_are_for_the_metric_only_and_training_boxes_lie_inside(split):
    keep = multi_scale([48], 200, 0.0)  # their own size
    batch = BoxesToTrainOn(split, keep, 0, masks=False).__getitems__([(0, i) for i in range(4)])
    assert [len(target["labels"]) for target in batch.targets] == [0, 1, 1, 1]
    assert batch.targets[0]["boxes"].shape == (0, 4)
    assert batch.targets[1]["boxes"].tolist() == [[60, 40, 64, 48]]
    masks = BoxesToTrainOn(split, keep, 0, masks=True).__getitems__([(0, i) for i in range(4)])
    assert [tuple(target["masks"].shape) for target in masks.targets] == [
        (0, 48, 64),
        (1, 48, 64),
        (0, 48, 64),
        (1, 48, 64),
    ]
    scored = BoxesToScore(split).__getitems__([(0, i) for i in range(4)])
    assert [entry["iscrowd"] for truth in scored.truths for entry in truth["annotations"]] == [1, 0, 0, 0]
    assert scored.truths[1]["annotations"][0]["bbox"] == [60, 40, 10, 20]  # as the file has it
    assert [tuple(image.shape) for image in scored.images] == [(3, 48, 64)] * 4
    assert scored.images[1].dtype == torch.float32
    assert scored.to(torch.device("cpu")).rows.tolist() == masks.to(torch.device("cpu")).rows.tolist() == [0, 1, 2, 3]
