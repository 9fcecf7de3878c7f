"""A step that is not finite changes nothing, is written down, and can be done again."""

import csv
import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, load_file

from dsmixer.data.boxes.batches import BoxBatch, BoxesToTrainOn
from dsmixer.data.loader import Batch, Images
from dsmixer.data.masks.batches import MaskBatch, MaskedImages
from dsmixer.engine.checkpoint import Checkpoints, to_safetensors
from dsmixer.engine.nonfinite import kinds, tensors_in

from ..data.crafted import class_folders
from .dense import options, write
from .nursery import Moment, spoil, together
from .shrunken import EAGER, SHRUNK, train
from .test_folders import TINY

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
    assert re.search(r"not finite at step 7 \(learning rate [\d.e-]+, \d+ images: digit \d+, .* and \d+ more\)", error)
    captured = folder / "nan-00000007"
    facts = json.loads((captured / "step-0.json").read_text())
    assert f"that of {facts['module']} (dsmixer train --replay {captured})" in error
    assert facts["module"].startswith("stem.")
    assert facts["losses"][1] == "nan"
    assert float(facts["losses"][0]) > 0
    assert facts["gradients"]
    assert len(facts["rows"]) == 64
    assert facts["images"] == [f"digit {row}" for row in facts["rows"]]

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


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_up_to_max_nonfinite_steps_in_a_row_are_skipped(tmp_path, capsys, poison, precision):
    poison(5, 8, 11, 15)  # steps 2 and 3, then 5, then 7
    folder = tmp_path / "run"
    assert train(*SHORT, "--run.max_nonfinite=2", f"--run.precision={precision}", f"--out={folder}") == 0
    captured = capsys.readouterr()
    assert [line.split("at step ")[1].split()[0] for line in captured.err.splitlines()] == ["2", "3", "5", "7"]
    assert finite(load_file(folder / "model.safetensors"))
    assert "train loss nan" not in captured.out
    assert sorted(path.name for path in folder.glob("nan-*")) == ["nan-00000002", "nan-00000005", "nan-00000007"]


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_epoch_of_which_every_step_was_skipped_has_no_numbers_of_training(tmp_path, poison, epoch):
    root, out = class_folders(tmp_path / "data", {"ant": 20, "moths": 20}), tmp_path / "run"
    poison(*((1, 2, 3) if epoch == 1 else (5, 6, 7)))  # three steps an epoch, then a batch of validation
    assert train(*TINY, f"--data.root={root}", f"--out={out}", "--run.max_nonfinite=3") == 0
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [row["train_loss"] == "" for row in rows] == [epoch == 1, epoch == 2]
    assert all(row["val_loss"] for row in rows)
    assert (out / "curves.png").stat().st_size > 1000


def test_one_more_in_a_row_stops(tmp_path, capsys, poison):
    poison(5, 8)
    assert train(*SHORT, "--run.max_nonfinite=1", f"--out={tmp_path}") == 1
    warned, stopped = capsys.readouterr().err.splitlines()
    assert warned.startswith("warning: loss or gradient is not finite at step 2")
    assert stopped.startswith("dsmixer: error: loss or gradient is not finite at step 3")
    assert train(f"--resume={tmp_path}", "--run.max_nonfinite=1") == 0  # now there is nothing wrong with the images


def test_a_step_that_is_found_late_is_never_saved_and_captured_after_a_resume(tmp_path, capsys, poison, monkeypatch):
    """As on a GPU, where the losses of three steps are looked at together."""
    from dsmixer.cli import train as verb

    plan_of, folder = verb.plan_of, tmp_path / "run"
    poison(40 + 5 + 5)  # the first epoch's, those of its validation, and the first batch of step 22
    with monkeypatch.context() as patch:
        patch.setattr(verb, "plan_of", lambda *given: replace(plan_of(*given), check_every=3))
        assert train(*SHRUNK, f"--out={folder}") == 1
    error = capsys.readouterr().err
    assert re.search(r"not finite at step 22 \(learning rate [\d.e-]+, \d+ images: digit ", error)
    assert "Go on from there with --run.check_every 1" in error
    assert not list(folder.glob("nan-*"))
    tensors, state = Checkpoints(folder / "checkpoints", pytest.fail).load_newest()
    assert state["step"] == 20
    assert finite(tensors)

    poison(5)  # the same batch, the fifth from there
    assert train(f"--resume={folder}", "--run.check_every=1") == 1
    assert f"--replay {folder / 'nan-00000022'})" in capsys.readouterr().err
    assert json.loads((folder / "nan-00000022" / "step-0.json").read_text())["module"].startswith("stem.")


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


@pytest.mark.parametrize(("kind", "samples"), [("masks", MaskedImages), ("boxes", BoxesToTrainOn)])
def test_steps_of_every_task_are_captured_and_replayed(tmp_path, capsys, monkeypatch, kind, samples):
    root, folder, read = write(kind, tmp_path / "data"), tmp_path / "run", samples.__getitems__

    def spoiled(self, keys):
        batch = read(self, keys)
        batch.images[1][:] = 3e38
        return batch

    monkeypatch.setattr(samples, "__getitems__", spoiled)
    assert train(*options(kind, root), "--optim.epochs=1", f"--out={folder}") == 1
    captured = folder / "nan-00000000"
    facts = json.loads((captured / "step-0.json").read_text())
    assert f", 2 images: {', '.join(facts['images'])}); the first output" in capsys.readouterr().err
    assert all((root / name).is_file() for name in facts["images"])
    assert ".stem." in facts["module"]
    assert facts["batch"] == {"masks": "MaskBatch", "boxes": "BoxBatch"}[kind]
    monkeypatch.undo()
    capsys.readouterr()
    assert train(f"--replay={captured}") == 1
    findings = f"loss {', '.join(facts['losses'])}; the first output that is not finite is that of {facts['module']}"
    assert capsys.readouterr().out.endswith(f"step 0: {findings}\n")
    inputs = load_file(captured / "inputs-0.safetensors")
    (inputs["0/images"][1] if kind == "masks" else inputs["0/images/1"]).zero_()
    (captured / "inputs-0.safetensors").write_bytes(to_safetensors(inputs))
    assert train(f"--replay={captured}") == 0
    assert "every output and gradient is finite" in capsys.readouterr().out


def test_batches_come_back_as_they_were_packed():
    rows, image = torch.tensor([7, 2]), torch.rand(3, 4, 5)
    target = {"boxes": torch.rand(1, 4), "labels": torch.tensor([2]), "masks": torch.ones(1, 4, 5, dtype=torch.uint8)}
    nothing = {name: value[:0] for name, value in target.items()}
    boxes = BoxBatch([image, image[:, 1:]], [nothing, target], rows)
    masks = MaskBatch(torch.rand(2, 3, 4, 5), torch.zeros(2, 4, 5).long(), rows, torch.tensor([[4, 5], [3, 5]]))
    for batch in (boxes, masks, Batch(torch.rand(2, 3, 4, 5), torch.tensor([1, 0]), rows)):
        back = kinds()[type(batch).__name__].unpack(load(to_safetensors(batch.pack())))
        assert type(back) is type(batch)
        there, here = back.pack(), batch.pack()
        assert sorted(there) == sorted(here)
        assert all(torch.equal(there[name], value) and there[name].dtype == value.dtype for name, value in here.items())
    back = BoxBatch.unpack(load(to_safetensors(boxes.pack())))
    assert [sorted(target) for target in back.targets] == [["boxes", "labels", "masks"]] * 2
    many = BoxBatch([image] * 12, [{"labels": torch.tensor([n])} for n in range(12)], torch.arange(12))
    assert [t["labels"].item() for t in BoxBatch.unpack(load(to_safetensors(many.pack()))).targets] == list(range(12))


def test_outputs_are_looked_into():
    tensors = [torch.tensor([number]) for number in range(4)]
    assert list(tensors_in({"a": [tensors[0], (tensors[1], None)], "b": {"c": tensors[2]}, "d": "text"})) == tensors[:3]
