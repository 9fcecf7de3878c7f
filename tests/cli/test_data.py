"""`dsmixer check` names every bad file; `dsmixer pack` makes shards of the rest."""

import csv

import numpy as np
import pytest
from PIL import Image

from dsmixer.cli import main
from dsmixer.data.splits import open_data
from tests.data.annotated import coco, write_coco
from tests.data.crafted import class_folders
from tests.data.dirty import BAD, FILES
from tests.engine.dense import CLASSES, write_boxes, write_masks


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
    assert "warning" not in captured.out
    assert captured.err == ""


def test_check_warns_of_one_class_alone_as_train_refuses_it(tmp_path, capsys):
    class_folders(tmp_path, {"ant": 3})
    assert main(["check", str(tmp_path)]) == 0
    assert "\nwarning: train has only the class 'ant'; at least two are needed to train on\n" in capsys.readouterr().out


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


def test_check_of_masks_names_every_bad_pair_and_says_what_each_class_covers(tmp_path, capsys):
    root = write_masks(tmp_path / "masks")
    ask = ["check", str(root), "--workers", "2", "--classes", *CLASSES]
    assert main(ask) == 0
    out = capsys.readouterr().out
    assert "18 of 18 images" in out
    train = next(line for line in out.splitlines() if line.startswith("train"))
    masks = np.concatenate([np.asarray(Image.open(path)).ravel() for path in (root / "annotations/train").iterdir()])
    shares = np.bincount(masks, minlength=256) / (masks != 255).sum() * 100
    assert f"ground {shares[0]:.2f} %, square {shares[1]:.2f} %, stripe {shares[2]:.2f} %" in train
    assert f"; {(masks == 255).mean() * 100:.2f} % not scored" in train

    (root / "images/train/0.png").write_bytes(b"")
    (root / "annotations/train/1.png").unlink()
    Image.new("L", (64, 48), 7).save(root / "annotations/val/2.png")
    Image.new("L", (9, 9), 1).save(root / "annotations/test/3.png")
    assert main([*ask, "--out", str(tmp_path / "bad.csv")]) == 1
    out = capsys.readouterr().out
    assert (
        "readable        17 of 18 images\nbad             1 empty\nbad             3 without a mask that fits\n" in out
    )
    assert list(csv.reader((tmp_path / "bad.csv").read_text().splitlines()))[1:] == [
        ["images/train/0.png", "empty"],
        ["images/train/1.png", "has no mask"],
        ["images/val/2.png", "annotations/val/2.png: 3072 pixels (the first in row 0, column 0) hold 7; "
         "expected 0 to 2, and 255 where nothing is scored"],
        ["images/test/3.png", "annotations/test/3.png: the mask is 9x9, its image 56x40"],
    ]  # fmt: skip
    assert main([*ask, "--ignore-index", "7"]) == 1  # then 255 is no class
    assert "hold 255" in capsys.readouterr().out


def test_check_of_boxes_reports_annotations_and_names_every_bad_image(tmp_path, capsys):
    root = write_boxes(tmp_path / "boxes")
    assert main(["check", str(root)]) == 0
    out = capsys.readouterr().out
    assert "18 of 18 images" in out
    assert "train: 6 images, 6 objects\n  cat 3, dog 3\n" in out
    whole = (root / "train/1.png").read_bytes()
    (root / "train/0.png").unlink()
    (root / "train/1.png").write_bytes(whole[:-30])  # its header is good
    Image.new("RGB", (9, 9)).save(root / "val/2.png")
    assert main(["check", str(root), "--out", str(tmp_path / "bad.csv")]) == 1
    out = capsys.readouterr().out
    assert "16 of 18 images" in out
    assert "bad             1 of another size than annotated\n" in out
    assert "image file missing: 1 (0.png: missing); left out of evaluations" in out
    rows = dict(csv.reader((tmp_path / "bad.csv").read_text().splitlines()))
    assert sorted(rows) == ["name", "train/0.png", "train/1.png", "val/2.png"]
    assert rows["train/1.png"].startswith("damaged image")
    assert rows["val/2.png"] == "9x9, but annotated as 64x48"


def test_check_fails_where_annotations_must_be_corrected(tmp_path, capsys):
    data = coco()
    data["annotations"][0]["category_id"] = 77
    for split in ("train", "val"):
        write_coco(tmp_path, split, data if split == "train" else coco())
    assert main(["check", str(tmp_path)]) == 1
    assert (
        "category that is not listed: 1 (annotation 100 of category 77); must be corrected" in capsys.readouterr().out
    )


WRONG = [
    (["boxes", "--ignore-index", "3"], "--ignore-index says how masks are read, but"),
    (["masks"], "holds none of classes.txt, classes.json"),
    (["masks", "--palette", "red"], "red is no list of colors, such as"),
    (["masks", "--name", "boxes"], "is annotated with masks; boxes are expected"),
    (["boxes", "--name", "masks"], "is annotated with boxes; masks are expected"),
    (["masks", "--workers", "0"], "--workers is 0"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_what_check_cannot_do_is_one_sentence(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_masks(tmp_path / "masks")
    write_boxes(tmp_path / "boxes")
    assert main(["check", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert main(["pack", arguments[0], "out"]) == 2
    assert "from which no classifier learns" in capsys.readouterr().err
