"""Training on a folder of images, from the command line to the weights."""

import json
import math

from safetensors import safe_open

from tests.data.crafted import class_folders

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
