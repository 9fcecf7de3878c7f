"""Segmenters and detectors are judged right: a perfect one has 1.0, whatever the order of the classes."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

import dsmixer
from dsmixer.cli import main
from dsmixer.inference.dense import Stopwatch
from dsmixer.inference.evaluate_pixels import looks
from dsmixer.tasks.found import Found

from ..data.annotated import coco, write_coco
from ..engine.dense import CLASSES, write_boxes, write_masks
from .test_dense import write_weights

COLORS = torch.tensor([[90, 90, 90], [200, 30, 30], [30, 30, 200]]) / 255  # of the made-up classes
CODING = ["--masks.classes=" + json.dumps(CLASSES)]


class ByColor(nn.Module):
    """The class whose color a pixel has: right everywhere, at the images' own scale."""

    def __init__(self, order):
        super().__init__()
        self.colors = COLORS[order] * 4 - 2  # normalized as the weights say: mean 0.5, std 0.25

    def forward(self, images):
        return -10 * (images[:, None] - self.colors[None, :, :, None, None]).square().sum(2)


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("masks"))


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """One image of the test split has no object, another a crowd beside one."""
    root = write_boxes(tmp_path_factory.mktemp("boxes"))
    data = coco(images=6)
    del data["annotations"][5]
    data["annotations"].append({**data["annotations"][0], "id": 999, "iscrowd": 1})
    write_coco(root, "test", data)
    return root


def segmenter(tmp_path, names=CLASSES):
    model = dsmixer.load(write_weights(tmp_path / "pixels.safetensors", "upernet", class_names=names))
    model.network = ByColor([CLASSES.index(name) for name in names])
    return model


@pytest.mark.parametrize("names", [CLASSES, CLASSES[::-1]])
def test_a_perfect_segmenter_has_one_whatever_the_order_of_its_classes(names, masks, tmp_path):
    result = segmenter(tmp_path, names).evaluate(masks, classes=CLASSES)
    (row,) = result["looks"]
    assert [row[name] for name in ("mIoU", "aAcc", "mAcc", "boundary_IoU")] == [1.0] * 4
    assert (result["images"], result["unreadable"]) == (6, 0)
    assert [entry["class"] for entry in result["per_class"]] == names
    assert all(entry["iou"] == 1.0 for entry in result["per_class"])
    assert np.array(result["confusion"]).sum() == sum(entry["pixels"] for entry in result["per_class"])


def test_whole_and_windows_and_sizes_are_rows_of_one_table(masks, tmp_path):
    result = segmenter(tmp_path).evaluate(masks, classes=CLASSES, sizes=[1, 0.5], window=32, stride=16)
    assert [row["look"] for row in result["looks"]] == [
        "whole", "whole, 0.5 times as large", "windows of 32 every 16",
    ]  # fmt: skip
    whole, half, windows = (row["mIoU"] for row in result["looks"])
    assert whole == windows == 1.0  # a color is the same in any window
    assert 0.5 < half < 1.0  # but not on a border at half the size


def test_windows_alone_come_before_windows_at_several_scales(tmp_path):
    model = segmenter(tmp_path)
    several = {"scales": (1.0, 1.5), "flip": True}
    assert list(looks(model, (), {"window": 32, "stride": 16, **several})) == [
        "whole", "windows of 32 every 16", "windows of 32 every 16, scales 1 1.5, mirrored too",
    ]  # fmt: skip
    assert list(looks(model, (), several)) == ["whole", "whole, scales 1 1.5, mirrored too"]


class Failing(ByColor):
    """Fails at any other size than the images' own."""

    def __init__(self, order, error):
        super().__init__(order)
        self.error = error

    def forward(self, images):
        if min(images.shape[2:]) < 40:
            if isinstance(self.error, Exception):
                raise self.error
            return super().forward(images) * self.error
        return super().forward(images)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError("memory is out\nby far"), "memory is out"), (float("nan"), "numbers that are not finite")],
)
def test_a_size_that_fails_is_said_on_its_line_and_costs_no_other(error, reason, masks, tmp_path):
    model = segmenter(tmp_path)
    model.network = Failing([0, 1, 2], error)
    whole, half = model.evaluate(masks, classes=CLASSES, sizes=[0.5])["looks"]
    assert whole["mIoU"] == 1.0
    assert set(half) == {"look", "error"}
    assert half["error"].endswith(reason)
    model.network = ByColor([0, 1, 2])
    model.network.colors *= float("nan")
    with pytest.raises(ValueError, match="the network answers with numbers that are not finite"):
        model.evaluate(masks, classes=CLASSES)


def test_a_class_that_the_weights_do_not_know_is_named(masks, boxes, tmp_path):
    model = dsmixer.load(write_weights(tmp_path / "pixels.safetensors", "upernet", class_names=["ground", "square"]))
    with pytest.raises(ValueError, match="the images have the class 'stripe', which the weights do not know, only"):
        model.evaluate(masks, classes=CLASSES)
    with pytest.raises(ValueError, match="the images have the class 'cat', which the weights do not know, only"):
        dsmixer.load(write_weights(tmp_path / "objects.safetensors", "fcos")).evaluate(boxes)


def detector(tmp_path, boxes, found, names=("dog", "cat")):
    """One that finds what ``found`` says of a truth."""
    from dsmixer.data.boxes.survey import open_boxes

    model = dsmixer.load(write_weights(tmp_path / "objects.safetensors", "fcos", class_names=list(names)))
    source, order = open_boxes(str(boxes), 0.1).test.source, iter(range(6))

    def detect(images):
        objects = source.objects(next(order))
        labels = np.array([names.index(source.classes[label]) for label in objects.labels], np.int64)
        return [found(objects.boxes.astype(np.float64), labels)]

    model.detect = detect
    return model


def sure(boxes, labels):
    return Found(boxes, labels, np.ones(len(boxes)), None)


def test_a_perfect_detector_has_one_whatever_the_order_of_its_classes(boxes, tmp_path):
    result = detector(tmp_path, boxes, sure).evaluate(boxes)
    (row,) = result["sizes"]
    assert (row["AP"], row["AP50"]) == (1.0, 1.0)
    assert {entry["class"]: (entry["objects"], entry["AP"]) for entry in result["per_class"]} == {
        "dog": (2, 1.0), "cat": (3, 1.0),
    }  # fmt: skip


def test_what_there_is_no_object_for_is_none_and_a_size_asked_for_twice_is_measured_once(boxes, tmp_path):
    model = dsmixer.load(write_weights(tmp_path / "objects.safetensors", "fcos", class_names=["dog", "cat", "emu"]))
    rows = model.evaluate(boxes, sizes=[1, 0.5, 0.5])["sizes"]
    assert [row["size"] for row in rows] == [1.0, 0.5]
    assert rows[0]["APl"] is None  # all objects are small
    assert rows[0]["APs"] is not None


def test_finding_nothing_and_the_wrong_class_score_nothing(boxes, tmp_path):
    none = detector(tmp_path, boxes, lambda boxes, labels: sure(boxes[:0], labels[:0]))
    assert none.evaluate(boxes)["sizes"][0]["AP"] == 0.0
    wrong = detector(tmp_path, boxes, lambda boxes, labels: sure(boxes, 1 - labels))
    assert wrong.evaluate(boxes)["sizes"][0]["AP"] == 0.0


def test_a_size_is_a_factor_of_the_detectors_own_sides_and_is_undone(tmp_path):
    model = dsmixer.load(write_weights(tmp_path / "objects.safetensors", "fcos"))
    transform, image = model.network.network.transform, torch.rand(3, 30, 40)
    with model.scaled(1.5):
        assert transform([image])[0].image_sizes == [(72, 96)]
    assert transform([image])[0].image_sizes == [(48, 64)]


@pytest.fixture(scope="module")
def trained(masks, boxes, tmp_path_factory):
    """Random networks with the names of the classes of the data."""
    folder = tmp_path_factory.mktemp("trained")
    return {
        "masks": write_weights(folder / "pixels.safetensors", "semantic_fpn", class_names=CLASSES),
        "boxes": write_weights(folder / "objects.safetensors", "maskrcnn", class_names=["cat", "dog"]),
    }


def test_the_command_writes_numbers_pictures_and_coco_results(trained, boxes, tmp_path, capsys):
    out = tmp_path / "out"
    asked = ["evaluate", str(trained["boxes"]), f"--data.root={boxes}", f"--out={out}"]
    assert main([*asked, "--sizes", "0.75"]) == 0
    shown = capsys.readouterr().out
    assert "dsm_test with maskrcnn on the 6 test images" in shown
    result = json.loads((out / "evaluation.json").read_text())
    assert [row["size"] for row in result["sizes"]] == [1.0, 0.75]
    assert {"AP", "mask_AP", "images_per_second"} <= set(result["sizes"][0])
    rows = list(csv.DictReader((out / "per_class.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == ["cat", "dog"]
    assert (out / "predictions.png").stat().st_size > 1000
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known = COCO(str(boxes / "annotations/test.json"))
    judge = COCOeval(known, known.loadRes(str(out / "results_bbox.json")), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(result["sizes"][0]["AP"], abs=1e-6)
    assert main(asked) == 2
    assert "add --overwrite" in capsys.readouterr().err


def test_whole_and_through_windows_unless_no_further_row_is_wanted(trained, masks, tmp_path):
    asked = ["evaluate", str(trained["masks"]), f"--data.root={masks}", *CODING, f"--out={tmp_path}", "--overwrite"]
    for options, wanted in (
        (["--sizes", "1"], ["whole", "windows of 32 every 21"]),
        (["--sizes"], ["whole"]),
        (["--sizes", "1", "--window", "24"], ["whole", "windows of 24 every 16"]),
    ):
        (tmp_path / "evaluation.json").touch()
        assert main([*asked, *options]) == 0
        result = json.loads((tmp_path / "evaluation.json").read_text())
        assert [row["look"] for row in result["looks"]] == wanted


def test_a_bad_file_is_left_out_within_the_budget(trained, tmp_path, capsys):
    root = write_masks(tmp_path / "data")
    path = root / "annotations/test/3.png"
    path.write_bytes(path.read_bytes()[:-30])
    asked = ["evaluate", str(trained["masks"]), f"--data.root={root}", *CODING, "--sizes", f"--out={tmp_path / 'out'}"]
    assert main(asked) == 1
    assert "3.png" in capsys.readouterr().err
    assert main([*asked, "--data.max_bad=0.1"]) == 0
    result = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert (result["images"], result["unreadable"]) == (5, 1)
    assert "3.png" in (tmp_path / "out/bad_files.csv").read_text()
    assert (tmp_path / "out/masks.png").is_file()


def test_the_data_of_the_run_is_judged_and_other_data_has_its_own_names(masks, tmp_path, capsys):
    """The run's masks hold 0, 1, 2 for ground, square, stripe; the other folder's names are in another order."""
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    weights = write_weights(run / "model.safetensors", "semantic_fpn", class_names=CLASSES)
    of_run = {"data": {"root": str(masks)}, "masks": {"classes": CLASSES}}
    (run / "config.yaml").write_text(json.dumps(of_run))  # JSON is YAML
    other = write_masks(tmp_path / "other")

    def counted(*options):
        assert main(["evaluate", str(weights), f"--out={out}", "--overwrite", "--sizes", *options]) == 0
        shown = capsys.readouterr().out
        assert "loss" in shown
        assert "the network alone" in shown
        rows = json.loads((out / "evaluation.json").read_text())["per_class"]
        return {row["class"]: row["pixels"] for row in rows}

    own = counted()
    assert counted(f"--data.root={other}") == own
    (other / "classes.txt").write_text("\n".join(CLASSES[::-1]))
    assert counted(f"--data.root={other}") == {
        "ground": own["stripe"],
        "square": own["square"],
        "stripe": own["ground"],
    }
    asked = ["evaluate", str(weights), f"--out={out}", "--overwrite", f"--data.root={other}", *CODING]
    assert main(asked) == 2
    assert "classes.txt names the classes stripe, square, ground (3), but masks.classes" in capsys.readouterr().err


def test_images_that_are_carved_from_train_are_spoken_of(trained, tmp_path, capsys):
    root = write_masks(tmp_path / "data")
    for kind in ("images", "annotations"):
        shutil.rmtree(root / kind / "val")
    asked = ["evaluate", str(trained["masks"]), f"--data.root={root}", *CODING, "--sizes", f"--out={tmp_path / 'out'}"]
    assert main([*asked, "--split=val"]) == 0
    assert "1 images of train are held back" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("boxes", ["--window=64"], "--window is 64, but maskrcnn"),
        ("boxes", ["--masks.ignore_index=3"], "--masks.ignore_index is no option"),
        ("boxes", ["--batch-size=8"], "--batch-size is 8, but maskrcnn"),
        ("masks", ["--scales", "inf"], "they must be factors above 0 and up to 8"),
        ("masks", ["--scales", "1", "nan"], "they must be factors above 0 and up to 8"),
        ("masks", ["--split=all"], "--split all is for classes"),
        ("masks", ["--sizes", "32"], "they are factors above 0 and up to 8"),
        ("masks", ["--optim.lr=1"], "--optim.lr is no option of dsmixer evaluate"),
    ],
)
def test_what_does_not_fit_the_weights_is_refused(kind, options, message, trained, masks, boxes, tmp_path, capsys):
    root = masks if kind == "masks" else boxes
    given = [f"--data.root={root}", f"--out={tmp_path / 'out'}", *(CODING if kind == "masks" else [])]
    assert main(["evaluate", str(trained[kind]), *given, *options]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_stopwatch_leaves_out_the_first_call():
    watch = Stopwatch()
    watch.calls, watch.images = [10.0, 0.5, 0.5], 3
    assert watch.speed()["network_images_per_second"] == 2.0
