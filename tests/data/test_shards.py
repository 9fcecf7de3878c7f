"""Shards are the data set they were made of, and foreign ones are read in place or refused; nothing is unpacked."""

import csv
import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dsmixer.cli import main
from dsmixer.data.loader import CountedBatches, Feed, Images
from dsmixer.data.shards import find_shards, open_shards
from dsmixer.data.splits import Split, open_data, open_splits

from .crafted import class_folders, encoded, picture
from .test_loader import AUGMENTED

TREE = {"train/ant": 9, "train/moths": 7, "val/moths": 2, "val/ant": 1}
SMALL = "--shard-size=0.004"  # 4 kB: a few images each


@pytest.fixture
def tree(tmp_path):
    """Class folders, one file of them no image."""
    for name, count in TREE.items():
        class_folders(tmp_path / "tree" / name.split("/")[0], {name.split("/")[1]: count})
    (tmp_path / "tree/train/ant/x.png").write_bytes(b"")
    return tmp_path / "tree"


@pytest.fixture
def packed(tree, tmp_path, capsys):
    assert main(["pack", str(tree), str(tmp_path / "shards"), SMALL]) == 0
    assert "19 images of 2 classes" in capsys.readouterr().out
    return tmp_path / "shards"


def failing(error: Exception):
    def fail(*_):
        raise error

    return fail


def batches(root: str, name: str = "auto") -> list[torch.Tensor]:
    split = open_splits(name, root, 0.2).train
    plan = CountedBatches(len(split.rows), 4, batches_per_epoch=len(split.rows) // 4, epochs=2, seed=1, start=0)
    return [batch.images for batch in Feed(Images(split, "RGB", AUGMENTED, seed=1), plan, 0, 60)]


def test_packed_data_give_the_same_batches(tree, packed):
    (tree / "train/ant/x.png").unlink()
    ours, theirs = batches(str(packed)), batches(str(tree))
    assert len(ours) == len(theirs) == 6
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_every_image_keeps_its_bytes_and_its_class(tree, packed):
    (tree / "train/ant/x.png").unlink()
    ours, theirs = open_data("auto", str(packed))[0], open_data("auto", str(tree))[0]
    assert list(ours) == list(theirs) == ["train", "val"]
    for split, source in theirs.items():
        assert ours[split].classes == source.classes
        assert np.array_equal(ours[split].labels, source.labels)
        assert all(ours[split].read(row) == source.read(row) for row in range(len(source.labels)))
    assert len(find_shards(str(packed))["train"]) > 2
    assert re.fullmatch(r"val-00000\d.tar/00000000.png", ours["val"].name(0))


def test_what_cannot_be_read_is_left_out_and_listed(packed):
    rows = list(csv.reader((packed / "bad_files.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["name", "train/ant/x.png"]
    assert "not an image" in rows[1][1] or rows[1][1] == "empty"


def test_the_same_data_give_the_same_bytes(tree, packed, tmp_path):
    assert main(["pack", str(tree), str(tmp_path / "again"), SMALL, "--workers=1"]) == 0
    for path in packed.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_a_lost_index_is_made_anew_and_is_the_same(packed):
    before = (packed / "index.json").read_bytes()
    (packed / "index.json").unlink()
    notes = open_shards(str(packed))[1]
    assert (packed / "index.json").read_bytes() == before
    assert notes == []


def test_shards_are_plain_webdataset_with_the_classes_mixed(packed):
    labels = []
    for path in sorted(packed.glob("train-*.tar")):
        with tarfile.open(path) as tar:
            names = tar.getnames()
            assert [name.partition(".")[0] for name in names[::2]] == [name.partition(".")[0] for name in names[1::2]]
            assert all(name.endswith(".png") for name in names[::2])
            labels += [tar.extractfile(name).read().decode() for name in names[1::2]]
    assert sorted(labels) == ["0"] * 9 + ["1"] * 7 != labels
    assert (packed / "classes.txt").read_text() == "ant\nmoths\n"


def test_large_images_are_made_smaller_and_small_ones_are_left(tree, tmp_path):
    (tree / "train/ant/x.png").unlink()
    large = picture(90, size=(200, 100))
    (tree / "train/ant/large.png").write_bytes(encoded(large))
    assert main(["pack", str(tree), str(tmp_path / "out"), "--resize=50"]) == 0
    ours, theirs = (open_data("auto", str(root))[0]["train"] for root in (tmp_path / "out", tree))
    sizes = [ours.image(row, "RGB").size for row in range(len(ours.labels))]
    assert sizes.count((100, 50)) == 1
    row = sizes.index((100, 50))
    assert ours.name(row).endswith(".jpg")
    smaller = np.asarray(theirs.image(row, "RGB").resize((100, 50))).astype(int)
    assert np.abs(np.asarray(ours.image(row, "RGB")) - smaller).mean() < 3
    others = [place for place in range(len(sizes)) if place != row]
    assert all(ours.read(place) == theirs.read(place) for place in others)


def test_parquet_is_packed_too(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "parquet"
    assert main(["pack", str(folder), str(out), "--name=parquet"]) == 0
    ours, theirs = (open_data("auto", str(root))[0] for root in (out, folder))
    assert np.array_equal(ours["test"].labels, theirs["test"].labels)
    assert ours["test"].classes == theirs["train"].classes


def test_so_are_the_digits(tmp_path, monkeypatch):
    import dsmixer.cli.pack as module

    whole = open_splits("digits", None, 0.1)
    few = Split(whole.test.source, whole.test.rows[:40])
    monkeypatch.setattr(module, "open_splits", lambda *_: whole._replace(train=few, val=few, test=few))
    assert main(["pack", "digits", str(tmp_path / "out")]) == 0
    ours = open_splits("auto", str(tmp_path / "out"), 0.1).test.source
    assert ours.classes == [str(digit) for digit in range(10)]
    assert np.array_equal(ours.labels, few.source.labels[few.rows])
    assert ours.image(5, "L") == few.source.image(int(few.rows[5]), "L")


def test_a_pack_that_fails_leaves_nothing(tree, tmp_path, monkeypatch):
    import dsmixer.data.pack as module

    monkeypatch.setattr(module, "write_index", failing(OSError(28, "No space left on device")))
    assert main(["pack", str(tree), str(tmp_path / "out")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            else:
                file.addfile(info)
    return path


PNG = encoded(picture(80))


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def test_foreign_shards_by_number_by_name_and_by_json(tmp_path):
    tar(
        tmp_path / "a/x-train-0.tar",
        {"s/1.jpg": PNG, "s/1.cls": b"2\n", "s/0.PNG": PNG, "s/0.cls": b"0", "s/0.txt": b"hi"},
    )
    tar(tmp_path / "a/x-validation-0.tar", {"1.jpg": PNG, "1.json": b'{"label": 1}'})
    sources, notes = open_shards(str(tmp_path / "a"))
    assert sources["train"].classes == ["0", "1", "2"]
    assert (sources["train"].labels.tolist(), sources["val"].labels.tolist()) == ([0, 2], [1])
    assert sources["train"].name(0) == "x-train-0.tar/s/0.PNG"
    assert notes == [
        "1 members of shards are no labelled images (1 .txt): left out",
        "the shards come without classes.txt: classes are called by their numbers",
    ]
    tar(tmp_path / "b/000.tar", {"1.jpg": PNG, "1.cls": b"moth", "2.jpg": PNG, "2.json": b'{"label": "ant"}'})
    source = open_shards(str(tmp_path / "b"))[0]["train"]
    assert (source.classes, source.labels.tolist()) == (["ant", "moth"], [1, 0])
    (tmp_path / "c").mkdir()
    (tmp_path / "c/classes.txt").write_text("ant\nbee\n")
    tar(tmp_path / "c/000.tar", {"1.jpg": PNG, "1.cls": b"1"})
    assert open_shards(str(tmp_path / "c"))[0]["train"].classes == ["ant", "bee"]


def test_names_in_a_tar_are_never_paths(tmp_path):
    hostile = {
        "../../out.jpg": PNG, "../../out.cls": b"0",
        "/abs.jpg": PNG, "/abs.cls": b"1",
        "link.jpg": special(tarfile.SYMTYPE, "/etc/passwd"), "link.cls": b"0",
        "hard.jpg": special(tarfile.LNKTYPE, "../../out.jpg"), "hard.cls": b"0",
        "device.jpg": special(tarfile.CHRTYPE), "pipe.jpg": special(tarfile.FIFOTYPE),
    }  # fmt: skip
    tar(tmp_path / "deep/root/train-0.tar", hostile)
    before = sorted(path for path in tmp_path.rglob("*"))
    sources, notes = open_shards(str(tmp_path / "deep/root"))
    train = sources["train"]
    assert [train.name(row) for row in range(len(train.labels))] == [
        "train-0.tar/../../out.jpg",
        "train-0.tar//abs.jpg",
    ]
    assert train.read(0) == train.read(1) == PNG
    assert "4 links, devices and sparse files" in notes[0]
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "deep/root/index.json"])


def sized(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar whose only header announces a size that it does not have."""
    header = bytearray(special(kind).tobuf(tarfile.GNU_FORMAT))
    header[:5] = b"1.jpg"
    header[124:136] = (size % 256**12).to_bytes(12, "big") if size < 0 else tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    checksum = 256 + sum(header[:148]) + sum(header[156:])
    header[148:156] = b"%06o\0 " % checksum
    return bytes(header) + bytes(2048)


BROKEN = [
    (lambda path: path.write_bytes(b"no tar" * 200), "not a readable tar"),
    (lambda path: path.write_bytes(b""), "not a readable tar"),
    (lambda path: path.write_bytes(sized(10**13)), "is cut short: '1.jpg'"),
    (lambda path: path.write_bytes(sized(2**80)), "not a readable tar|is cut short"),
    (lambda path: path.write_bytes(sized(-512, tarfile.XHDTYPE)), "not a readable tar"),
    (lambda path: path.write_bytes(sized(0, tarfile.XHDTYPE)[:512] * 3000), "not a readable tar"),
    (lambda path: path.write_bytes(sized(-512)), "is a damaged tar: '1.jpg' has a size of -512"),
    (lambda path: tar(path, {"1.jpg": PNG}), "train-0.tar/1.jpg has no label"),
    (lambda path: tar(path, {"1.jpg": PNG, "1.json": b"[" * 100_000}), "1.jpg|a label of 100,000"),
    (lambda path: tar(path, {"1.jpg": PNG, "1.json": b"[" * 60_000}), "its label cannot be read"),
    (lambda path: tar(path, {"1.jpg": PNG, "1.json": b'{"label": [1]}'}), "has no label"),
    (lambda path: tar(path, {"1.jpg": PNG, "1.cls": b"\xff"}), "its label cannot be read"),
    (lambda path: tar(path, {"1.jpg": PNG, "1.cls": b"9" * 12}), "is beyond 1,000,000 classes"),
    (lambda path: tar(path, {"1.jpg": PNG, "1.png": PNG, "1.cls": b"0"}), "two images of the key 1: 1.jpg and 1.png"),
    (lambda path: tar(path, {"1.jpg": PNG, "1.cls": b"a", "2.jpg": PNG, "2.cls": b"0"}), "some are numbers"),
    (lambda path: tar(path, {"notes.txt": b""}), "no image in train-0.tar; expected KEY.jpg and KEY.cls"),
]


@pytest.mark.parametrize(("make", "message"), BROKEN)
def test_a_tar_that_is_no_shard_is_one_sentence(tmp_path, make, message):
    make(tmp_path / "train-0.tar")
    with pytest.raises(ValueError, match=message) as caught:
        open_shards(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["train-0.tar"]


def altered(change):
    def alter(folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        change(index, index["splits"]["train"])
        (folder / "index.json").write_text(json.dumps(index))

    return alter


STALE = [
    (lambda f: (f / "index.json").write_text("{"), "index.json does not fit these shards"),
    (lambda f: (f / "index.json").write_text("[" * 100_000), "RecursionError"),
    (lambda f: (f / "train-000000.tar").unlink(), "train-000000.tar is only in one of them"),
    (lambda f: tar(f / "train-000099.tar", {}), "train-000099.tar is only in one of them"),
    (lambda f: tar(f / "test-000000.tar", {}), "there are shards of train, val, test"),
    (lambda f: (f / "train-000000.tar").write_bytes(bytes(512)), "train-000000.tar has 512 bytes, not"),
    (altered(lambda index, _: index.update(format="other")), "expected the format"),
    (altered(lambda index, _: index.update(classes=[1])), "expected the format"),
    (altered(lambda _, train: train.pop("size")), "TypeError"),
    (altered(lambda _, train: train["size"].pop()), "differ in length"),
    (altered(lambda _, train: train["offset"].__setitem__(0, -1)), "beyond the end of its shard"),
    (altered(lambda _, train: train["size"].__setitem__(0, -1)), "beyond the end of its shard"),
    (altered(lambda _, train: train["size"].__setitem__(0, 10**9)), "beyond the end of its shard"),
    (altered(lambda _, train: train["offset"].__setitem__(0, 10**30)), "index.json does not fit"),
    (altered(lambda _, train: train["offset"].__setitem__(0, "x")), "index.json does not fit"),
    (altered(lambda _, train: train["shard"].__setitem__(0, 99)), "a shard or a class is beyond the last"),
    (altered(lambda _, train: train["label"].__setitem__(0, 2)), "a shard or a class is beyond the last"),
    (altered(lambda _, train: train["shards"].__setitem__(0, "../../secret")), "only in one of them"),
]


@pytest.mark.parametrize(("change", "message"), STALE)
def test_an_index_that_does_not_fit_its_shards_is_refused(packed, change, message):
    change(packed)
    with pytest.raises(ValueError, match=message):
        open_shards(str(packed))


def test_a_shard_that_shrinks_while_it_is_read_is_named(packed):
    train = open_shards(str(packed))[0]["train"]
    path = packed / train.name(0).split("/")[0]
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match=r"^train-00000\d.tar/00000000.png: the shard ends before the image does"):
        train.read(0)
    path.unlink()
    with pytest.raises(ValueError, match=r"00000000\.png: cannot be read"):
        train.image(0, "RGB")


def test_a_folder_that_cannot_be_written_is_read_all_the_same(tmp_path, monkeypatch):
    import dsmixer.data.shards as module

    tar(tmp_path / "train-0.tar", {"1.jpg": PNG, "1.cls": b"0"})
    monkeypatch.setattr(module, "write_index", failing(PermissionError(13, "Permission denied")))
    sources, notes = open_shards(str(tmp_path))
    assert sources["train"].image(0, "RGB").size == (20, 16)
    assert "no index.json is left" in notes[-1]


MISTAKES = [
    ([".", "out"], "holds neither images nor folders"),
    (["tree", "tree"], "tree is not empty; give a new folder"),
    (["tree", "file"], "file is a file; give a new folder"),
    (["tree", "out", "--shard-size=0"], "--shard-size is 0"),
    (["tree", "out", "--resize=-1"], "--resize is -1"),
    (["tree", "out", "--workers=0"], "--workers is 0"),
    (["tree"], "required: OUT"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    if arguments[0] != ".":
        class_folders(tmp_path / "tree", {"a": 2, "b": 2})
    (tmp_path / "file").touch()
    assert main(["pack", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out").exists()
