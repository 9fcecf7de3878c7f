"""The task trains on the detector's losses, scores as COCO does, and shows what was found."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dsmixer.data.boxes.batches import BoxBatch, BoxesToScore
from dsmixer.data.boxes.coco import open_coco
from dsmixer.data.splits import Split
from dsmixer.heads.detectors import KINDS, Detector
from dsmixer.tasks.detection import Detection
from dsmixer.tasks.found import Found, from_coco, from_output, to_records, to_results
from tests.data.annotated import coco, write_coco


class Oracle(nn.Module):
    """Answers as torchvision's detectors do, from the truth; moved by ``shift`` pixels."""

    def __init__(self, source, first_label, *, masks, shift=0.0, silent=False):
        super().__init__()
        self.source, self.first_label, self.masks, self.shift, self.silent = source, first_label, masks, shift, silent
        self.row = 0

    def forward(self, images):
        outputs = []
        for image in images:
            width, height = image.shape[2], image.shape[1]
            known = self.source.truth(self.row)["annotations"] if not self.silent else []
            found = from_coco(known, width, height, masks=self.masks)
            output = {
                "boxes": torch.from_numpy(found.boxes).float() + self.shift,
                "labels": torch.from_numpy(found.labels) + self.first_label,
                "scores": torch.full((len(found.labels),), 0.9),
            }
            if self.masks:
                output["masks"] = torch.from_numpy(found.masks).float()[:, None] * 0.8
            outputs.append(output)
            self.row += 1
        return outputs


@pytest.fixture
def source(tmp_path):
    write_coco(tmp_path, "train", coco())
    data = coco([{"id": 11, "name": "dog"}, {"id": 4, "name": "cat"}, {"id": 5, "name": "emu"}][:2], images=4, first=30)
    data["annotations"].pop(1)  # an image without objects
    write_coco(tmp_path, "val", data)
    return open_coco(str(tmp_path))["val"]


def make(source, *, first_label=0, masks=False):
    return Detection(
        source.classes,
        first_label=first_label,
        masks=masks,
        picture=lambda row: source.image(row, "RGB"),
        category_ids=source.category_ids,
    )


def evaluate(task, model, source):
    task.reset()
    data = BoxesToScore(Split(source, np.arange(len(source.ids))))
    for keys in ([(0, 0), (0, 1), (0, 2)], [(0, 3)]):
        task.update(model, data.__getitems__(keys))
    return task.compute()


@pytest.mark.parametrize("first_label", [0, 1])
@pytest.mark.parametrize("masks", [False, True])
def test_perfect_predictions_score_one(source, first_label, masks):
    task = make(source, first_label=first_label, masks=masks)
    metrics = evaluate(task, Oracle(source, first_label, masks=masks), source)
    expected = {"AP", "AP50", "AP75", "APs"} | ({"mask_AP", "mask_AP50", "mask_AP75", "mask_APs"} if masks else set())
    assert metrics == pytest.approx(dict.fromkeys(expected, 1.0))
    assert task.score(metrics) == pytest.approx(1.0)
    assert task.slack(metrics) == 0


def test_a_wrong_label_offset_and_a_shift_cost(source):
    assert evaluate(make(source, first_label=1), Oracle(source, 2, masks=False), source)["AP"] < 0.6
    moved = evaluate(make(source), Oracle(source, 0, masks=False, shift=2.0), source)
    assert moved["AP50"] == pytest.approx(1.0)
    assert moved["AP"] < 0.9


def test_finding_nothing_is_zero_and_nothing_to_find_is_never_the_best(source):
    task = make(source, masks=True)
    assert task.score(evaluate(task, Oracle(source, 0, masks=True, silent=True), source)) == 0
    source.all_objects.crowd[:] = True
    metrics = evaluate(task, Oracle(source, 0, masks=True), source)
    assert metrics == {}
    assert not task.score(metrics) >= float("-inf")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
@pytest.mark.parametrize("masks", [False, True])
def test_the_report_holds_results_that_pycocotools_scores_against_the_original_file(source, masks, tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    task = make(source, masks=masks)
    metrics = evaluate(task, Oracle(source, 0, masks=masks, shift=1.0), source)
    lines = task.report(tmp_path)
    assert "| cat | 1 |" in lines[3] + lines[2]
    for kind, prefix in (("bbox", ""), ("segm", "mask_")) if masks else (("bbox", ""),):
        with contextlib.redirect_stdout(io.StringIO()):
            known = COCO(str(source.root / "annotations" / "val.json"))
            judge = COCOeval(known, known.loadRes(str(tmp_path / f"results_{kind}.json")), kind)
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        assert metrics[f"{prefix}AP"] == pytest.approx(judge.stats[0])
    with Image.open(tmp_path / "predictions.png") as image:
        image.load()


def test_a_report_without_any_detection(source, tmp_path):
    task = make(source)
    evaluate(task, Oracle(source, 0, masks=False, silent=True), source)
    assert "| dog | 2 | 0.0 |" in task.report(tmp_path)
    assert json.loads((tmp_path / "results_bbox.json").read_text()) == []


@pytest.mark.parametrize("first_label", [0, 1])
def test_the_detector_is_told_its_own_labels(source, first_label):
    def detector(_images, targets):
        return {"a": targets[0]["labels"].double().sum(), "b": torch.tensor(100.0)}

    batch = BoxBatch(
        [torch.rand(3, 4, 4)], [{"boxes": torch.zeros(2, 4), "labels": torch.tensor([0, 1])}], torch.tensor([0])
    )
    loss, shown = make(source, first_label=first_label).loss(detector, batch)
    assert loss.item() == shown["loss"].item() == 101 + 2 * first_label
    assert shown["b"].item() == 100


def test_half_precision_trains_and_predicts(source):  # not Mask R-CNN: minutes where bfloat16 is emulated
    options = {"min_size": 64, "max_size": 96, "fpn_channels": 64, "score_threshold": 0.0}
    model = Detector("fcos", "dsm_test", 2, **options).train()
    task = make(source)
    target = {"boxes": torch.tensor([[4.0, 6.0, 30.0, 40.0]]), "labels": torch.tensor([1])}
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = task.loss(model, BoxBatch([torch.rand(3, 48, 64)], [target], torch.tensor([0])))
        assert loss.isfinite()
        with torch.inference_mode():
            evaluate(task, model.eval(), source)
    assert len(task.results) > 10


@pytest.mark.parametrize("kind", ["retinanet", "maskrcnn"])
def test_the_loss_is_the_sum_of_the_detectors_and_finite_without_objects(kind, source):
    masks, background = KINDS[kind].masks, KINDS[kind].background
    model = Detector(kind, "dsm_test", 2, min_size=64, max_size=96, fpn_channels=32).train()
    task = make(source, first_label=background, masks=masks)
    boxes = torch.tensor([[4.0, 6.0, 30.0, 40.0]])
    for count in (1, 0):
        target = {"boxes": boxes[:count], "labels": torch.tensor([1])[:count]}
        if masks:
            target["masks"] = torch.ones(count, 48, 64, dtype=torch.uint8)
        loss, shown = task.loss(model, BoxBatch([torch.rand(3, 48, 64)], [target], torch.tensor([0])))
        assert loss.isfinite()
        assert shown["loss"].item() == pytest.approx(
            sum(value.item() for name, value in shown.items() if name != "loss")
        )
        assert not any(value.requires_grad for value in shown.values())
        assert target["labels"].tolist() == [1][:count]  # the batch is left as it was
    loss.backward()


def test_processes_together_see_what_one_would(source):
    alone, parts = make(source, masks=True), [make(source, masks=True) for _ in range(2)]
    metrics = evaluate(alone, Oracle(source, 0, masks=True, shift=1.0), source)
    model = Oracle(source, 0, masks=True, shift=1.0)
    data = BoxesToScore(Split(source, np.arange(4)))
    for position in range(4):  # in turn: rows 0 and 2, rows 1 and 3
        parts[position % 2].update(model, data.__getitems__([(0, position)]))
    blocks: list[torch.Tensor] = []
    for part in parts:
        part.merge(lambda block: [blocks.append(block), [block]][1])
    for part in parts:
        part.merge(lambda _: blocks)
        assert (part.rows, part.truths) == (alone.rows, alone.truths)
        assert part.compute() == metrics


def test_records_for_people(source):
    masks = np.zeros((1, 8, 9), bool)
    masks[0, 2:4, 3:6] = True
    found = Found(np.array([[3.0, 2.0, 6.0, 4.0]]), np.array([1]), np.array([0.87654]), masks)
    (record,) = to_records(found, ["cat", "dog"])
    assert record["class"] == "dog"
    assert (record["score"], record["box"]) == (0.8765, [3, 2, 6, 4])
    assert json.loads(json.dumps(record)) == record
    again = from_coco(to_results(found, 5), 9, 8, masks=True)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert len(found.above(0.9).boxes) == len(found.above(0.9).masks) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probabilities_become_masks_at_one_half(dtype):
    output = {"boxes": torch.zeros(1, 4), "labels": torch.tensor([1]), "scores": torch.tensor([0.3])}
    output["masks"] = torch.tensor([[[[0.49, 0.5, 0.9]]]], dtype=dtype)
    found = from_output(output, 1)
    assert found.labels.tolist() == [0]
    assert found.masks.tolist() == [[[False, True, True]]]
