"""A run that was stopped, in whatever way, ends as if it had not been."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from dsmixer.engine.checkpoint import Checkpoints
from dsmixer.engine.interrupt import Interrupt

from .nursery import Child, Moment
from .shrunken import EAGER, SHRUNK, newest, reached, sha, stop_after_step, train


def without_times(folder):
    rows = (folder / "metrics.csv").read_text().splitlines()
    return [row.split(",")[:-2] for row in rows]


def assert_nothing_is_left(child, within=0.0):
    """No process of its session, and nothing of theirs in shared memory."""
    deadline = time.monotonic() + within
    while session(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not session(child)
    assert not [path for path in Path("/dev/shm").glob("torch_*") if path.name.split("_")[1] == str(child.pid)]


def session(child):
    """Processes of the child's session that are not about to be reaped."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, number = path.read_text().rpartition(")")[2].split()[:4]
            if int(number) == child.pid and state != "Z":
                found.append(int(path.parent.name))
    return found


def losses(*logs):
    return {line for log in logs for line in log.with_suffix(".losses").read_text().splitlines()}


def test_terminated_killed_and_resumed_gives_the_same_bytes(reference, tmp_path):
    folder, logs = tmp_path / "run", [tmp_path / name for name in "ab"]
    child = Child(*SHRUNK, EAGER, f"--out={folder}", "--data.workers=2", log=logs[0])
    code, out, err = stop_after_step(child, folder, 5, signal.SIGTERM)
    assert (code, err) == (143, "")
    assert f"go on with: dsmixer train --resume {folder}" in out
    assert_nothing_is_left(child)
    stopped = newest(folder)

    child = Child(f"--resume={folder}", EAGER, "--data.workers=0", log=logs[1])
    code, out, err = stop_after_step(child, folder, 27, signal.SIGKILL)
    assert (code, err) == (-9, "")
    assert stopped < 27
    assert f"at step {stopped} of 40" in out
    (folder / "checkpoints" / "step-00000099.json.tmp").write_bytes(b"a save cut short")

    assert train(f"--resume={folder}") == 0
    assert sha(folder) == sha(reference)
    assert without_times(folder) == without_times(reference)
    assert not list(folder.rglob("*.tmp"))


def test_killed_within_a_step_an_evaluation_and_a_save_every_loss_is_the_same(reference, tmp_path):
    folder = tmp_path / "run"
    sessions = [
        ([*SHRUNK, EAGER, f"--out={folder}"], Moment("loss", 24)),  # the second batch of a step
        ([f"--resume={folder}", EAGER, "--data.workers=2"], Moment("update", 3)),  # while validating
        ([f"--resume={folder}"], Moment("replace", 6)),  # metrics, tensors, JSON: within the second save
        ([f"--resume={folder}", "--data.workers=2"], None),
    ]
    logs = [tmp_path / f"{number}" for number in range(len(sessions))]
    children = []
    for (arguments, moment), log in zip(sessions, logs, strict=True):
        child = Child(*arguments, log=log, moment=moment)
        code, out, err = child.end()
        assert (code, err) == (-9 if moment else 0, ""), out
        children.append(child)
    assert sha(folder) == sha(reference)
    assert losses(*logs) == losses(reference)
    assert without_times(folder) == without_times(reference)
    for child in children:
        assert_nothing_is_left(child, within=15)  # orphaned workers look for their parent every five seconds


def test_elsewhere_with_another_hash_seed_a_fresh_interpreter_gives_the_same_bytes(reference, tmp_path):
    command = [sys.executable, "-W", "error", "-m", "dsmixer.cli", "train", *SHRUNK, "--out=run", "--data.workers=1"]
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sha(tmp_path / "run") == sha(reference)
    assert without_times(tmp_path / "run") == without_times(reference)


def test_two_quick_ctrl_c_leave_a_good_checkpoint(tmp_path):
    folder = tmp_path / "run"
    child = Child(*SHRUNK, EAGER, f"--out={folder}", "--data.workers=1", log=tmp_path / "log")
    reached(child, folder, 3)
    os.killpg(child.pid, signal.SIGINT)
    time.sleep(0.002)
    os.killpg(child.pid, signal.SIGINT)
    assert child.end()[0] == 130
    assert Checkpoints(folder / "checkpoints", pytest.fail).load_newest()[1]["step"] >= 3
    assert not list(folder.rglob("*.tmp"))
    assert_nothing_is_left(child, within=15)


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGKILL, "killed|exited|reset"), (signal.SIGSTOP, "timed out")])
def test_a_dead_or_hung_worker_ends_the_run_naming_the_images_in_flight(tmp_path, number, reason):
    folder = tmp_path / "run"
    child = Child(
        *SHRUNK, EAGER, f"--out={folder}", "--data.workers=2", "--data.worker_timeout=2", "--optim.epochs=50",
        log=tmp_path / "log",
    )  # fmt: skip
    reached(child, folder, 2)
    begin = time.monotonic()
    os.kill(max(session(child)), number)  # a worker: the process itself has the lowest
    code, _, err = child.end()
    assert code == 1
    assert time.monotonic() - begin < 10
    assert err.count("\n") == 1
    assert re.search(rf"reading failed \(.*({reason}).*\) at one of \d+ images: digit \d+, digit \d+,", err)
    assert_nothing_is_left(child)


@pytest.mark.parametrize("told_again", [False, True])
def test_a_worker_whose_death_is_told_amid_a_step_is_named_alike(tmp_path, monkeypatch, capsys, told_again):
    """PyTorch's signal handler raises wherever the training process happens to be, and at every later signal again."""
    from dsmixer.engine import loop, run

    def struck(*_):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr(loop, "train_step", struck)
    if told_again:
        leave = run.Interrupt.__exit__
        monkeypatch.setattr(run.Interrupt, "__exit__", lambda *args: (leave(*args), struck()))
    assert train(*SHRUNK, f"--out={tmp_path / 'run'}") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(
        r"reading failed \(DataLoader worker .*Killed\.\) at one of \d+ images: digit \d+, digit \d+,", error
    )


def test_too_little_memory_of_a_gpu_is_one_line(tmp_path, monkeypatch, capsys):
    from dsmixer.engine import loop

    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 79 GiB in all.")

    monkeypatch.setattr(loop, "train_step", too_large)
    assert train(*SHRUNK, f"--out={tmp_path / 'run'}") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "CUDA out of memory; a smaller --data.batch_size" in error


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
