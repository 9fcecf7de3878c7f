"""Losses equal their formulas and references, and are finite whatever is not scored."""

import math

import pytest
import torch
from segmentation_models_pytorch.losses import DiceLoss
from torch.nn.functional import cross_entropy

from dsmixer.data.masks.files import IGNORE
from dsmixer.tasks.pixel_losses import PixelLoss, dice_loss, hard_pixels

EVERYTHING = {"class_weights": [1.0, 2.0, 0.5], "hard_below": 0.7, "hard_share": 0.1, "dice": 1.0}
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(2, 3, 6, 7, generator=GENERATOR)
MASKS = torch.randint(0, 3, (2, 6, 7), generator=GENERATOR)
MASKS[0, :2] = IGNORE


def make(**options):
    return PixelLoss(**{"class_weights": None, "hard_below": 0.0, "hard_share": 0.0, "dice": 0.0, **options})


def test_plain_cross_entropy_is_pytorchs():
    torch.testing.assert_close(make()(LOGITS, MASKS), cross_entropy(LOGITS, MASKS, ignore_index=IGNORE))


@pytest.mark.parametrize("options", [{}, EVERYTHING])
def test_where_nothing_is_scored_loss_and_gradient_are_zero(options):
    nothing = torch.full_like(MASKS, IGNORE)
    assert cross_entropy(LOGITS, nothing, ignore_index=IGNORE).isnan()  # why the mean is ours
    logits = LOGITS.clone().requires_grad_()
    loss = make(**options)(logits, nothing)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("options", [{}, EVERYTHING])
def test_what_is_not_scored_has_no_influence(options):
    logits = LOGITS.clone().requires_grad_()
    loss = make(**options)(logits, MASKS)
    loss.backward()
    assert (logits.grad.movedim(1, 3)[MASKS == IGNORE] == 0).all()
    assert (logits.grad != 0).any()
    other = LOGITS.clone()
    other.movedim(1, 3)[MASKS == IGNORE] += torch.tensor([9.0, -9.0, 0.0])
    torch.testing.assert_close(make(**options)(other, MASKS), loss.detach())


def test_class_weights_multiply_the_pixels_of_their_class():
    weights = [1.0, 2.0, 0.5]
    weighted = cross_entropy(LOGITS, MASKS, torch.tensor(weights), ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(make(class_weights=weights)(LOGITS, MASKS), weighted / (MASKS != IGNORE).sum())
    with pytest.raises(ValueError, match="2 class weights for 3 classes"):
        make(class_weights=[1.0, 1.0])(LOGITS, MASKS)


def test_dice_equals_the_reference():
    reference = DiceLoss("multiclass", ignore_index=IGNORE, smooth=0.0)(LOGITS, MASKS)  # every class is present
    torch.testing.assert_close(dice_loss(LOGITS, MASKS), reference)


def test_dice_is_zero_when_sure_and_right_and_absent_classes_do_not_help():
    truth = torch.tensor([[[0, 1], [1, IGNORE]]])
    sure = torch.full((1, 3, 2, 2), -50.0)
    sure.scatter_(1, truth.clamp(min=0)[:, None], 50.0)
    assert dice_loss(sure, truth) == pytest.approx(0, abs=1e-6)
    flat = torch.zeros(1, 3, 2, 2)  # 1/3 for each class; overlap 1/3 and 2/3, sums 1 + 1 and 1 + 2
    assert dice_loss(flat, truth).item() == pytest.approx(1 - (2 * (1 / 3) / 2 + 2 * (2 / 3) / 3) / 2)


def test_hard_pixels_are_the_unlikely_ones_and_at_least_a_share():
    probability = torch.tensor([0.9, 0.2, 0.8, 0.6, 0.99, 0.01])
    losses, scored = -probability.log(), torch.tensor([True] * 5 + [False])

    def chosen(below, share):
        return probability[hard_pixels(losses, scored, below, share)].tolist()

    assert chosen(0.7, 0.0) == pytest.approx([0.2, 0.6])
    assert chosen(0.7, 0.2) == pytest.approx([0.2, 0.6])
    assert chosen(0.1, 0.5) == pytest.approx([0.2, 0.8, 0.6])  # 2.5 of 5, rounded up
    assert chosen(0.1, 1.0) == pytest.approx([0.9, 0.2, 0.8, 0.6, 0.99])
    assert chosen(0.1, 0.0) == []


def test_the_loss_of_hard_pixels_is_their_mean():
    losses = cross_entropy(LOGITS, MASKS, ignore_index=IGNORE, reduction="none")
    hard = (losses > -math.log(0.3)) & (MASKS != IGNORE)
    assert 0 < hard.sum() < (MASKS != IGNORE).sum()
    torch.testing.assert_close(make(hard_below=0.3)(LOGITS, MASKS), losses[hard].mean())


@pytest.mark.parametrize("wrong", [{"hard_below": 1.0}, {"hard_share": 2.0}, {"dice": -1.0}, {"class_weights": [-1.0]}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=r"hard_below is|may not be negative"):
        make(**wrong)
