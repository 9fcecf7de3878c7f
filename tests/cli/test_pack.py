"""`dsmixer pack`, from the command line to the folder it leaves; what lies in the shards is in tests/data."""

import csv

import numpy as np
import pytest

from dsmixer.cli import main
from dsmixer.data.splits import open_data
from tests.data.crafted import class_folders


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A data set with one bad file, and a file in the way."""
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "tree/train", {"ant": 9, "moths": 7})
    class_folders(tmp_path / "tree/val", {"moths": 2})
    (tmp_path / "tree/train/ant/x.png").write_bytes(b"<html>")
    (tmp_path / "file").touch()
    return tmp_path


def test_it_says_what_it_did_and_how_to_go_on(here, capsys):
    assert main(["pack", "tree", "out", "--shard-size=0.004"]) == 0
    out, err = capsys.readouterr()
    shards = len(list((here / "out").glob("*.tar")))
    assert shards > 3
    lines = out.splitlines()
    assert lines[0].startswith("left out: train/ant/x.png: not an image")
    assert lines[1].startswith(f"18 images of 2 classes in {shards} shards, 0.")
    assert lines[1].endswith("MB; 1 cannot be read, see out/bad_files.csv")
    assert lines[2] == "use them with: --data.root out"
    assert err == ""
    rows = list(csv.reader((here / "out/bad_files.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["name", "train/ant/x.png"]
    assert len(open_data("auto", "out")[0]["train"].labels) == 16


def test_large_images_are_made_smaller_on_request(here):
    assert main(["pack", "tree", "out", "--resize=8", "--workers=1"]) == 0
    train = open_data("auto", "out")[0]["train"]
    assert {min(train.image(row, "RGB").size) for row in range(16)} == {8}
    assert {name[-4:] for name in map(train.name, range(16))} == {".jpg"}


def test_the_digits_are_packed_too(here, monkeypatch):
    import dsmixer.cli.pack as module

    digits = module.Digits()
    digits.labels = digits.labels[:40]
    monkeypatch.setattr(module, "Digits", lambda: digits)
    assert main(["pack", "digits", "out"]) == 0
    train = open_data("auto", "out")[0]["train"]
    assert np.array_equal(train.labels, digits.labels)
    assert train.image(5, "L") == digits.image(5, "L")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(here, capsys, monkeypatch):
    import dsmixer.data.pack as module

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_index", full)
    before = sorted(here.iterdir())
    assert main(["pack", "tree", "out"]) == 1
    assert capsys.readouterr().err == "dsmixer: error: out cannot be written: No space left on device\n"
    assert sorted(here.iterdir()) == before


MISTAKES = [
    (["nowhere", "out"], "nowhere is not a folder"),
    (["tree", "tree"], "tree is not empty; give a new folder"),
    (["tree", "file"], "file is a file; give a new folder"),
    (["tree", "out", "--shard-size=0"], "--shard-size is 0"),
    (["tree", "out", "--resize=-1"], "--resize is -1"),
    (["tree", "out", "--workers=0"], "--workers is 0"),
    (["tree"], "required: OUT"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_sentence(here, capsys, arguments, message):
    before = sorted(here.rglob("*"))
    assert main(["pack", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert sorted(here.rglob("*")) == before
