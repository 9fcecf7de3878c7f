"""A checkpoint is whole or absent; damage is noticed; a full disk costs nothing that was saved."""

import multiprocessing
import random
import resource
import shutil
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from dsmixer.engine.checkpoint import CheckpointError, Checkpoints, to_safetensors, write_atomically
from dsmixer.engine.optimizer import AveragedWeights, make_optimizer
from dsmixer.engine.state import TrainState

BYTES = 40_000


def state(step):
    return {"model/w": torch.arange(BYTES // 4, dtype=torch.float32) + step}, {"step": step, "lr": 0.1, "ids": {1: "a"}}


@pytest.fixture
def saved(tmp_path):
    warnings = []
    checkpoints = Checkpoints(tmp_path, warnings.append)
    for step in (10, 20, 30):
        checkpoints.save(step, *state(step), best=10)
    return checkpoints, warnings


@contextmanager
def files_limited_to(size):
    """As a full disk: the kernel refuses to write beyond ``size`` bytes of any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_newest_comes_back_and_the_last_two_and_the_best_stay(saved):
    checkpoints, warnings = saved
    tensors, facts = checkpoints.load_newest()
    assert torch.equal(tensors["model/w"], state(30)[0]["model/w"])
    assert facts == {"step": 30, "lr": 0.1, "ids": {"1": "a"}}
    assert checkpoints.steps() == [30, 20, 10]
    checkpoints.save(40, *state(40), best=20)
    assert checkpoints.steps() == [40, 30, 20]
    steps = ("step-00000020", "step-00000030", "step-00000040")
    assert {path.stem for path in checkpoints.folder.iterdir()} == set(steps)
    assert warnings == []


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "one bit": flip,
    "missing": lambda path: path.unlink(),
    "not ours": lambda path: path.write_bytes(b"[1, 2]"),
}


@pytest.mark.parametrize("half", ["json", "safetensors"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_the_newest_falls_back_and_to_all_is_one_sentence(saved, half, damage):
    checkpoints, warnings = saved
    DAMAGE[damage](checkpoints.folder / f"step-00000030.{half}")
    assert checkpoints.load_newest()[1]["step"] == 20
    gone = damage == "missing" and half == "json"  # without its JSON it is an unfinished save, not a damaged one
    assert len(warnings) == (0 if gone else 1)
    assert gone or "step-00000030" in warnings[0]
    for step in (10, 20):
        DAMAGE[damage](checkpoints.folder / f"step-000000{step}.{half}")
    with pytest.raises(CheckpointError, match=r"^nothing to resume in [^\n]+$"):
        checkpoints.load_newest()


def test_a_damaged_one_does_not_outlive_the_next_save(saved):
    checkpoints, _ = saved
    flip(checkpoints.folder / "step-00000030.safetensors")
    checkpoints.load_newest()
    checkpoints.save(25, *state(25), best=10)
    assert checkpoints.steps() == [25, 20, 10]


def test_a_full_disk_leaves_the_last_checkpoint_and_no_debris(saved):
    checkpoints, _ = saved
    before = {path.name: path.read_bytes() for path in checkpoints.folder.iterdir()}
    message = (
        r"^no room to save .*step-00000040.safetensors: it needs [\d,]+ bytes, [\d,]+ are free \(File too large\); "
        r"the checkpoint before it is intact$"
    )
    with files_limited_to(BYTES // 2), pytest.raises(CheckpointError, match=message):
        checkpoints.save(40, *state(40), best=10)
    assert {path.name: path.read_bytes() for path in checkpoints.folder.iterdir()} == before
    assert checkpoints.load_newest()[1]["step"] == 30


def test_too_little_room_is_said_before_it_is_needed(saved, monkeypatch):
    checkpoints, warnings = saved
    checkpoints.check_room(BYTES)
    assert warnings == []
    usage = shutil.disk_usage(checkpoints.folder)._replace(free=4 * BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    checkpoints.check_room(BYTES)
    assert f"will need {4 * BYTES:,} bytes, and {4 * BYTES - 1:,} are free" in warnings[0]


def test_a_disk_too_full_for_the_first_checkpoint_does_not_praise_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path, pytest.fail)
    with files_limited_to(BYTES // 2), pytest.raises(CheckpointError, match=r"are free \(File too large\)$"):
        checkpoints.save(10, *state(10), best=None)


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_the_room_announced_before_the_first_step_is_that_of_the_first_checkpoint(tmp_path, name):
    model = torch.nn.Sequential(torch.nn.Linear(150, 300), torch.nn.Linear(300, 9))
    model[0].bias.requires_grad_(False)
    optimizer = make_optimizer(model, name, 1e-3, 0.05, None)
    state = TrainState(model, optimizer, AveragedWeights(model, 0.9))
    announced = state.size()
    model(torch.rand(4, 150)).sum().backward()
    optimizer.step()
    Checkpoints(tmp_path, pytest.fail).save(1, *state.pack(), best=1)
    written = (tmp_path / "step-00000001.safetensors").stat().st_size
    assert announced == pytest.approx(written, rel=0.01)  # which has a header, too
    assert state.size() == pytest.approx(written, rel=0.01)


def test_strays_of_a_killed_save_are_removed_at_the_next_start(saved):
    checkpoints, _ = saved
    (checkpoints.folder / "step-00000040.safetensors.tmp").write_bytes(b"half")
    (checkpoints.folder / "step-00000040.safetensors").write_bytes(b"tensors without their JSON")
    again = Checkpoints(checkpoints.folder, print)
    assert again.load_newest()[1]["step"] == 30
    again.save(40, *state(40), best=10)
    assert not list(again.folder.glob("*.tmp"))
    assert again.load(40)[1]["step"] == 40


def test_a_failed_write_keeps_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with files_limited_to(10), pytest.raises(CheckpointError):
        write_atomically(path, b"new" * 100)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_equal_tensors_and_metadata_give_equal_bytes_that_safetensors_reads(tmp_path):
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, 2).T}
    tensors["tied"] = tensors["b"]
    metadata = dict.fromkeys("zyxwvu", "ä" * 3)
    data = {to_safetensors(tensors, metadata) for _ in range(5)}
    assert len(data) == 1
    (tmp_path / "w.safetensors").write_bytes(data.pop())
    from safetensors import safe_open

    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert file.metadata() == metadata
        assert all(torch.equal(file.get_tensor(name), tensors[name]) for name in tensors)


def save_for_ever(folder):
    checkpoints = Checkpoints(folder, print)
    tensors, facts = state(0)
    tensors["model/large"] = torch.ones(500_000)
    for step in range(checkpoints.steps()[0] if checkpoints.steps() else 0, 1_000_000):
        checkpoints.save(step + 1, tensors, {**facts, "step": step + 1}, best=None)


def test_twenty_kills_while_saving_always_leave_a_checkpoint_that_verifies(tmp_path):
    moments, steps, strays = random.Random(7), [0], 0
    for _ in range(20):
        process = multiprocessing.get_context("fork").Process(target=save_for_ever, args=(tmp_path,))
        process.start()
        while not Checkpoints.steps(SimpleNamespace(folder=tmp_path))[:1] > steps[-1:]:  # it saves
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.join()
        strays += len(list(tmp_path.glob("*.tmp")))
        checkpoints = Checkpoints(tmp_path, pytest.fail)
        assert not list(tmp_path.glob("*.tmp"))
        steps.append(checkpoints.steps()[0])
        assert len(checkpoints.load_newest()[0]["model/large"]) == 500_000
    assert steps == sorted(steps)
    assert strays  # some of the kills came within a write
