"""Tar shards: what is packed comes out again, byte for byte; nothing in a tar file or an index can lead elsewhere."""

import io
import json
import pickle
import tarfile

import pytest
import torch

from dsmixer.data.layout import recognize
from dsmixer.data.loader import CountedBatches, Feed, Images
from dsmixer.data.pack import pack
from dsmixer.data.shards import INDEX
from dsmixer.data.splits import open_data, open_splits

from .crafted import class_folders, encoded, picture
from .test_loader import AUGMENTED


def packed(sources, out, **options):
    settings = {"shard_bytes": 20_000, "resize": None, "workers": 2, "advance": lambda _: None, **options}
    return pack(sources, out, **settings)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    class_folders(root / "train", {"ant": 20, "bee": 20, "moths": 20})
    class_folders(root / "val", {"bee": 4, "moths": 4}, "JPEG")
    return root


def batches(root):
    split = open_splits("auto", str(root), 0.2).train
    images = Images(split, "RGB", AUGMENTED, seed=5)
    plan = CountedBatches(len(images), 8, batches_per_epoch=len(images) // 8, epochs=2, seed=5, start=0)
    return list(Feed(images, plan, 0, 0))


def test_packed_data_give_the_batches_of_their_source(root, tmp_path):
    out, told = tmp_path / "packed", []
    assert packed(open_data("auto", str(root))[0], out, advance=told.append) == []
    assert sum(told) == 68
    names = sorted(path.name for path in out.iterdir())
    assert names[:5] == ["_info.json", "classes.txt", INDEX, "train-000000.tar", "train-000001.tar"]
    assert all((out / name).stat().st_size < 20_000 + 2 * 10_240 for name in names if name.endswith(".tar"))
    for ours, theirs in zip(batches(out), batches(root), strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.targets, theirs.targets)
    here, there = (open_data("auto", str(path))[0] for path in (root, out))
    for split in ("train", "val"):
        assert there[split].classes == here[split].classes
        rows = range(len(here[split].labels))
        assert [there[split].read(row) for row in rows] == [here[split].read(row) for row in rows]
    assert there["train"].name(0).endswith("/00000000.png")


def test_packing_twice_gives_the_same_files(root, tmp_path):
    sources = open_data("auto", str(root))[0]
    packed(sources, tmp_path / "a", workers=1)
    packed(sources, tmp_path / "b", workers=3)
    for path in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()


def test_an_index_that_is_missing_is_made_and_kept(root, tmp_path):
    packed(open_data("auto", str(root))[0], out := tmp_path / "packed")
    before = json.loads((out / INDEX).read_text())
    (out / INDEX).unlink()
    sources, notes = open_data("auto", str(out))
    assert notes == [f"{out / INDEX} was missing and has been made"]
    assert json.loads((out / INDEX).read_text()) == before
    assert sources["val"].labels.tolist() == [1] * 4 + [2] * 4
    assert open_data("auto", str(out))[1] == []
    (out / INDEX).unlink()
    (out / "classes.txt").unlink()
    sources, notes = open_data("auto", str(out))
    assert sources["val"].classes == ["0", "1", "2"]
    assert "classes are called by their numbers" in notes[0]


def test_the_plain_tar_module_reads_the_samples_in_the_webdataset_layout(root, tmp_path):
    packed(open_data("auto", str(root))[0], out := tmp_path / "packed")
    info = json.loads((out / "_info.json").read_text())["splits"]
    assert info["val"] == {"name": "val", "filenames": ["val-000000.tar"], "shard_lengths": [8], "num_samples": 8}
    with tarfile.open(out / "val-000000.tar") as tar:
        names = tar.getnames()
        keys = [name.removesuffix(".jpg") for name in names[::2]]
        assert [f"{key}.cls" for key in keys] == names[1::2]
        assert sorted(keys) == [f"{row:08d}" for row in range(8)]
        labels = [tar.extractfile(f"{key}.cls").read() for key in keys]
        assert labels != sorted(labels) == [b"1"] * 4 + [b"2"] * 4  # mixed, for those who read from front to back
        assert tar.extractfile("00000005.cls").read() == b"2"


def test_larger_images_are_made_smaller_and_the_others_left_as_they_are(root, tmp_path):
    (root / "train" / "ant" / "ant-0.png").write_bytes(encoded(picture(99, size=(300, 120))))
    sources = open_data("auto", str(root))[0]
    packed(sources, tmp_path / "packed", resize=40)
    train = open_data("auto", str(tmp_path / "packed"))[0]["train"]
    assert train.image(0, "RGB").size == (100, 40)
    assert train.read(1) == sources["train"].read(1)


def test_bad_files_are_left_out_and_returned(root, tmp_path):
    (root / "train" / "ant" / "ant-11.png").write_bytes(b"")
    (root / "val" / "bee" / "bee-0.jpeg").write_bytes(b"<html>")
    bad = packed(open_data("auto", str(root))[0], tmp_path / "packed")
    assert sorted(name for name, _ in bad) == ["train/ant/ant-11.png", "val/bee/bee-0.jpeg"]
    sources = open_data("auto", str(tmp_path / "packed"))[0]
    assert len(sources["train"].labels) == 59
    assert len(sources["val"].labels) == 7
    assert sources["train"].name(3).endswith("/00000004.png")  # numbers stay those of the source's rows


def test_a_failure_leaves_nothing_and_what_a_kill_left_is_cleared_away(root, tmp_path):
    sources, out = open_data("auto", str(root))[0], tmp_path / "packed"

    def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        packed(sources, out, advance=full)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    (tmp_path / "packed.tmp").mkdir()
    (tmp_path / "packed.tmp" / "thesis.doc").touch()
    with pytest.raises(ValueError, match=r"packed\.tmp is in the way"):
        packed(sources, out)
    (tmp_path / "packed.tmp" / "thesis.doc").unlink()
    (tmp_path / "packed.tmp" / "train-000099.tar").write_bytes(b"half")
    packed(sources, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "packed"]
    assert not (out / "train-000099.tar").exists()


def test_an_empty_split_is_named_before_anything_is_read(tmp_path, folder, write):
    write(folder / "test.parquet", ["a", "bb"], [])
    told, before = [], sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"^test is empty: not one image is listed in it"):
        packed(open_data("auto", str(folder))[0], tmp_path / "packed", advance=told.append)
    assert (told, sorted(tmp_path.iterdir())) == ([], before)


def write_tar(path, members):
    """Members as (name or TarInfo, bytes)."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


PNG = encoded(picture(80))
SAMPLES = [("a.png", PNG), ("a.cls", b"0"), ("b.png", PNG), ("b.cls", b"1\n")]


def test_shards_of_others_by_name_or_by_folder(tmp_path):
    names = [
        ("x/1.png", PNG),
        ("x/1.json", b'{"label": "cat", "w": 3}'),
        ("x/2.x.JPG", PNG),
        ("x/2.cls", b"ant"),
        ("x/2.txt", b"?"),
    ]
    write_tar(tmp_path / "a" / "imagenet-train-0000.tar", names)
    write_tar(tmp_path / "a" / "imagenet-validation-0000.tar", names[:2])
    write_tar(tmp_path / "b" / "train" / "0.tar", names)
    write_tar(tmp_path / "b" / "valid" / "0.tar", names[:2])
    for folder in ("a", "b"):
        assert recognize(str(tmp_path / folder)).kind == "shards"
        sources, _ = open_data("auto", str(tmp_path / folder))
        assert sources["train"].classes == ["ant", "cat"]
        assert sources["train"].labels.tolist() == [1, 0]
        assert sources["val"].labels.tolist() == [1]
        assert sources["train"].read(1) == PNG
    assert pickle.loads(pickle.dumps(sources["train"])).image(1, "RGB").size == (20, 16)


def test_a_members_name_may_be_no_unicode(tmp_path):
    write_tar(tmp_path / "train.tar", [("ol\udce9.png", PNG), ("ol\udce9.cls", b"0"), *SAMPLES])
    for _ in range(2):  # the second time from the index
        train = open_data("auto", str(tmp_path))[0]["train"]
        assert [train.name(row) for row in range(3)] == ["train.tar/a.png", "train.tar/b.png", "train.tar/ol?.png"]
        assert train.read(2) == PNG


def odd(kind, name, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_nothing_in_a_tar_file_leads_elsewhere(tmp_path):
    hostile = [
        ("../../up.png", PNG), ("../../up.cls", b"0"), ("/etc/cron.png", PNG), ("/etc/cron.cls", b"1"),
        (odd(tarfile.SYMTYPE, "passwd.png", "/etc/passwd"), b""), ("passwd.cls", b"0"),
        (odd(tarfile.LNKTYPE, "hard.png", "/etc/passwd"), b""), ("hard.cls", b"0"),
        (odd(tarfile.CHRTYPE, "device.png"), b""), ("device.cls", b"0"),
    ]  # fmt: skip
    write_tar(tmp_path / "data" / "train.tar", hostile)
    before = sorted(tmp_path.rglob("*"))
    sources, notes = open_data("auto", str(tmp_path / "data"))
    train = sources["train"]
    assert [train.read(row) for row in range(len(train.labels))] == [PNG, PNG]
    assert [train.name(row) for row in range(2)] == ["train.tar/../../up.png", "train.tar//etc/cron.png"]
    assert "3 members of train.tar are links, devices or sparse files: left out" in notes
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "data" / INDEX])


def test_a_sparse_member_of_ten_gigabytes_is_left_out(tmp_path):
    info = tarfile.TarInfo("zeros.png")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(10**10),
        "GNU.sparse.map": "0,0",
    }
    write_tar(tmp_path / "train.tar", [(info, b""), *SAMPLES])
    sources, notes = open_data("auto", str(tmp_path))
    assert len(sources["train"].labels) == 2
    assert any("sparse" in note for note in notes)


def announced(size, kind=tarfile.REGTYPE):
    """A tar whose only header announces a size that the file does not have."""
    header = bytearray(odd(kind, "1.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (size % 256**12).to_bytes(12, "big") if size < 0 else tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    return bytes(header) + bytes(2048)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "train.tar").write_bytes(announced(-512)), "train.tar: 1.png has -512 bytes"),
        (lambda f: (f / "train.tar").write_bytes(announced(10**13)), "train.tar"),
        (lambda f: (f / "train.tar").write_bytes(announced(2**80)), "train.tar"),
        (lambda f: (f / "train.tar").write_bytes(announced(-512, tarfile.XHDTYPE)), "train.tar"),
        (lambda f: (f / "train.tar").write_bytes(announced(0, tarfile.XHDTYPE)[:512] * 3000), "train.tar"),
        (lambda f: (f / "train.tar").write_bytes((f / "train.tar").read_bytes()[:700]), "not a whole tar file"),
        (lambda f: (f / "train.tar").write_bytes(b"<html>" * 500), "not a whole tar file"),
        (lambda f: write_tar(f / "train.tar", SAMPLES[:1]), "a has no label; expected a.cls, or a.json with a label"),
        (lambda f: write_tar(f / "train.tar", [("a.png", PNG), ("a.json", b"{")]), "train.tar: "),
        (lambda f: write_tar(f / "val.tar", [("a.png", PNG), ("a.cls", b"7")]), "has the class '7', which train"),
        (lambda f: (f / "classes.txt").write_text("only\n"), "has the class '1', which train does not have"),
        (lambda f: (f / "train.tar").rename(f / "train.tar.gz"), "is compressed"),
        (lambda f: (f / "train.tar").rename(f / "test.tar"), "holds shards of test; expected train-000000.tar"),
    ],
)  # fmt: skip
def test_a_wrong_shard_is_one_sentence(tmp_path, change, message):
    write_tar(tmp_path / "train.tar", SAMPLES)
    change(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        open_data("auto", str(tmp_path))
    assert "\n" not in str(caught.value)


def first(index):
    return index["splits"]["train"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: first(i).update(file="../outside.tar"), "other files"),
        (lambda i: first(i)["offsets"].__setitem__(0, -1), "points outside"),
        (lambda i: first(i)["offsets"].__setitem__(0, 10**15), "points outside"),
        (lambda i: first(i)["sizes"].__setitem__(0, 2**63 - 1), "points outside"),
        (lambda i: first(i)["sizes"].__setitem__(0, 2**80), "whole numbers"),
        (lambda i: first(i)["sizes"].__setitem__(0, 1.5), "whole numbers"),
        (lambda i: first(i)["labels"].__setitem__(0, 2), "points outside"),
        (lambda i: first(i)["labels"].pop(), "differ in length"),
        (lambda i: first(i)["names"].__setitem__(0, 7), "has no name"),
        (lambda i: first(i).update(bytes=3), "bytes, expected 3"),
        (lambda i: i.update(splits=[]), "does not fit"),
        (lambda i: i.update(classes=[]), "class names are missing"),
        (lambda i: i.update(version=99), "version 99, expected 1"),
        (lambda i: i.pop("version"), "not a readable index"),
    ],
)
def test_a_hostile_or_stale_index_is_refused(tmp_path, change, message):
    write_tar(tmp_path / "train.tar", SAMPLES)
    open_data("auto", str(tmp_path))
    index = json.loads((tmp_path / INDEX).read_text())
    change(index)
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match=message) as caught:
        open_data("auto", str(tmp_path))
    assert "delete it, and it is made anew" in str(caught.value)


def test_an_index_that_is_no_json_is_refused(tmp_path):
    write_tar(tmp_path / "train.tar", SAMPLES)
    for text in ("", "[" * 100_000, '{"version": 1'):
        (tmp_path / INDEX).write_text(text)
        with pytest.raises(ValueError, match="not a readable index"):
            open_data("auto", str(tmp_path))
