"""Several processes do what one does; losing one costs time, not the result."""

import csv
import json
import signal
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from dsmixer.data.loader import CountedBatches, in_order, share
from dsmixer.data.seeds import seed_step
from dsmixer.engine.distributed import Group, lost_process

from .nursery import Moment, together
from .shrunken import EAGER, SHRUNK, sha, train

# without dropping, which differs from process to process
SAME = [*SHRUNK, "--model.drop_path_rate=0", "--optim.epochs=1"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert train(*SAME, f"--out={folder}") == 0
    return folder


def ends(children):
    return [child.end() for child in children]


def assert_same_result(folder, other):
    result, expected = (json.loads((where / "result.json").read_text()) for where in (folder, other))
    assert result["test"] == pytest.approx(expected["test"], abs=1e-4)
    assert result["train_images"] == expected["train_images"]
    (row,), (expected_row,) = (
        csv.DictReader((where / "metrics.csv").read_text().splitlines()) for where in (folder, other)
    )
    for name in ("step", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert float(row[name]) == pytest.approx(float(expected_row[name]), abs=1e-4), name
    weights, expected = (load_file(where / "model.safetensors") for where in (folder, other))
    for name, tensor in weights.items():
        # AdamW's first steps divide a gradient by its own size: its last bits count where it is nearly zero
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("strategy", ["ddp", "fully_shard"])
def test_two_processes_give_the_metrics_and_weights_of_one(alone, tmp_path, strategy):
    folder = tmp_path / "run"
    first, second = ends(together(2, *SAME, f"--run.strategy={strategy}", f"--out={folder}", logs=tmp_path))
    assert (first[0], first[2]) == (0, "")
    assert second == (0, "", "")  # only the main process speaks
    assert_same_result(folder, alone)


def test_a_run_goes_on_with_other_processes_and_another_strategy(alone, tmp_path):
    folder = tmp_path / "run"
    moments = {1: Moment("loss", 10, signal.SIGTERM)}
    sharded = together(2, *SAME, "--run.strategy=fully_shard", f"--out={folder}", logs=tmp_path, moments=moments)
    first, second = ends(sharded)
    # one was asked, both stop, after the same step
    assert [first[0], second[0], first[2], second[2]] == [143, 143, "", ""]
    assert "stopped after step 5;" in first[1]
    assert train(f"--resume={folder}") == 0
    assert_same_result(folder, alone)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """An undisturbed run of two processes, with all that is random."""
    folder = tmp_path_factory.mktemp("pair") / "run"
    assert [end[0] for end in ends(together(2, *SHRUNK, f"--out={folder}", logs=folder.parent))] == [0, 0]
    return folder


def test_a_lost_process_and_the_same_command_again_give_the_same_bytes(pair, tmp_path):
    folder = tmp_path / "run"
    command = [*SHRUNK, EAGER, f"--out={folder}"]
    first, second = ends(together(2, *command, logs=tmp_path, moments={1: Moment("loss", 24)}))
    assert second[0] == -9
    assert first[0] == 1
    assert first[2].count("\n") == 1
    assert "another process of this run ended" in first[2]
    first, second = ends(together(2, *command, logs=tmp_path))
    assert [first[0], second[0], first[2], second[2]] == [0, 0, "", ""]
    assert "resuming" in first[1]
    assert sha(folder) == sha(pair)
    first, second = ends(together(2, *command, logs=tmp_path))
    assert [first[0], second[0]] == [0, 0]
    assert "is finished" in first[1]


def test_under_torchrun_a_folder_of_another_run_is_not_gone_on_with(alone, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    assert train(*SAME, f"--out={alone}", "--optim.lr=0.5") == 2
    assert "holds another run, with optim.lr (0.003, not 0.5)" in capsys.readouterr().err
    assert train(*SAME) == 2
    assert "--out DIR" in capsys.readouterr().err
    assert train(*SAME, f"--out={alone}", "--overwrite") == 2
    assert "remove the folder" in capsys.readouterr().err


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch, capsys):
    from dsmixer.cli.train import check_shares
    from dsmixer.config import DataConfig

    group = Group(0, 3)
    with pytest.raises(ValueError, match=r"data\.batch_size is 32, but 3 processes share it; give a multiple of 3"):
        check_shares(DataConfig(batch_size=32), group)
    with pytest.raises(ValueError, match=r"in pairs.*multiple of 6"):
        check_shares(DataConfig(batch_size=33, mixup=0.1), group)
    check_shares(DataConfig(batch_size=33), group)
    check_shares(DataConfig(batch_size=30, mixup=0.1), group)


@given(st.integers(1, 5), st.integers(1, 12), st.data())
def test_the_parts_of_a_batch_are_the_batch_and_keep_its_pairs(world, size, data):
    keys = [(0, i) for i in range(world * size)]
    parts = [share(keys, rank, world) for rank in range(world)]
    assert sorted(key for part in parts for key in part) == keys
    assert {len(part) for part in parts} == {size}
    if size % 2 == 0:
        mirror = dict(zip(keys, keys[::-1], strict=True))
        for part in parts:
            assert [mirror[key] for key in part] == part[::-1]


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 5))
def test_an_evaluation_is_split_without_repeats_into_as_many_batches_for_each(count, batch_size, world):
    if count < world:
        with pytest.raises(ValueError, match="too few"):
            in_order(count, batch_size, 0, world)
        return
    parts = [in_order(count, batch_size, rank, world) for rank in range(world)]
    assert sorted(i for part in parts for batch in part for _, i in batch) == list(range(count))
    assert len({len(part) for part in parts}) == 1
    assert all(1 <= len(batch) <= max(2, -(-batch_size // world)) for part in parts for batch in part)


def test_the_order_of_the_run_does_not_depend_on_the_processes():
    settings = {"batches_per_epoch": 5, "epochs": 2, "seed": 3, "start": 4}
    whole = list(CountedBatches(61, 12, **settings))
    parts = [list(CountedBatches(61, 12, **settings, rank=rank, world=3)) for rank in range(3)]
    assert [sorted(batch) for batch in whole] == [sorted(chain(*three)) for three in zip(*parts, strict=True)]


def test_processes_mix_alike_and_drop_differently():
    drawn = {}
    for rank in range(3):
        seed_step(5, 7, rank)
        drawn[rank] = np.random.rand(), torch.rand(1).item()
    assert len({mix for mix, _ in drawn.values()}) == 1
    assert len({drop for _, drop in drawn.values()}) == 3


def test_a_process_alone_initialises_nothing():
    group = Group.from_environment()
    assert group == Group(0, 1, 0)
    block = torch.ones(2, 3)
    assert (group.highest(3, True), group.every(True), group.from_main(4)) == ([3, 1], True, 4)
    assert group.gather(block) == [block]
    assert not torch.distributed.is_initialized()


def test_another_process_s_end_is_told_from_other_errors():
    assert "Connection closed by peer" in (lost_process(RuntimeError("[gloo/x.cc:5] Connection closed by peer")) or "")
    assert lost_process(RuntimeError("shapes do not match")) is None
