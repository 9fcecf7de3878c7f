"""What `dsmixer pack` leaves behind, and what it refuses; what lies in the shards is in tests/data/test_shards.py."""

import csv
import errno
import os
from pathlib import Path

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


def test_the_bad_files_are_listed_beside_the_shards(here, capsys):
    assert main(["pack", "tree", "out"]) == 0
    out, err = capsys.readouterr()
    assert "1 bad files were left out; see out/bad_files.csv" in out
    assert "18 images in 2 shards" in out
    assert err == ""
    rows = list(csv.reader((here / "out/bad_files.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["name", "train/ant/x.png"]
    assert len(open_data("auto", "out")[0]["train"].labels) == 16


def test_large_images_are_made_smaller_on_request(here):
    assert main(["pack", "tree", "out", "--resize=8", "--workers=1"]) == 0
    train = open_data("auto", "out")[0]["train"]
    assert {min(train.image(row, "RGB").size) for row in range(16)} == {8}
    assert {name[-4:] for name in map(train.name, range(16))} == {".jpg"}


def test_a_full_disk_is_one_sentence_and_leaves_nothing(here, capsys, monkeypatch):
    import dsmixer.data.pack as module

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_index", full)
    before = sorted(here.iterdir())
    assert main(["pack", "tree", "out"]) == 1
    assert capsys.readouterr().err == "dsmixer: error: out cannot be written: No space left on device\n"
    assert sorted(here.iterdir()) == before


def test_a_link_to_an_empty_folder_is_followed(here):
    (here / "disk/empty").mkdir(parents=True)
    (here / "out").symlink_to("disk/empty")
    assert main(["pack", "tree", "out"]) == 0
    assert (here / "out").readlink().name == "empty"
    assert len(open_data("auto", "out")[0]["train"].labels) == 16
    assert [path.name for path in (here / "disk").iterdir()] == ["empty"]


def test_a_folder_that_cannot_be_replaced_is_refused_before_any_image_is_read(here, capsys, monkeypatch):
    (here / "empty").mkdir()
    before = sorted(here.rglob("*"))

    def told(*arguments):
        assert main(["pack", *arguments]) == 2
        assert sorted(here.rglob("*")) == before
        return capsys.readouterr().err

    def busy(*_):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr("dsmixer.data.pack._pack", lambda *_: pytest.fail("an image is read"))
    monkeypatch.chdir(here / "empty")
    advice = f"give a folder in it, such as {here / 'empty/packed'}\n"
    assert told("../tree", ".").endswith(f"is the current folder, which cannot be replaced; {advice}")
    monkeypatch.chdir(here)
    monkeypatch.setattr(Path, "rename", busy)  # as onto a mount point
    assert told("tree", "empty").endswith(f"cannot be replaced (Device or resource busy); {advice}")


MISTAKES = [
    (["nowhere", "out"], "nowhere does not exist"),
    (["tree", "tree"], "tree exists; give a folder that does not"),
    (["tree", "file"], "file exists; give a folder that does not"),
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
