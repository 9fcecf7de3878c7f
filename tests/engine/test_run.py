"""What a finished run leaves, and that it is true."""

import csv
import json

import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors import safe_open

from dsmixer.data.splits import open_splits
from dsmixer.data.transforms import eval_transform

from .shrunken import SHRUNK, sha, train


def metrics(folder):
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_the_folder_holds_what_was_promised(reference):
    names = {path.name for path in reference.iterdir()}
    assert names == {
        "config.yaml", "metrics.csv", "tensorboard", "checkpoints", "model.safetensors", "curves.png", "confusion.png",
        "predictions.png", "report.md", "result.json",
    }  # fmt: skip
    for name in ("curves.png", "confusion.png", "predictions.png"):
        with Image.open(reference / name) as image:
            image.load()
            assert min(image.size) > 100
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20  # something is drawn on it
    rows = metrics(reference)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row[name]) >= 0 for row in rows for name in row)
    config = yaml.safe_load((reference / "config.yaml").read_text())
    assert config["optim"]["epochs"] == 2
    assert config["data"]["batch_size"] == 32


def test_tensorboard_tells_the_same_numbers(reference):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(reference / "tensorboard"))
    events.Reload()
    rows = metrics(reference)
    for tag in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr"):
        points = events.Scalars(tag)
        assert [point.step for point in points] == [int(row["step"]) for row in rows]
        assert [point.value for point in points] == pytest.approx([float(row[tag.replace("/", "_")]) for row in rows])


def test_the_weights_reload_through_timm_and_reproduce_the_reported_accuracy(reference):
    path, result = reference / "model.safetensors", json.loads((reference / "result.json").read_text())
    with safe_open(path, "pt") as file:
        about = file.metadata()
    model = timm.create_model(
        about["architecture"],
        checkpoint_path=str(path),
        num_classes=json.loads(about["num_classes"]),
        in_chans=json.loads(about["in_chans"]),
        **json.loads(about["model_kwargs"]),
    ).eval()
    assert json.loads(about["class_names"]) == [str(digit) for digit in range(10)]
    transform = eval_transform(*(json.loads(about[name]) for name in ("image_size", "mean", "std")))
    test = open_splits("digits", None, 0.1).test
    images = torch.stack([transform(test.source.image(int(row), "L")) for row in test.rows])
    with torch.inference_mode():
        right = model(images).argmax(1) == torch.from_numpy(test.source.labels[test.rows])
    assert result["test_images"] == len(right) == 359
    assert right.float().mean().item() == pytest.approx(result["test"]["accuracy"])
    report = (reference / "report.md").read_text()
    assert f"{result['test']['accuracy']:.4f}" in report
    assert 'timm.create_model("dsm_test"' in report


def test_a_finished_run_says_so(reference, capsys):
    before = sha(reference)
    assert train(f"--resume={reference}") == 0
    assert "is finished" in capsys.readouterr().out
    assert sha(reference) == before


def test_a_second_run_with_two_workers_gives_the_same_weights(reference, tmp_path):
    assert train(*SHRUNK, f"--out={tmp_path}", "--data.workers=2") == 0
    assert sha(tmp_path) == sha(reference)


def test_weights_start_another_run_of_the_same_network_and_no_other(reference, tmp_path, capsys):
    weights, few = f"--model.weights={reference / 'model.safetensors'}", ["--optim.epochs=1"]
    assert train(*SHRUNK, *few, f"--out={tmp_path / 'a'}", weights) == 0
    out = capsys.readouterr().out
    assert "started from" in out
    assert "drawn afresh" not in out
    other = "--model.kwargs={stem_stride: 2, depths: [1, 1], dims: [8, 24]}"
    assert train(*SHRUNK, *few, f"--out={tmp_path / 'b'}", weights, other) == 2
    assert "holds weights of dsm_test, not of dsm_test as configured" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(tmp_path, capsys):
    lr = ["--optim.lr=1e30", "--optim.warmup_epochs=0", "--optim.clip_grad=null"]
    assert train(*SHRUNK, *lr, f"--out={tmp_path}") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "not finite at step" in error
    assert "(learning rate 9.98e+29, 32 images: digit " in error
    assert not list((tmp_path / "checkpoints").iterdir())
