"""Average precision is pycocotools' on any predictions, 1 on perfect ones, and survives there being none."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dsmixer.data.boxes.instance_masks import encode_mask
from dsmixer.tasks.coco_metrics import SUMMARY, coco_scores

# pycocotools 2.0.11 warns of its own arrays under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIDE = 240


def mask(box):
    """An ellipse in a box."""
    left, top, width, height = box
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    return encode_mask(((x - left - width / 2) / width) ** 2 + ((y - top - height / 2) / height) ** 2 <= 0.25)


def random_box(random):
    width, height = random.uniform(6, 200, 2)
    return [random.uniform(0, SIDE - width), random.uniform(0, SIDE - height), width, height]


@pytest.fixture(scope="module")
def case():
    """Up to eight objects an image, of three classes and all sizes, some crowds; guesses that are near, far, twice."""
    random = np.random.default_rng(0)
    truth = {
        "images": [{"id": number, "width": SIDE, "height": SIDE} for number in range(1, 13)],
        "annotations": [],
        "categories": [
            {"id": number, "name": f"class {number}"} for number in (1, 2, 3, 4)
        ],  # of the last there is none
    }
    results = []
    for image in truth["images"][:-2]:  # two have no objects
        for _ in range(random.integers(1, 9)):
            box, category = random_box(random), int(random.integers(1, 4))
            shape = mask(box)
            truth["annotations"].append(
                {"id": len(truth["annotations"]) + 1, "image_id": image["id"], "category_id": category, "bbox": box,
                 "area": box[2] * box[3] * np.pi / 4, "iscrowd": int(random.random() < 0.15), "segmentation": shape}
            )  # fmt: skip
            for _ in range(random.integers(0, 3)):
                near = [float(value) for value in np.array(box) + random.normal(0, 4, 4)]
                near = [*near[:2], max(2, near[2]), max(2, near[3])]
                results.append(guess(image, category if random.random() < 0.8 else 1, near, random))
    for image in truth["images"]:
        results.append(guess(image, 1, random_box(random), random))
    return truth, results


def guess(image, category, box, random):
    score = float(random.random())
    return {"image_id": image["id"], "category_id": category, "bbox": box, "segmentation": mask(box), "score": score}


def perfect(truth):
    kept = [entry for entry in truth["annotations"] if not entry["iscrowd"]]
    return [
        {key: entry[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 1.0}
        for entry in kept
    ]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_agrees_with_the_reference_implementation(case, kind, tmp_path):
    truth, results = copy.deepcopy(case)
    ours = coco_scores(truth, results, kind)
    assert (truth, results) == case  # left as they were
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    theirs_sees = {"image_id", "category_id", "score", "bbox" if kind == "bbox" else "segmentation"}
    bare = [{key: value for key, value in result.items() if key in theirs_sees} for result in results]
    (tmp_path / "results.json").write_text(json.dumps(bare))
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(tmp_path / "truth.json"))
        judge = COCOeval(known, known.loadRes(str(tmp_path / "results.json")), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    theirs = dict(zip(SUMMARY, judge.stats, strict=False))
    assert ours.summary == pytest.approx(theirs, abs=1e-9)
    assert 0.05 < ours.summary["AP"] < 0.95
    precision = judge.eval["precision"][:, :, :, 0, -1]
    assert ours.by_class == [*(pytest.approx(precision[:, :, label].mean(), abs=1e-9) for label in range(3)), None]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_perfect_predictions_score_one(case, kind):
    truth, _ = case
    scores = coco_scores(truth, perfect(truth), kind)
    assert scores.summary == pytest.approx(dict.fromkeys(SUMMARY, 1.0))
    assert scores.by_class == [pytest.approx(1.0)] * 3 + [None]


def test_no_predictions_score_nothing_and_no_objects_cannot_be_scored(case):
    truth, results = case
    assert coco_scores(truth, [], "bbox").summary == dict.fromkeys(SUMMARY, 0.0)
    crowds = [{**entry, "iscrowd": 1} for entry in truth["annotations"]]
    for annotations in ([], crowds):
        for guesses in ([], results):
            scores = coco_scores({**truth, "annotations": annotations}, guesses, "bbox")
            assert scores.summary == {}
            assert scores.by_class == [None] * 4


def test_a_size_without_objects_is_absent(case):
    truth, _ = case
    small = [entry for entry in truth["annotations"] if entry["area"] < 32**2]
    scores = coco_scores({**truth, "annotations": small}, perfect({**truth, "annotations": small}), "bbox")
    assert set(scores.summary) == {"AP", "AP50", "AP75", "APs"}


def test_objects_without_a_mask_are_not_asked_for_masks(case):
    truth, _ = case
    bare = [{key: value for key, value in entry.items() if key != "segmentation"} for entry in truth["annotations"][:5]]
    mixed = {**truth, "annotations": bare + truth["annotations"][5:]}
    assert coco_scores(mixed, perfect({**truth, "annotations": truth["annotations"][5:]}), "segm").summary["AP"] == 1
