"""A step that is not finite changes nothing, is written down, and can be done again."""

import json

import pytest
import torch
from safetensors.torch import load_file

from dsmixer.data.loader import Images
from dsmixer.engine.checkpoint import Checkpoints, to_safetensors

from .nursery import Moment, spoil, together
from .shrunken import EAGER, SHRUNK, train

SHORT = [*SHRUNK, EAGER, "--optim.epochs=1"]


@pytest.fixture
def poison(monkeypatch):
    """From now on the batches with these numbers, two a step, hold one image of huge values."""
    monkeypatch.setattr(Images, "__getitems__", Images.__getitems__)  # so that it is put back
    return spoil


def finite(tensors):
    return all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())


def test_the_step_is_captured_with_its_first_bad_module_and_replays(tmp_path, capsys, poison, monkeypatch):
    poison(16)  # the second batch of step 7
    folder = tmp_path / "run"
    assert train(*SHORT, f"--out={folder}") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "not finite at step 7 (learning rate" in error
    captured = folder / "nan-00000007"
    facts = json.loads((captured / "step-0.json").read_text())
    assert f"that of {facts['module']} (dsmixer train --replay {captured})" in error
    assert facts["module"].startswith("stem.")
    assert facts["losses"][1] == "nan"
    assert float(facts["losses"][0]) > 0
    assert facts["gradients"]
    assert len(facts["rows"]) == 64

    tensors, state = Checkpoints(folder / "checkpoints", pytest.fail).load_newest()
    assert state["step"] == 7
    assert finite(tensors)
    kept = load_file(captured / "weights.safetensors")
    assert all(torch.equal(tensors[f"model/{name}"], value) for name, value in kept.items())

    monkeypatch.undo()
    assert train(f"--replay={captured}") == 1
    findings = f"loss {', '.join(facts['losses'])}; the first output that is not finite is that of {facts['module']}"
    assert capsys.readouterr().out.endswith(f"step 7: {findings}\n")
    inputs = load_file(captured / "inputs-0.safetensors")
    inputs["1/images"][3] = 0
    (captured / "inputs-0.safetensors").write_bytes(to_safetensors(inputs))
    assert train(f"--replay={captured}") == 0
    assert "every output and gradient is finite" in capsys.readouterr().out
    assert train(f"--replay={folder}") == 2
    assert "is not a folder nan-STEP of a run" in capsys.readouterr().err


def test_up_to_max_nonfinite_steps_in_a_row_are_skipped(tmp_path, capsys, poison):
    poison(5, 8, 11, 15)  # steps 2 and 3, then 5, then 7
    folder = tmp_path / "run"
    assert train(*SHORT, "--run.max_nonfinite=2", f"--out={folder}") == 0
    captured = capsys.readouterr()
    assert [line.split("at step ")[1].split()[0] for line in captured.err.splitlines()] == ["2", "3", "5", "7"]
    assert finite(load_file(folder / "model.safetensors"))
    assert "train loss nan" not in captured.out
    assert sorted(path.name for path in folder.glob("nan-*")) == ["nan-00000002", "nan-00000005", "nan-00000007"]


def test_one_more_in_a_row_stops(tmp_path, capsys, poison):
    poison(5, 8)
    assert train(*SHORT, "--run.max_nonfinite=1", f"--out={tmp_path}") == 1
    warned, stopped = capsys.readouterr().err.splitlines()
    assert warned.startswith("warning: loss or gradient is not finite at step 2")
    assert stopped.startswith("dsmixer: error: loss or gradient is not finite at step 3")
    assert train(f"--resume={tmp_path}", "--run.max_nonfinite=1") == 0  # now there is nothing wrong with the images


def test_of_several_processes_the_one_with_the_bad_image_says_where(tmp_path, capsys):
    folder = tmp_path / "run"
    children = together(2, *SHORT, f"--out={folder}", logs=tmp_path, moments={1: Moment("spoil", 6)})
    (code, _, error), (other_code, _, other_error) = [child.end() for child in children]
    assert (code, other_code) == (1, 1)
    captured = folder / "nan-00000002"
    assert "not finite at step 2 (learning rate" in error
    assert "process 1 found where, see step-1.json" in error
    assert other_error.startswith("dsmixer: error: rank 1: loss or gradient is not finite at step 2")
    assert "is that of stem." in other_error
    assert {path.name for path in captured.iterdir()} == {
        "weights.safetensors", "inputs-0.safetensors", "inputs-1.safetensors", "step-0.json", "step-1.json",
    }  # fmt: skip
    assert train(f"--replay={captured}") == 1  # one process alone takes the inputs that were to blame
    assert "is that of stem." in capsys.readouterr().out
