"""A run that was stopped, in whatever way, ends as if it had not been."""

import json
import os
import resource
import signal

import pytest

from dsmixer.engine.interrupt import Interrupt

from .shrunken import SHRUNK, sha, start, stop_after_step, train

EAGER = "--run.save_every_minutes=0.0001"  # a checkpoint after every step


def without_times(folder):
    rows = (folder / "metrics.csv").read_text().splitlines()
    return [row.split(",")[:-2] for row in rows]


def test_terminated_killed_and_resumed_gives_the_same_bytes(reference, tmp_path):
    folder = tmp_path / "run"
    process = start(*SHRUNK, EAGER, f"--out={folder}", "--data.workers=2")
    code, out, err = stop_after_step(process, folder, 5, signal.SIGTERM)
    assert (code, err) == (143, "")
    assert f"go on with: dsmixer train --resume {folder}" in out
    with pytest.raises(ProcessLookupError):  # no worker is left behind
        os.killpg(process.pid, 0)
    stopped = json.loads((folder / "checkpoints" / "latest.json").read_bytes())["latest"]

    process = start(f"--resume={folder}", EAGER, "--data.workers=0")
    code, out, err = stop_after_step(process, folder, 27, signal.SIGKILL)
    assert (code, err) == (-9, "")
    assert int(stopped.removeprefix("step-")) < 27
    assert f"at step {int(stopped.removeprefix('step-'))} of 40" in out
    (folder / "checkpoints" / "step-00000099.json.tmp").write_bytes(b"a save cut short")

    assert train(f"--resume={folder}") == 0
    assert sha(folder) == sha(reference)
    assert without_times(folder) == without_times(reference)
    assert not list(folder.rglob("*.tmp"))


def test_a_run_killed_before_its_first_checkpoint_begins_again(reference, tmp_path):
    (tmp_path / "config.yaml").write_bytes((reference / "config.yaml").read_bytes())
    assert train(f"--resume={tmp_path}") == 0
    assert sha(tmp_path) == sha(reference)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run interrupted, in this process, after some steps of its second epoch."""
    folder, steps = tmp_path / "run", []
    from dsmixer.engine import loop

    step = loop.train_step

    def counted(*arguments):
        steps.append(1)
        if len(steps) == 27:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    monkeypatch.setattr(loop, "train_step", counted)
    assert train(*SHRUNK, f"--out={folder}") == 130
    monkeypatch.undo()
    return folder


def test_a_damaged_newest_checkpoint_costs_steps_not_the_result(stopped, reference, capsys):
    newest = max((stopped / "checkpoints").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    assert train(f"--resume={stopped}") == 0
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert f"{newest} is damaged" in captured.err
    assert "at step 20 of 40" in captured.out
    assert sha(stopped) == sha(reference)


def test_nothing_left_to_resume_is_one_sentence(stopped, capsys):
    for path in (stopped / "checkpoints").glob("*.json"):
        path.write_bytes(b"{}")
    capsys.readouterr()
    assert train(f"--resume={stopped}") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("dsmixer: error: nothing to resume in ")


def test_a_full_disk_is_one_sentence_and_the_run_can_go_on(stopped, reference, capsys):
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        assert train(f"--resume={stopped}") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no room to save" in error
    assert train(f"--resume={stopped}") == 0
    assert sha(stopped) == sha(reference)


def test_a_changed_configuration_is_not_resumed(stopped, capsys):
    assert train(f"--resume={stopped}", "--optim.lr=1") == 2
    assert "may not change optim.lr" in capsys.readouterr().err
    path = stopped / "config.yaml"
    path.write_text(path.read_text().replace("drop_path_rate: 0.2", "drop_path_rate: 0.1"))
    assert train(f"--resume={stopped}") == 1
    assert "model.drop_path_rate was 0.2" in capsys.readouterr().err


def test_a_signal_asks_and_a_ctrl_c_after_it_ends(monkeypatch, capsys):
    import dsmixer.engine.interrupt as module

    codes = []
    monkeypatch.setattr(module.os, "_exit", codes.append)
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # torchrun passes on what a cluster's manager has sent already
        assert (interrupt.signal, codes) == (signal.SIGTERM, [])
        signal.raise_signal(signal.SIGINT)
        assert codes == [130]
    assert signal.getsignal(signal.SIGTERM) is before
