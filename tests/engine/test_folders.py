"""Training on a folder of images, from the command line to the weights."""

import csv
import json
import math
import os

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from dsmixer.cli import main
from dsmixer.engine.report import draw_curves
from dsmixer.tasks.pictures import draw_confusion, draw_sheet
from tests.data.crafted import class_folders

from .dense import options, write_masks
from .shrunken import train

TINY = [
    "--recipe=cifar10",
    "--data.name=auto",
    "--model.kwargs={stem_stride: 4, depths: [1, 1], dims: [8, 8]}",
    "--data.image_size=16",
    "--data.batch_size=8",
    "--data.workers=0",
    "--run.threads=1",
    "--data.val_fraction=0.2",
    "--optim.epochs=2",
    "--optim.warmup_epochs=0",
]


def test_class_folders_are_trained_on_and_their_names_travel_with_the_weights(tmp_path, capsys):
    root = class_folders(tmp_path / "data", {"ant": 20, "moths": 20})
    assert train(*TINY, f"--data.root={root}", f"--out={tmp_path / 'run'}") == 0
    out = capsys.readouterr().out
    assert "data: 26 train, 6 val, 8 test images of 2 classes (ant, moths)" in out
    assert "note: no held-out split: 8 images of train are held back for it" in out
    with safe_open(tmp_path / "run" / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["class_names"]) == ["ant", "moths"]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["data"] == "data"


def test_without_a_score_that_is_a_number_the_last_weights_are_delivered(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dsmixer.tasks.classification.Classification.score", lambda *_: math.nan)
    root = class_folders(tmp_path / "data", {"ant": 20, "moths": 20})
    assert train(*TINY, f"--data.root={root}", f"--out={tmp_path / 'run'}") == 0
    assert "no epoch has a score that is a number; delivering the last weights" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "result.json").read_text())["best_epoch"] == 2
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_names_that_are_not_utf8_or_look_like_an_emoji_are_names(tmp_path, capsys):
    odd, spelt = os.fsdecode(b"caf\xff\xe9"), "caf\\udcff\\udce9"
    root, run = tmp_path / os.fsdecode(b"data\xff"), tmp_path / "r:dog:"
    class_folders(root, {":dog:": 20, odd: 20})
    assert train(*TINY, f"--data.root={root}", f"--out={run}") == 0
    told = capsys.readouterr().out
    assert f"(:dog:, {spelt})" in told
    assert f"run folder: {run}\n" in told
    report = (run / "report.md").read_text(encoding="utf-8")
    assert " on data\\udcff\n" in report
    assert f"| {spelt} | 4 |" in report
    assert json.loads((run / "result.json").read_text())["data"] == root.name
    assert main(["evaluate", str(run), f"--data.root={root}", f"--out={tmp_path / 'judged'}", "--sizes=16"]) == 0
    assert " :dog: " in capsys.readouterr().out
    with (tmp_path / "judged" / "per_class.csv").open(encoding="utf-8") as file:
        assert [row["class"] for row in csv.DictReader(file)] == [":dog:", spelt]
    assert main(["weights", str(run), "--tag=odd", f"--out={tmp_path}"]) == 0
    assert f":dog:, {spelt}." in (tmp_path / "dsm_zepto.odd.md").read_text(encoding="utf-8")


def test_where_nothing_can_be_judged_the_result_is_null(tmp_path, capsys):
    root = write_masks(tmp_path / "data")
    for path in (root / "annotations" / "test").iterdir():
        with Image.open(path) as mask:
            Image.new("L", mask.size, 255).save(path)
    run = tmp_path / "run"
    assert train(*options("masks", root), "--optim.epochs=1", f"--out={run}") == 0
    assert "mIoU n/a" in capsys.readouterr().out
    result = json.loads((run / "result.json").read_text(), parse_constant=pytest.fail)
    assert result["test"]["mIoU"] is None
    assert "mIoU n/a" in (run / "report.md").read_text()
    assert train(f"--resume={run}") == 0
    assert "is finished (test: loss 0.0000, mIoU n/a" in capsys.readouterr().out


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: draw_curves([{"epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "lr": 0.1}], 1, path),
        lambda path: draw_confusion(np.eye(2, dtype=int), ["a", "b"], path),
        lambda path: draw_sheet([], path),
    ],
    ids=["curves", "confusion", "predictions"],
)
def test_a_disk_that_is_full_when_a_picture_is_drawn_names_it(draw, tmp_path):
    (path := tmp_path / "picture.png").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        draw(path)
    assert caught.value.filename == str(path)
