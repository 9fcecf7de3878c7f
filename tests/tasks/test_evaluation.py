"""Every number of an evaluation is what others compute, and means nothing where it has no meaning."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error

from dsmixer.tasks.evaluation import Evaluation, calibration, wilson

CLASSES = [f"class {i}" for i in range(7)]


def judged(logits, targets):
    evaluation = Evaluation(CLASSES, lambda _: Image.new("L", (8, 8), 99))
    for rows in torch.arange(len(targets)).split(50):
        evaluation.observe(logits[rows], targets[rows], rows)
    return evaluation


@pytest.fixture
def random():
    """Logits that are right about half the time; class 6 never appears."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 6, (333,), generator=generator)
    logits = torch.randn(333, 7, generator=generator)
    logits[torch.arange(333), targets] += 1.5
    return logits, targets


def test_numbers_are_those_of_scikit_learn(random):
    logits, targets = random
    summary, predicted = judged(logits, targets).summary(), logits.argmax(1)
    assert summary["images"] == 333
    assert summary["top1"] == (predicted == targets).sum().item() / 333
    assert 0.3 < summary["top1"] < 0.8
    assert summary["top5"] == pytest.approx(top_k_accuracy_score(targets, logits, k=5, labels=range(7)))
    assert summary["loss"] == pytest.approx(log_loss(targets, logits.double().softmax(1), labels=range(7)), rel=1e-5)
    assert summary["confusion"] == confusion_matrix(targets, predicted, labels=range(7)).tolist()
    expected = precision_recall_fscore_support(targets, predicted, labels=range(7), zero_division=np.nan)
    for place, row in enumerate(summary["per_class"][:6]):
        found = [row["precision"], row["recall"], row["f1"], row["support"]]
        assert found == pytest.approx([numbers[place] for numbers in expected])


def test_calibration_error_is_that_of_torchmetrics(random):
    logits, targets = random
    expected = multiclass_calibration_error(logits.softmax(1), targets, 7, n_bins=15, norm="l1")
    assert judged(logits, targets).summary()["calibration_error"] == pytest.approx(expected.item(), abs=1e-6)


def test_calibration_error_by_hand():
    """Four answers at 0.9 of which three are right, and one at 1.0 that is wrong: (4 * 0.15 + 1) / 5."""
    confidence, right = np.array([0.9] * 4 + [1.0]), np.array([True, True, True, False, False])
    bins = calibration(confidence, right)
    assert bins.error == pytest.approx((4 * 0.15 + 1) / 5)
    assert bins.count.sum() == 5
    assert bins.count[13:].tolist() == [4, 1]


def test_a_class_without_images_has_no_recall_and_none_is_zero(random):
    row = judged(*random).summary()["per_class"][6]
    assert (row["support"], row["recall"], row["f1"]) == (0, None, None)
    never_predicted = judged(torch.eye(7)[[0, 0]], torch.tensor([0, 1])).summary()["per_class"][1]
    assert (never_predicted["precision"], never_predicted["recall"], never_predicted["f1"]) == (None, 0, 0)


def test_perfect_predictions_score_one():
    targets = torch.arange(7).repeat(3)
    summary = judged(100 * torch.eye(7)[targets], targets).summary()
    assert summary["top1"] == summary["top5"] == 1
    assert summary["calibration_error"] == summary["loss"] == 0
    assert summary["top1_interval"][1] == 1
    assert all(row["precision"] == row["recall"] == row["f1"] == 1 for row in summary["per_class"])


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_scipys(counts):
    right, count = counts
    expected = binomtest(right, count).proportion_ci(0.95, "wilson")
    assert wilson(right, count) == pytest.approx((expected.low, expected.high), abs=1e-6)
    low, high = wilson(right, count)
    assert 0 <= low <= right / count + 1e-12
    assert right / count - 1e-12 <= high <= 1


def test_the_surest_mistakes_come_first(random):
    logits, targets = random
    places, confidence = judged(logits, targets).hardest(), logits.softmax(1).max(1).values.numpy()
    wrong = (logits.argmax(1) != targets).numpy()
    count = wrong.sum()
    assert wrong[places].tolist() == [True] * count + [False] * (len(targets) - count)
    assert (np.diff(confidence[places[:count]]) <= 0).all()
    assert (np.diff(confidence[places[count:]]) >= 0).all()


def test_pictures_of_it(random, tmp_path):
    judged(*random).draw(tmp_path)
    for name in ("confusion.png", "calibration.png", "predictions.png"):
        with Image.open(tmp_path / name) as image:
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20
