"""float16 with a scaled loss, compiled models, channels-last memory: the same training, and resumable."""

import csv
import json
import signal
from functools import partialmethod

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dsmixer.engine.loop import Step, TrainingError, update
from dsmixer.engine.state import TrainState
from dsmixer.tasks.classification import Classification

from .shrunken import SHRUNK, sha, train

SHORT = [*SHRUNK, "--optim.epochs=1"]


def interrupt_at(monkeypatch, step):
    from dsmixer.engine import loop

    original, steps = loop.train_step, []

    def counted(*arguments):
        steps.append(1)
        if len(steps) == step:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(loop, "train_step", counted)


def tiny(scale=2.0**16):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return TrainState(model, optimizer, None, scaler=torch.amp.GradScaler("cpu", init_scale=scale))


def take(state, size):
    """A step whose loss is ``size`` times the output's sum."""
    state.scaler.scale(size * state.model(torch.ones(1, 2)).sum()).backward()
    state.scaler.unscale_(state.optimizer)
    update(state, Step(0, torch.tensor(True), [], [], [3]), lambda step: f"rows {step.rows}")


def test_a_gradient_that_overflows_is_skipped_and_scaled_less():
    state = tiny()
    before = state.model.weight.detach().clone()
    take(state, 1e36)  # times 65536 is beyond float32
    assert torch.equal(state.model.weight, before)
    assert state.scaler.get_scale() == 2.0**15
    take(state, 1.0)
    assert torch.allclose(state.model.weight, before - 0.1)


def test_the_scale_is_in_the_checkpoint():
    state, other = tiny(2.0**10), tiny()
    take(state, 1.0)
    other.unpack(*state.pack())
    assert other.scaler.state_dict() == state.scaler.state_dict()
    assert other.scaler.get_scale() == 2.0**10


def test_an_overflow_that_no_scale_cures_stops():
    state = tiny(1.0)
    with pytest.raises(TrainingError, match=r"overflows float16 even unscaled at step 0 .*rows \[3\].*bfloat16"):
        take(state, float("inf"))


def test_a_float16_run_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    half = [*SHORT, "--run.precision=float16"]
    assert train(*half, f"--out={tmp_path / 'whole'}") == 0
    interrupt_at(monkeypatch, 8)
    assert train(*half, f"--out={tmp_path / 'run'}") == 130
    monkeypatch.undo()
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*.json"))
    assert json.loads(newest.read_text())["checkpoint"]["state"]["scaler"]["scale"] > 1
    assert train(f"--resume={tmp_path / 'run'}") == 0
    assert sha(tmp_path / "run") == sha(tmp_path / "whole")
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all(tensor.dtype != torch.float16 for tensor in weights.values())  # only the arithmetic is


def test_a_bfloat16_run_resumes_to_the_same_bytes_which_are_not_those_of_float32(tmp_path, monkeypatch, plain):
    short = [*SHORT, "--run.precision=bfloat16"]
    assert train(*short, f"--out={tmp_path / 'whole'}") == 0
    interrupt_at(monkeypatch, 8)
    assert train(*short, f"--out={tmp_path / 'run'}") == 130
    monkeypatch.undo()
    assert train(f"--resume={tmp_path / 'run'}") == 0
    assert sha(tmp_path / "run") == sha(tmp_path / "whole") != sha(plain)
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all(tensor.dtype != torch.bfloat16 and tensor.isfinite().all() for tensor in weights.values())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "run"
    assert train(*SHORT, f"--out={folder}") == 0
    return folder


def assert_same_training(folder, plain):
    weights, expected = (load_file(where / "model.safetensors") for where in (folder, plain))
    assert list(weights) == list(expected)
    for name, tensor in weights.items():
        # AdamW makes much of a gradient's last bits where it is nearly zero
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=5e-3)
    (row,), (expected_row,) = (
        csv.DictReader((where / "metrics.csv").read_text().splitlines()) for where in (folder, plain)
    )
    for name in ("train_loss", "val_loss"):  # without dropping any path it is 0.0035 lower
        assert float(row[name]) == pytest.approx(float(expected_row[name]), abs=5e-4)


def test_a_compiled_run_resumes_and_its_weights_have_the_names_and_values_of_the_plain_one(
    tmp_path, monkeypatch, plain
):
    calls = []

    def backend(graph, _):  # the default one writes and compiles C++ for minutes
        def called(*inputs):
            calls.append(1)
            return graph.forward(*inputs)

        return called

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend))
    compiled = [*SHORT, "--run.compile=true", f"--out={tmp_path}"]
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        assert train(*compiled) == 130
    before = len(calls)
    assert train(f"--resume={tmp_path}") == 0
    assert 0 < before < len(calls)
    assert_same_training(tmp_path, plain)


def test_channels_last_changes_the_layout_not_the_training(tmp_path, plain):
    assert train(*SHORT, "--run.channels_last=true", f"--out={tmp_path}") == 0
    assert_same_training(tmp_path, plain)


@pytest.mark.parametrize("asked", [False, True])
def test_images_and_convolutions_lie_in_memory_as_was_asked(asked, tmp_path, monkeypatch):
    seen = set()

    def watch(name):
        original = getattr(Classification, name)

        def watched(self, model, batch):
            kernels = [weight for weight in model.parameters() if weight.ndim == 4 and min(weight.shape[1:]) > 1]
            lies = {each.is_contiguous(memory_format=torch.channels_last) for each in (batch.images, *kernels)}
            seen.add((name, len(kernels) > 1, *lies))
            return original(self, model, batch)

        monkeypatch.setattr(Classification, name, watched)

    watch("loss")
    watch("update")
    color = ["--data.in_chans=3", "--data.mean=[0, 0, 0]", "--data.std=[1, 1, 1]", "--data.batch_size=512"]
    assert train(*SHORT, *color, f"--run.channels_last={asked}", f"--out={tmp_path}") == 0
    assert seen == {("loss", True, asked), ("update", True, asked)}


def test_a_deterministic_run_refuses_what_has_no_deterministic_form(tmp_path, monkeypatch):
    monkeypatch.setattr(Classification, "loss", lambda *_: torch.zeros(2).put_(torch.tensor([0]), torch.ones(1)))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        with pytest.raises(RuntimeError, match="put_ does not have a deterministic implementation"):
            train(*SHORT, "--run.deterministic=true", f"--out={tmp_path}")
    finally:
        torch.use_deterministic_algorithms(False)
