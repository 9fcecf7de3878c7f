"""The task from batch to report, with networks whose answers are known."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dsmixer.data.loader import Feed, in_order
from dsmixer.data.masks.batches import MaskBatch, MaskedImages
from dsmixer.data.masks.files import IGNORE
from dsmixer.data.masks.folders import open_masks
from dsmixer.data.masks.transforms import random_pair, whole_pair
from dsmixer.heads import Segmenter
from dsmixer.tasks.mask_pictures import class_colors, mistakes, overlay
from dsmixer.tasks.pixel_losses import PixelLoss
from dsmixer.tasks.segmentation import Segmentation, unpadded
from dsmixer.tasks.views import Views
from tests import camvid

CLASSES = ["sky", "road", "car"]
PLAIN = PixelLoss(class_weights=None, hard_below=0.0, hard_share=0.0, dice=0.0)


def make(classes=CLASSES, **options):
    settings = {"criterion": PLAIN, "auxiliary_weight": 0.4, "views": Views()}
    return Segmentation(classes, **{**settings, "picture": lambda _: Image.new("RGB", (12, 8), "gray"), **options})


def told(masks, classes=3, rows=None):
    """A batch whose images are its truth, one channel a class, so that ``nn.Identity`` is a perfect network."""
    images = nn.functional.one_hot(masks.clamp(min=0), classes).movedim(3, 1).float() * 20
    sizes = torch.tensor([masks.shape[1:]] * len(masks))
    return MaskBatch(images, masks, torch.arange(len(masks)) if rows is None else torch.tensor(rows), sizes)


def random_masks(images=2, height=8, width=12, seed=0):
    masks = torch.randint(0, 3, (images, height, width), generator=torch.Generator().manual_seed(seed))
    masks[:, 0, :3] = IGNORE
    return masks


def test_a_network_that_is_right_scores_one_and_its_loss_is_nothing():
    task = make()
    task.update(nn.Identity(), told(random_masks()))
    metrics = task.compute()
    assert {name: metrics[name] for name in ("mIoU", "aAcc", "mAcc", "boundary_IoU")} == dict.fromkeys(
        ("mIoU", "aAcc", "mAcc", "boundary_IoU"), 1.0
    )
    assert metrics["loss"] == pytest.approx(0, abs=1e-6)
    assert (task.score(metrics), task.slack(metrics)) == (1.0, 0.0)
    loss, shown = task.loss(nn.Identity(), told(random_masks()))
    assert loss == pytest.approx(0, abs=1e-6)
    assert shown["aAcc"] == 1


def test_an_auxiliary_head_counts_its_weight_and_may_be_coarse():
    batch = told(random_masks())
    logits = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(1))

    def loss(output):
        return make().loss(lambda _: output, batch)[0]

    assert torch.equal(loss((logits, None)), loss(logits))
    torch.testing.assert_close(loss((logits, logits)), 1.4 * loss(logits))
    coarse = torch.zeros(2, 3, 2, 3)
    assert loss((logits, coarse)).item() == pytest.approx(loss(logits).item() + 0.4 * math.log(3))


def test_images_padded_into_a_batch_are_judged_as_if_alone():
    """The network answers from the mean of all it sees, so that padding would show."""
    masks = random_masks(3)
    batch = told(masks)
    batch = batch._replace(images=batch.images / 20 + torch.randn(batch.images.shape), sizes=batch.sizes.clone())
    for i, (height, width) in enumerate([(8, 12), (5, 12), (8, 7)]):
        batch.sizes[i] = torch.tensor([height, width])
        batch.masks[i, height:] = batch.masks[i, :, width:] = IGNORE
        batch.images[i, :, height:] = batch.images[i, :, :, width:] = 0

    def network(images):
        return images - 3 * images.mean((2, 3), keepdim=True)

    together, alone = make(), make()
    together.update(network, batch)
    parts = list(unpadded(batch))
    assert [tuple(images.shape[2:]) for images, _, _ in parts] == [(8, 12), (5, 12), (8, 7)]
    for images, part, rows in reversed(parts):
        alone.update(network, MaskBatch(images, part, rows, torch.tensor([part.shape[1:]])))
    assert alone.compute() == pytest.approx(together.compute())
    assert together.compute()["mIoU"] < 1


def test_an_image_in_which_nothing_is_scored_changes_nothing_and_alone_never_wins():
    nothing = told(torch.full((1, 8, 12), IGNORE), rows=[9])
    task = make()
    task.update(nn.Identity(), nothing)
    metrics = task.compute()
    assert math.isnan(metrics["mIoU"])
    assert metrics["loss"] == 0
    assert task.score(metrics) == -1
    task.update(nn.Identity(), told(random_masks()))
    alone = make()
    alone.update(nn.Identity(), told(random_masks()))
    assert task.compute() == alone.compute()
    loss, shown = task.loss(nn.Identity(), nothing)
    assert loss == 0
    assert shown["aAcc"] == 0


def test_the_table_says_what_is_not_there(tmp_path):
    masks = random_masks()
    masks[masks == 2] = 0
    task = make()
    task.update(nn.Identity(), told(masks))
    lines = task.report(tmp_path)
    assert "| car | 0.0 % | n/a | n/a | n/a |" in lines
    sky = (masks == 0).sum() / (masks != IGNORE).sum()
    assert f"| sky | {100 * sky:.1f} % | 100.0 % | 100.0 % | 100.0 % |" in lines
    for name in ("confusion.png", "masks.png"):
        assert f"]({name})" in "".join(lines)
        with Image.open(tmp_path / name) as image:
            image.load()


def test_the_report_keeps_the_beginning_and_the_worst():
    task = make()
    for row in range(20):
        batch = told(random_masks(1, seed=row), rows=[row])
        wrong = {7: 50, 13: 90, 15: 70, 17: 60, 19: 10}.get(row, 0)
        images = batch.images.flatten(2)
        images[:, :, 5 : 5 + wrong] = images[:, :, 5 : 5 + wrong].roll(1, 1)
        task.update(nn.Identity(), batch._replace(images=images.view(batch.images.shape)))
    assert [judged.row for judged in task.first] == [0, 1, 2, 3]
    assert [judged.row for judged in task.worst] == [13, 15, 17, 7]


@pytest.mark.parametrize("classes", [2, 40, 150])
def test_pictures_for_any_number_of_classes(tmp_path, classes):
    task = make([f"class number {i}" for i in range(classes)])
    task.update(nn.Identity(), told(torch.arange(classes)[None, None].expand(1, 8, -1), classes))
    task.picture = lambda _: Image.new("L", (classes, 8), 99)
    task.report(tmp_path)
    with Image.open(tmp_path / "masks.png") as image:
        assert image.width == 960


def test_colors_are_distinct_and_pascals():
    colors = class_colors(150)
    assert len({tuple(color) for color in colors.tolist()}) == 150
    assert colors[[0, 1, 14]].tolist() == [[128, 0, 0], [0, 128, 0], [192, 128, 128]]  # aeroplane, bicycle, person
    assert colors.any(1).all()


def test_an_overlay_mixes_and_leaves_what_is_not_scored():
    image, mask = Image.new("RGB", (2, 1), (100, 100, 100)), np.array([[0, IGNORE]])
    assert np.asarray(overlay(image, mask, class_colors(3), 0.5)).tolist() == [[[114, 50, 50], [100, 100, 100]]]
    assert np.asarray(mistakes(image, mask, np.array([[1, 1]]))).tolist() == [[[230, 30, 30], [0, 0, 0]]]
    with pytest.raises(ValueError, match="the mask is 2x1, the image 3x1"):
        overlay(Image.new("RGB", (3, 1)), mask, class_colors(3))


@camvid.needs_camvid
def test_camvid_from_files_to_report(tmp_path):
    """Two layers learn a batch of crops; images are judged whole and the report of them is drawn."""
    splits = open_masks(camvid.ROOT, ignore_index=camvid.VOID, val_fraction=0.1, classes=camvid.CLASSES)
    statistics = [0.4, 0.42, 0.43], [0.3] * 3
    train = MaskedImages(
        splits.train, "RGB", random_pair(
            *statistics, crop_size=96, short_side=180, scale=(0.5, 2.0), most_of_one_class=0.75, hflip=0.5,
            photometric=0.5,
        ), seed=0, least_side=96,
    )  # fmt: skip
    val = MaskedImages(splits.val._replace(rows=splits.val.rows[::25]), "RGB", whole_pair(*statistics), seed=0)
    criterion = PixelLoss(class_weights=None, hard_below=0.0, hard_share=0.0, dice=1.0)
    task = make(splits.classes, criterion=criterion, picture=lambda row: splits.val.source.image(row, "RGB"))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 7, 4, 3), nn.ReLU(), nn.Conv2d(32, 11, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    (batch,) = Feed(train, [[(0, 40 * i) for i in range(8)]], 0, 0)
    before, _ = task.loss(model, batch)
    for _ in range(12):
        task.loss(model, batch)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    after, shown = task.loss(model, batch)
    assert after < 0.8 * before
    assert shown["aAcc"] > 0.4
    with torch.inference_mode():
        for batch in Feed(val, in_order(len(val), 2), 0, 0):
            task.update(model, batch)
    metrics = task.compute()
    assert all(0 < metrics[name] < 1 for name in ("mIoU", "aAcc", "mAcc", "boundary_IoU"))
    assert len(task.report(tmp_path)) > len(camvid.CLASSES)


@pytest.mark.parametrize("head", ["upernet", "semantic_fpn"])
def test_a_segmenter_of_ours_learns_from_and_is_judged_by_the_task(head):
    torch.manual_seed(0)
    model = Segmenter("dsm_test", 3, head=head, head_kwargs={"dim": 16})
    task = make()
    batch = told(random_masks(2, 40, 72))
    loss, _ = task.loss(model, batch)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.inference_mode():
        task.update(model.eval(), batch)
    assert task.compute()["loss"] > 0
