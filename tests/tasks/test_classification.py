"""Metrics are what they say, and the pictures can be drawn for any number of classes."""

import pytest
import torch
from PIL import Image
from torch import nn

from dsmixer.data.loader import Batch
from dsmixer.tasks.classification import Classification


def make(classes=3, **options):
    settings = {"label_smoothing": 0.0, "mixup": 0.0, "cutmix": 0.0, "choose_within": 0.0, **options}
    names = [f"class number {i}" for i in range(classes)]
    return Classification(
        names, picture=lambda _: Image.new("L", (8, 8), 99), preprocessing={"mean": [0.5]}, **settings
    )


def batch(logits, targets, first=0):
    return Batch(torch.tensor(logits), torch.tensor(targets), torch.arange(first, first + len(targets)))


def test_loss_and_accuracy_weigh_images_not_batches():
    task = make()
    big, small = batch([[9.0, 0, 0], [9.0, 0, 0], [0, 9.0, 0]], [0, 0, 1]), batch([[0.0, 0, 9]], [0], 3)
    for part in (big, small):
        task.update(nn.Identity(), part)
    metrics = task.compute()
    together = torch.cat([big.images, small.images])
    assert metrics["accuracy"] == 0.75
    assert metrics["loss"] == pytest.approx(nn.functional.cross_entropy(together, torch.tensor([0, 0, 1, 0])).item())
    assert task.confusion.compute().tolist() == [[2, 0, 1], [0, 1, 0], [0, 0, 0]]
    task.reset()
    task.update(nn.Identity(), small)
    assert task.compute()["accuracy"] == 0


def test_what_chooses_the_best():
    task = make(choose_within=2.0)
    task.update(nn.Identity(), batch([[9.0, 0, 0]] * 98, [0] * 98))
    assert task.score(task.compute()) == 1
    assert task.slack(task.compute()) == pytest.approx(2 * (0.99 * 0.01 / 100) ** 0.5)
    assert make().slack({"accuracy": 0.5}) == 0


def test_smoothing_and_mixing_reach_the_loss():
    logits = [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    plain, _ = make().loss(nn.Identity(), batch(logits, [0, 1]))
    smooth, shown = make(label_smoothing=0.3).loss(nn.Identity(), batch(logits, [0, 1]))
    assert smooth > plain
    assert shown["accuracy"] == 1
    images = torch.zeros(2, 1, 4, 4)
    mixed, _ = make(mixup=1.0, cutmix=1.0).loss(
        lambda x: x.mean((1, 2, 3))[:, None] * torch.ones(3), Batch(images, torch.tensor([0, 1]), torch.arange(2))
    )
    assert mixed.item() == pytest.approx(torch.log(torch.tensor(3.0)).item())


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_pictures_and_lines_for_any_number_of_classes(tmp_path, classes):
    task = make(classes)
    task.update(nn.Identity(), Batch(torch.eye(classes), torch.arange(classes).flip(0), torch.arange(classes)))
    lines = task.report(tmp_path)
    assert any("images are wrong" in line for line in lines)
    for name in ("confusion.png", "predictions.png"):
        with Image.open(tmp_path / name) as image:
            image.load()
