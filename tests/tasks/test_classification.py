"""Metrics are what they say, and the pictures can be drawn for any number of classes."""

import pytest
import torch
from PIL import Image
from torch import nn

from dsmixer.data.loader import Batch
from dsmixer.tasks.classification import Classification


def make(classes=3, choose_within=0.0, names=None):
    return Classification(
        names or [f"class number {i}" for i in range(classes)],
        training=None,
        picture=lambda _: Image.new("L", (8, 8), 99),
        choose_within=choose_within,
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


def test_a_process_that_could_read_none_of_its_images_leaves_the_others_theirs():
    task, other = make(), make()
    other.update(nn.Identity(), batch([[9.0, 0, 0], [9.0, 0, 0]], [0, 1]))
    task.merge(lambda mine: [mine, torch.cat(other.seen, 1) if len(mine) == 4 else torch.tensor([[other.loss_sum]])])
    assert task.compute() == pytest.approx(other.compute())


def test_a_name_that_looks_like_a_formula_is_written_as_it_is(tmp_path):
    task = make(names=["$1_$2", r"$\frac$", "_^{"])
    task.update(nn.Identity(), batch([[9.0, 0, 0], [9.0, 0, 0]], [0, 1]))
    task.report(tmp_path)
    assert (tmp_path / "confusion.png").stat().st_size > 1000


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_pictures_and_lines_for_any_number_of_classes(tmp_path, classes):
    task = make(classes)
    task.update(nn.Identity(), Batch(torch.eye(classes), torch.arange(classes).flip(0), torch.arange(classes)))
    lines = task.report(tmp_path)
    assert any("images are wrong" in line for line in lines)
    for name in ("confusion.png", "predictions.png"):
        with Image.open(tmp_path / name) as image:
            image.load()
