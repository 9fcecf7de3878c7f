"""A run on dirty data: the same twice, the same when it was stopped, and never without its list."""

import csv
import signal

import pytest

from tests.data.crafted import class_folders
from tests.data.dirty import BAD, FILES

from .dense import options, write
from .shrunken import sha, train
from .test_folders import TINY


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dirty")
    class_folders(folder / "train", {"ant": 20, "moths": 20})
    class_folders(folder / "test", {"ant": 5, "moths": 5})
    for number, name in enumerate(BAD):
        (folder / "train" / ("ant", "moths")[number % 2] / f"bad-{name}").write_bytes(FILES[name][0])
    (folder / "test" / "ant" / "bad-too.png").write_bytes(b"")
    return folder


def rows(folder):
    return list(csv.reader((folder / "bad_files.csv").read_text().splitlines()))


def test_bad_files_are_skipped_alike_by_any_workers_and_after_an_interruption(root, tmp_path, monkeypatch, capsys):
    ask = [*TINY, f"--data.root={root}", "--data.max_bad=0.5", "--data.hflip=0.5"]
    assert train(*ask, f"--out={tmp_path / 'a'}") == 0
    error = capsys.readouterr().err
    assert "left out: train/ant/bad-" in error
    names = [row[0] for row in rows(tmp_path / "a")]
    expected = [path.relative_to(root).as_posix() for path in root.rglob("bad-*")]
    assert sorted(names) == sorted(["name", *expected])  # each once, though two epochs met it

    assert train(*ask, f"--out={tmp_path / 'b'}", "--data.workers=2") == 0
    assert sha(tmp_path / "b") == sha(tmp_path / "a")
    assert rows(tmp_path / "b") == rows(tmp_path / "a")

    from dsmixer.engine import loop

    step, steps = loop.train_step, []

    def counted(*arguments, **options):
        steps.append(1)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments, **options)

    monkeypatch.setattr(loop, "train_step", counted)
    assert train(*ask, f"--out={tmp_path / 'c'}") == 130
    monkeypatch.undo()
    before = rows(tmp_path / "c")
    capsys.readouterr()
    assert train(f"--resume={tmp_path / 'c'}") == 0
    assert sha(tmp_path / "c") == sha(tmp_path / "a")
    assert rows(tmp_path / "c") == rows(tmp_path / "a")
    told = capsys.readouterr().err
    assert 1 < len(before) < len(names)
    assert not any(f"left out: {name}:" in told for name, _ in before)


def test_above_the_budget_the_run_stops_with_the_list_and_goes_on_with_a_larger_one(root, tmp_path, capsys):
    assert train(*TINY, f"--data.root={root}", f"--out={tmp_path / 'run'}") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "images cannot be read, more than data.max_bad 0.001 allows (listed in" in error
    assert f"{rows(tmp_path / 'run')[1][0]}: " in error
    assert train(f"--resume={tmp_path / 'run'}", "--data.max_bad=0.5") == 0


def test_with_everything_in_memory_all_is_told_before_a_step_is_taken(root, tmp_path, capsys):
    ask = [*TINY, f"--data.root={root}", "--data.cache=memory"]
    assert train(*ask, f"--out={tmp_path / 'run'}") == 1
    captured = capsys.readouterr()
    assert "of these 44 cannot be read: train/ant/bad-" in captured.out  # what headers show, of the training images
    assert f"{len(BAD) + 1} of 65 images cannot be read, more than" in captured.err.splitlines()[-1]
    assert len(rows(tmp_path / "run")) == len(BAD) + 2  # a heading; and the one among the test images
    assert not (tmp_path / "run" / "checkpoints").exists() or not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_masks_and_boxes_too_are_skipped_alike_by_any_workers_and_after_an_interruption(kind, tmp_path, monkeypatch):
    root = write(kind, tmp_path / "data")
    images = root / "images" if kind == "masks" else root
    for name in ("train/2.png", "val/0.png", "test/1.png"):
        (images / name).write_bytes((images / name).read_bytes()[:-30])
    lost = root / ("annotations/train/4.png" if kind == "masks" else "train/4.png")
    lost.unlink()
    ask = [*options(kind, root), "--data.max_bad=0.3"]
    assert train(*ask, f"--out={tmp_path / 'a'}") == 0
    names = [f"{images.relative_to(root) / name}" for name in ("train/4.png", "train/2.png", "val/0.png", "test/1.png")]
    assert [row[0] for row in rows(tmp_path / "a")][:2] == ["name", names[0]]  # at the start, before any batch
    assert sorted(row[0] for row in rows(tmp_path / "a")[1:]) == sorted(names)

    from dsmixer.engine import loop

    step, steps = loop.train_step, []

    def counted(*arguments, **settings):
        steps.append(1)
        if len(steps) == 2:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments, **settings)

    monkeypatch.setattr(loop, "train_step", counted)
    assert train(*ask, f"--out={tmp_path / 'c'}") == 130
    monkeypatch.undo()
    assert train(f"--resume={tmp_path / 'c'}", "--data.workers=1") == 0
    assert sha(tmp_path / "c") == sha(tmp_path / "a")
    assert sorted(rows(tmp_path / "c")) == sorted(rows(tmp_path / "a"))
