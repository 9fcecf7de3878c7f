"""Fine-tuning as the recipe has it: weights of one run, classes of another folder."""

import csv
import json
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

import dsmixer
from dsmixer.cli import main
from dsmixer.weights import packaged, read_about
from tests.data.crafted import class_folders

from .shrunken import sha, train

SMALL = [
    "--data.image_size=16",
    "--data.batch_size=8",
    "--optim.epochs=1",
    "--optim.warmup_epochs=0",
    "--run.threads=1",
]
KWARGS = "--model.kwargs={stem_stride: 2, depths: [1, 1, 1], dims: [8, 8, 16]}"


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run of seconds on class folders, which fine-tuning starts from."""
    folder = tmp_path_factory.mktemp("begun")
    root = class_folders(folder / "data", {"ant": 16, "moths": 16})
    recipe = folder / "begin.yaml"
    recipe.write_text("model: {name: dsm_test}")
    assert train(f"--recipe={recipe}", f"--data.root={root}", f"--out={folder / 'run'}", *SMALL, KWARGS) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    return class_folders(tmp_path_factory.mktemp("flowers"), {"iris": 16, "rose": 16, "poppy": 32})


def tune(begun, flowers, out, *options):
    command = ["--recipe=finetune", f"--data.root={flowers}", f"--model.weights={begun}", f"--out={out}"]
    assert train(*command, *SMALL, *options) == 0
    return load_file(begun / "model.safetensors"), load_file(out / "model.safetensors")


def test_lower_layers_change_less_and_the_head_is_new(begun, flowers, tmp_path, capsys):
    """AdamW moves every weight by about its rate a step, so what moved tells the rates apart."""
    before, after = tune(begun, flowers, tmp_path, "--optim.layer_decay=0.3", "--optim.class_weights=balanced")
    assert "drawn afresh: head.fc.weight, head.fc.bias" in capsys.readouterr().out
    assert after["head.fc.weight"].shape[0] == 3
    keys = ["stem.conv.weight", *(f"stages.{i}.blocks.0.mlp.fc2.weight" for i in range(3))]
    moved = [float((after[key] - before[key]).abs().mean()) for key in keys]
    assert all(0 < low < 0.6 * high for low, high in pairwise(moved))
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["parameters"] == sum(value.numel() for value in after.values())


def test_a_linear_probe_changes_the_head_alone_and_resumes_as_it_began(begun, flowers, tmp_path, capsys):
    probe = ["--model.freeze=backbone", "--model.drop_path_rate=0"]
    before, after = tune(begun, flowers, tmp_path / "a", *probe, "--optim.epochs=2")
    assert "parameters learn" in capsys.readouterr().out
    changed = {
        key for key in after if before[key].shape != after[key].shape or not torch.equal(before[key], after[key])
    }
    assert changed == {"head.fc.weight", "head.fc.bias"}
    rows = list(csv.DictReader((tmp_path / "a" / "metrics.csv").read_text().splitlines()))
    assert len(rows) == 2
    # without its last checkpoint and its result it goes on from the first epoch's, and ends where it ended
    finished, last = sha(tmp_path / "a"), f"step-{int(rows[1]['step']):08d}"
    for path in (tmp_path / "a").rglob("*"):
        if path.stem in (last, "result", "model"):
            path.unlink()
    assert train(f"--resume={tmp_path / 'a'}") == 0
    assert f"at step {rows[0]['step']} of {rows[1]['step']}" in capsys.readouterr().out
    assert sha(tmp_path / "a") == finished


def test_torchrun_finds_its_run_again_though_the_weights_gave_the_name(begun, flowers, tmp_path, capsys, monkeypatch):
    """After a failure it starts the same command again."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for _ in range(2):
        tune(begun, flowers, tmp_path / "run")
    assert "is finished" in capsys.readouterr().out


def test_packaged_weights_are_a_start(flowers, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DSMIXER_WEIGHTS", raising=False)
    ask = ["--recipe=finetune", f"--data.root={flowers}", "--model.weights=dsm_zepto.cifar10", f"--out={tmp_path}"]
    assert train(*ask, *SMALL, "--data.image_size=32") == 0
    assert "drawn afresh: head.fc.weight, head.fc.bias" in capsys.readouterr().out
    before, after = load_file(packaged()["dsm_zepto.cifar10"]), load_file(tmp_path / "model.safetensors")
    assert after["head.fc.weight"].shape[0] == 3
    moved = (after["stem.conv.weight"] - before["stem.conv.weight"].float()).abs().max()
    assert 0 < moved < 0.01 < before["stem.conv.weight"].abs().max()


def test_a_run_under_a_packaged_name_goes_on_without_the_package(begun, flowers, tmp_path, monkeypatch):
    assert main(["weights", str(begun), "--tag=begun", f"--out={tmp_path / 'packaged'}"]) == 0
    monkeypatch.setenv("DSMIXER_WEIGHTS", str(tmp_path / "packaged"))
    begin = ["--model.name=dsm_test.begun", "--model.weights=timm"]
    before, after = tune(begun, flowers, tmp_path / "run", *begin)
    assert 0 < (before["stem.conv.weight"] - after["stem.conv.weight"]).abs().max() < 0.01
    monkeypatch.setenv("DSMIXER_WEIGHTS", str(tmp_path))
    about, expected = dsmixer.load(tmp_path / "run").about, read_about(begun / "model.safetensors")
    assert (about.architecture, about.model_kwargs) == ("dsm_test", expected.model_kwargs)
