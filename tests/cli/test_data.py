"""`dsmixer check` names every bad file; `dsmixer pack` makes shards of the rest."""

import csv

import pytest

from dsmixer.cli import main
from dsmixer.data.splits import open_data
from tests.data.crafted import class_folders
from tests.data.dirty import BAD, FILES


@pytest.fixture
def root(tmp_path):
    """Everything that dirty.py has, in two classes, and copies in another split and another class."""
    root = class_folders(tmp_path / "data" / "train", {"ant": 4, "moths": 4}).parent
    for number, (name, (data, _)) in enumerate(FILES.items()):
        (root / "train" / ("ant", "moths")[number % 2] / f"x-{name}").write_bytes(data)
    class_folders(root / "val", {"ant": 2})
    (root / "val" / "moths").mkdir()
    (root / "val" / "moths" / "an-ant.png").write_bytes((root / "train" / "ant" / "ant-3.png").read_bytes())
    return root


def test_check_names_every_bad_file_and_counts_the_rest(root, tmp_path, capsys):
    assert main(["check", str(root), "--out", str(tmp_path / "bad.csv"), "--workers", "2"]) == 1
    out = capsys.readouterr().out
    good = 8 + 3 + len(FILES) - len(BAD)
    assert f"{good} of {good + len(BAD)} images" in out
    # the two ants of val are those of train, and so is the one among the moths
    assert "3 of earlier images, byte for byte: 3 in another split, 1 in another class" in out
    assert "PNG" in out
    assert "1x1 to 30000x20, median 64x48" in out
    rows = list(csv.reader((tmp_path / "bad.csv").read_text().splitlines()))
    assert rows[0] == ["name", "reason"]
    assert sorted(name.rpartition("x-")[2] for name, _ in rows[1:]) == sorted(BAD)
    for kind in ("not an image", "damaged image", "empty", "the header announces more than 64 megapixels"):
        assert f"bad             {sum(reason.startswith(kind) for _, reason in rows)} {kind}\n" in out


def test_check_of_clean_data_is_0(tmp_path, capsys):
    class_folders(tmp_path, {"ant": 3, "moths": 3})
    assert main(["check", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "6 of 6 images" in captured.out
    assert captured.err == ""


def test_pack_says_what_it_leaves_out_and_what_it_made(root, tmp_path, capsys):
    assert main(["pack", str(root), str(tmp_path / "packed"), "--shard-size", "1", "--resize", "32"]) == 0
    out = capsys.readouterr().out
    assert out.count("left out: ") == len(BAD)
    good = 8 + 3 + len(FILES) - len(BAD)
    assert f"{good} images in 2 shards of 0." in out
    sources, _ = open_data("auto", str(tmp_path / "packed"))
    assert len(sources["train"].labels) + len(sources["val"].labels) == good
    assert main(["pack", str(root), str(tmp_path / "packed")]) == 2
    assert "exists" in capsys.readouterr().err
