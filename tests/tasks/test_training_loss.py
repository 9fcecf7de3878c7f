"""The training loss: what smoothing, mixing, binary cross-entropy and class weights do to it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from dsmixer.data.loader import Batch
from dsmixer.data.seeds import seed_generators
from dsmixer.tasks.training_loss import TrainingLoss, balanced

OFF = {
    "loss": "cross_entropy",
    "label_smoothing": 0.0,
    "bce_threshold": None,
    "class_weights": None,
    "mixup": 0.0,
    "cutmix": 0.0,
    "mix_prob": 1.0,
    "mix_switch": 0.5,
    "mix_mode": "batch",
    "mix_epochs": None,
}
BOTH = pytest.mark.parametrize("loss", ["cross_entropy", "bce"])


def make(classes=3, **options):
    return TrainingLoss(classes, **{**OFF, **options})


def value(task, logits, targets):
    return task(nn.Identity(), Batch(logits, targets, torch.arange(len(targets))))[0]


def some(count, classes=3):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(count, classes, generator=generator, dtype=torch.float64),
        torch.randint(classes, (count,), generator=generator),
    )


def test_without_options_it_is_cross_entropy():
    logits, targets = some(8)
    loss, shown = make()(nn.Identity(), Batch(logits, targets, torch.arange(8)))
    torch.testing.assert_close(loss, cross_entropy(logits, targets))
    assert shown["accuracy"] == (logits.argmax(1) == targets).double().mean()
    torch.testing.assert_close(
        value(make(label_smoothing=0.3), logits, targets), cross_entropy(logits, targets, label_smoothing=0.3)
    )


@pytest.mark.parametrize("threshold", [None, 0.2])
def test_binary_cross_entropy_asks_of_each_class_whether_it_is_there(threshold):
    logits, targets = some(8)
    shares = torch.eye(3, dtype=torch.float64)[targets] * 0.9 + 0.1 / 3
    expected = (shares > threshold).double() if threshold else shares
    found = value(make(loss="bce", label_smoothing=0.1, bce_threshold=threshold), logits, targets)
    torch.testing.assert_close(found, binary_cross_entropy_with_logits(logits, expected))


@BOTH
def test_balanced_weights_are_a_data_set_in_which_every_class_is_as_frequent(loss):
    """One, two and four images of three classes: as if they were there four, two times and once."""
    logits, _ = some(7)
    targets = torch.tensor([0, 1, 1, 2, 2, 2, 2])
    weights = balanced(np.array([1, 2, 4]))
    assert weights[targets].mean() == pytest.approx(1)
    repeated = torch.repeat_interleave(torch.arange(7), torch.tensor([4, 2, 2, 1, 1, 1, 1]))
    weighted = value(make(loss=loss, label_smoothing=0.1, class_weights=weights), logits, targets)
    plain = value(make(loss=loss, label_smoothing=0.1), logits[repeated], targets[repeated])
    torch.testing.assert_close(weighted, plain, rtol=1e-6, atol=0)


@BOTH
def test_a_class_without_images_leaves_every_loss_finite(loss):
    weights = balanced(np.array([3, 0, 1]))
    assert weights.tolist() == pytest.approx([2 / 3, 1, 2])
    logits, targets = torch.zeros(4, 3), torch.tensor([0, 0, 0, 2])
    for mixing in ({}, {"mixup": 1.0}):
        task = make(loss=loss, label_smoothing=0.1, class_weights=weights, **mixing)
        assert value(task, logits.clone(), targets).isfinite()


class Recorder(nn.Module):
    """Remembers the images it was given and answers the share of ones in them as the first class's logit."""

    def forward(self, images):
        self.images = images.clone()
        share = images.mean((1, 2, 3))
        return torch.stack([share, 1 - share], 1)


def mixed(task, seed, count=4):
    """Images of class 0 are ones, of class 1 zeros."""
    targets = torch.arange(count) % 2
    images = (1 - targets.float()).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone()
    model = Recorder()
    seed_generators(seed)
    task(model, Batch(images, targets, torch.arange(count)))
    return images, model.images


@pytest.mark.parametrize("options", [{"mixup": 1.0}, {"cutmix": 1.0}], ids=["mixup", "cutmix"])
def test_a_mixed_image_has_the_labels_of_what_it_shows(options):
    """A logit that is the share of ones: with labels that are the shares, the loss is the shares' cross-entropy."""
    targets = torch.arange(4) % 2
    images = (1 - targets.float()).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone()
    model = Recorder()
    seed_generators(2)
    loss, _ = make(2, **options)(model, Batch(images, targets, torch.arange(4)))
    share = model.images.mean((1, 2, 3))
    assert 0 < share[0] < 1
    shares = torch.stack([share, 1 - share], 1)
    torch.testing.assert_close(loss, cross_entropy(shares, shares))


def test_mixing_can_be_rare_choose_and_be_drawn_for_each_image():
    _, never = mixed(make(2, mixup=1.0, mix_prob=0.0), 1)
    assert set(never.unique().tolist()) == {0.0, 1.0}
    for switch, values in ((0.0, "between"), (1.0, "only 0 and 1")):
        _, seen = mixed(make(2, mixup=1.0, cutmix=1.0, mix_switch=switch), 1)
        assert (set(seen.unique().tolist()) <= {0.0, 1.0}) == (values == "only 0 and 1")
    for mode, different in (("batch", 1), ("pair", 2), ("elem", 4)):
        _, seen = mixed(make(2, mixup=1.0, mix_mode=mode), 1)
        heavier = torch.maximum(seen.mean((1, 2, 3)), 1 - seen.mean((1, 2, 3)))
        assert len({round(share, 5) for share in heavier.tolist()}) == different


def test_mixing_ends_with_its_epochs_and_smoothing_goes_on():
    task = make(2, mixup=1.0, mix_epochs=2, label_smoothing=0.2)
    for epoch, mixes in ((0, True), (1, True), (2, False), (0, True)):
        task.at_epoch(epoch)
        images, seen = mixed(task, 1)
        assert torch.equal(images, seen) == (not mixes)
    task.at_epoch(2)
    logits, targets = some(4, 2)
    torch.testing.assert_close(value(task, logits, targets), cross_entropy(logits, targets, label_smoothing=0.2))
