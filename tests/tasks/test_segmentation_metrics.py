"""Metrics equal references and hand-made values, and survive what is empty."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from dsmixer.data.masks.files import IGNORE
from dsmixer.tasks.segmentation_metrics import BoundaryIoU, PixelScores, mean, near_boundary

CLASSES = 5


def noisy(seed, images=3, height=24, width=32, classes=CLASSES):
    """Masks of blocks with pixels that are not scored, and predictions that are mostly right."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, classes, (images, height // 8, width // 8), generator=generator)
    masks = masks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    guess = torch.randint(0, classes, masks.shape, generator=generator)
    predicted = torch.where(torch.rand(masks.shape, generator=generator) < 0.8, masks, guess)
    masks[torch.rand(masks.shape, generator=generator) < 0.1] = IGNORE
    return predicted, masks


def scores(predicted, masks, classes=CLASSES):
    confusion = MulticlassConfusionMatrix(classes, ignore_index=IGNORE)
    confusion.update(predicted, masks)
    return PixelScores.of(confusion.compute().numpy())


def boundary(predicted, masks, classes=CLASSES):
    metric = BoundaryIoU(classes)
    metric.update(predicted, masks)
    return metric.compute()


def test_means_equal_torchmetrics():
    predicted, masks = noisy(0)
    got = scores(predicted, masks)

    def reference(kind, **options):
        return kind(CLASSES, ignore_index=IGNORE, **options)(predicted, masks).numpy()

    np.testing.assert_allclose(got.iou, reference(MulticlassJaccardIndex, average="none"), rtol=1e-6)
    assert mean(got.iou) == pytest.approx(float(reference(MulticlassJaccardIndex)))
    np.testing.assert_allclose(got.recall, reference(MulticlassAccuracy, average="none"), rtol=1e-6)
    assert got.accuracy == pytest.approx(float(reference(MulticlassAccuracy, average="micro")))


def test_one_image_equals_the_mean_iou_of_the_segmentation_package():
    predicted, masks = noisy(1, images=1)
    masks = masks.clamp(min=0)  # it knows no pixels that are not scored, and means over images
    reference = MeanIoU(CLASSES, per_class=True, input_format="index")(predicted, masks)
    np.testing.assert_allclose(scores(predicted, masks).iou, reference.numpy(), rtol=1e-6)


def test_hand_made_values_and_classes_that_are_nowhere():
    truth = torch.tensor([[[0, 0, 1, IGNORE], [1, 1, 1, IGNORE]]])
    predicted = torch.tensor([[[0, 1, 1, 4], [1, 1, 2, 0]]])
    got = scores(predicted, truth)
    np.testing.assert_allclose(got.iou, [1 / 2, 3 / 5, 0, np.nan, np.nan])  # 2 is predicted, so its 0 counts
    np.testing.assert_allclose(got.recall, [1 / 2, 3 / 4, np.nan, np.nan, np.nan])
    assert mean(got.iou) == pytest.approx((1 / 2 + 3 / 5) / 3)
    assert got.accuracy == 4 / 6


def test_perfect_predictions_score_exactly_one():
    _, masks = noisy(2)
    predicted = torch.where(masks == IGNORE, 0, masks)  # whatever is said where nothing is scored
    got = scores(predicted, masks)
    assert set(got.iou) == set(got.recall) == {1.0}
    assert got.accuracy == 1
    assert boundary(predicted, masks).tolist() == [1.0] * CLASSES


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_scored_and_no_image_at_all_survive(images):
    masks = torch.full((images, 24, 32), IGNORE)
    assert boundary(torch.zeros_like(masks), masks).isnan().all()
    nothing = PixelScores.of(np.zeros((CLASSES, CLASSES), np.int64))
    assert np.isnan(nothing.iou).all()
    assert np.isnan([nothing.accuracy, mean(nothing.iou), mean(nothing.recall)]).all()


@given(st.permutations(range(4)), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_images_does_not_matter(order, seed):
    predicted, masks = noisy(seed, images=4)
    other = predicted[order], masks[order]
    np.testing.assert_array_equal(scores(predicted, masks).iou, scores(*other).iou)
    metric = BoundaryIoU(CLASSES)
    for place in order:
        metric.update(predicted[place : place + 1], masks[place : place + 1])
    assert torch.equal(metric.compute(), boundary(predicted, masks))


@given(st.permutations(range(CLASSES)), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_renaming_the_classes_renames_the_scores(names, seed):
    predicted, masks = noisy(seed)
    names = torch.tensor(names)
    renamed = names[predicted], torch.where(masks == IGNORE, IGNORE, names[masks.clamp(min=0)])
    np.testing.assert_array_equal(scores(*renamed).iou[names], scores(predicted, masks).iou)
    np.testing.assert_array_equal(boundary(*renamed)[names].numpy(), boundary(predicted, masks).numpy())


def by_erosion(mask, distance):
    """Cheng et al.: what the mask loses when it is eroded with a 3x3 square, beyond the image being background."""
    return mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=distance, border_value=0)


@pytest.mark.parametrize("shape", [(24, 32), (40, 200), (128, 96)])
def test_boundary_iou_equals_erosion_class_by_class(shape):
    predicted, masks = noisy(4, images=2, height=shape[0], width=shape[1])
    masks = masks.clamp(min=0)
    distance = max(1, round(0.02 * float(np.hypot(*shape))))
    both, either = np.zeros(CLASSES), np.zeros(CLASSES)
    for truth, answer in zip(masks.numpy(), predicted.numpy(), strict=True):
        for name in range(CLASSES):
            edges = by_erosion(truth == name, distance), by_erosion(answer == name, distance)
            both[name] += np.logical_and(*edges).sum()
            either[name] += np.logical_or(*edges).sum()
    np.testing.assert_allclose(boundary(predicted, masks).numpy(), both / either, rtol=1e-6)


def test_a_boundary_is_as_wide_as_asked_and_runs_along_the_image():
    labels = torch.zeros(1, 30, 40, dtype=torch.int64)
    labels[:, :, 20:] = 1
    near = near_boundary(labels, 3)[0]
    assert near[15].nonzero().flatten().tolist() == [0, 1, 2, 17, 18, 19, 20, 21, 22, 37, 38, 39]
    assert near[[0, 1, 2, 27, 28, 29]].all()


def test_a_shift_costs_more_at_the_boundary_than_inside():
    masks = torch.zeros(1, 200, 200, dtype=torch.int64)
    masks[:, 50:150, 50:150] = 1
    moved = masks.roll(3, 2)
    assert boundary(moved, masks, 2)[1] < scores(moved, masks, 2).iou[1] < 1
