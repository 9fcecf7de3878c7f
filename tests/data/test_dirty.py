"""Every file is either the picture it shows or one sentence with its name: no crash, no silent gray, no gigabytes."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dsmixer.data.bad import BadFiles, DataError, write_bad
from dsmixer.data.decode import decode
from dsmixer.data.loader import CountedBatches, Feed, Images, in_order
from dsmixer.data.splits import open_splits
from dsmixer.data.transforms import eval_transform

from .crafted import class_folders
from .dirty import BAD, FILES
from .test_loader import AUGMENTED


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_its_picture_or_a_reason(name):
    data, expected = FILES[name]
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=f"^{name}: .*({expected})") as caught:
            decode(data, "RGB", name)
        assert "\n" not in str(caught.value)
    else:
        picture, tolerance = expected
        image = decode(data, "RGB", name)
        assert (image.mode, image.size) == ("RGB", picture.size)
        difference = np.asarray(image).astype(int) - np.asarray(picture.convert("RGB"))
        assert np.abs(difference).mean() <= tolerance
        assert decode(data, "L", name).mode == "L"
        assert AUGMENTED(image).shape == eval_transform(16, [0.5] * 3, [0.5] * 3)(image).shape == (3, 16, 16)


def test_reading_them_all_stays_below_one_and_a_half_gigabytes(tmp_path):
    for name, (data, _) in FILES.items():
        (tmp_path / name).write_bytes(data)
    code = """
import json, pathlib, re, sys
from dsmixer.data.decode import decode
found = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        found[path.name] = decode(path.read_bytes(), "RGB", path.name).size
    except ValueError as error:
        found[path.name] = str(error)
print(json.dumps([found, re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    found, kilobytes = json.loads(done.stdout)
    assert sorted(name for name in found if isinstance(found[name], str)) == sorted(BAD)
    assert int(kilobytes) < 1_500_000
    reasons = [re.sub(r"^.*?: ", "", found[name]) for name in BAD]
    assert len(set(reasons)) == len(reasons)


def test_the_largest_sixteen_bit_image_that_is_allowed_fits_too(tmp_path):
    path = tmp_path / "it.png"
    Image.fromarray(np.full((5000, 5000), 514, np.uint16)).save(path, "PNG", compress_level=1)
    code = """
import pathlib, re, sys
from dsmixer.data.decode import decode
assert decode(pathlib.Path(sys.argv[1]).read_bytes(), "RGB", "it").getpixel((9, 9)) == (2, 2, 2)
print(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1_500_000 * 25 / 64  # of 64 megapixels, these are 25


@pytest.fixture
def dirty(tmp_path):
    """Class folders in which every third image of train, and one of test, is bad."""
    class_folders(tmp_path / "train", {"ant": 8, "moths": 8})
    class_folders(tmp_path / "test", {"ant": 3, "moths": 3})
    for number, name in enumerate(BAD[:5]):
        path = tmp_path / "train" / ("ant", "moths")[number % 2] / f"x-{name}"
        path.write_bytes(FILES[name][0])
    (tmp_path / "test" / "ant" / "ant-1.png").write_bytes(b"")
    return tmp_path


def read(split, workers, start=0, bad=None):
    images = Images(split, "RGB", AUGMENTED, seed=5, replace=True)
    batches = CountedBatches(len(images), 4, batches_per_epoch=len(images) // 4, epochs=3, seed=5, start=start)
    return list(Feed(images, batches, workers, 60, BadFiles(None, 1, 30, lambda _: None) if bad is None else bad))


def test_a_bad_training_image_is_replaced_by_one_of_its_class_whoever_reads_it(dirty):
    split = open_splits("auto", str(dirty), 0.2).train
    here = read(split, workers=0)
    assert any(batch.bad for batch in here)
    for other, offset in ((read(split, workers=2), 0), (read(split, workers=1, start=5), 5)):
        for batch, expected in zip(other, here[offset:], strict=True):
            assert (batch.images == expected.images).all()
            assert batch.rows.tolist() == expected.rows.tolist()
            assert batch.bad == expected.bad
    planned = CountedBatches(len(split.rows), 4, batches_per_epoch=len(split.rows) // 4, epochs=3, seed=5, start=0)
    replacements = set()
    for batch, keys in zip(here, planned, strict=True):
        asked = split.rows[[position for _, position in keys]]
        assert (split.source.labels[asked] == batch.targets.numpy()).all()
        assert set(batch.rows.tolist()) <= set(split.rows.tolist())
        replacements |= {(int(a), int(b)) for a, b in zip(asked, batch.rows, strict=True) if a != b}
    assert {a for a, _ in replacements} <= {row for row in split.rows if "x-" in split.source.name(row)}
    assert len({b for _, b in replacements}) > 1  # not always the same one


def test_an_evaluation_leaves_bad_images_out_and_counts_them(dirty):
    split, bad = open_splits("auto", str(dirty), 0.2).test, BadFiles(None, 1, 6, lambda _: None)
    images = Images(split, "RGB", eval_transform(8, [0.5] * 3, [0.5] * 3), seed=0)
    assert [batch.rows.tolist() for batch in Feed(images, in_order(6, 1), 0, 0, bad)] == [[0], [], [2], [3], [4], [5]]
    assert list(bad.reasons.items()) == [("test/ant/ant-1.png", "empty")]
    with pytest.raises(DataError, match=r"^test/ant/ant-1.png: empty$"):
        list(Feed(images, in_order(6, 4), 0, 0))


def test_a_class_without_a_readable_image_is_listed_and_replaced_by_another(tmp_path):
    class_folders(tmp_path / "train", {"ant": 1, "moths": 9})
    class_folders(tmp_path / "val", {"moths": 1})
    (tmp_path / "train" / "ant" / "ant-0.png").write_bytes(b"")
    split, bad = open_splits("auto", str(tmp_path), 0.2).train, BadFiles(tmp_path / "bad.csv", 0.2, 11, str)
    here, other = read(split, workers=0, bad=bad), read(split, workers=2)
    assert (tmp_path / "bad.csv").read_text().splitlines()[1:] == ["train/ant/ant-0.png,empty"]
    assert all((batch.targets == 1).all() for batch in here)
    assert [batch.rows.tolist() for batch in here] == [batch.rows.tolist() for batch in other]
    with pytest.raises(DataError, match=r"1 of 11 images cannot be read, more than data.max_bad 0.05 allows"):
        read(split, workers=0, bad=BadFiles(None, 0.05, 11, str))


def test_a_split_without_a_readable_image_stops(tmp_path):
    class_folders(tmp_path / "train", {"ant": 4, "moths": 4})
    class_folders(tmp_path / "val", {"ant": 1})
    for path in (tmp_path / "train").glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no readable image of the class \w+: train/\w+/"):
        read(open_splits("auto", str(tmp_path), 0.5).train, workers=0)


def test_bad_files_are_told_once_written_down_and_counted_across_sessions(tmp_path):
    path, told = tmp_path / "bad_files.csv", []
    bad = BadFiles(path, 0.5, 6, told.append)
    assert not path.exists()
    bad.add([('a, "b".jpg', "empty"), ("c: d.jpg", "not an image")])
    bad.add([("c: d.jpg", "not an image")])
    assert told == ['left out: a, "b".jpg: empty', "left out: c: d.jpg: not an image"]
    with path.open("a") as file:
        file.write("cut sh")
    again = BadFiles(path, 0.5, 6, told.append)
    again.recall()
    assert again.reasons == bad.reasons
    again.add([("e.jpg", "empty")])  # the third of six: half is allowed
    message = r"^4 of 6 images cannot be read, more than data.max_bad 0.5 allows \(listed in .*\): .*; f.jpg: empty$"
    with pytest.raises(DataError, match=message):
        again.add([("f.jpg", "empty")])
    assert path.read_text().splitlines() == [
        "name,reason", '"a, ""b"".jpg",empty', "c: d.jpg,not an image", "e.jpg,empty", "f.jpg,empty",
    ]  # fmt: skip


def test_a_name_that_is_not_utf8_is_listed_once_whoever_meets_it(tmp_path):
    path, name = tmp_path / "bad_files.csv", os.fsdecode(b"caf\xe9.png")
    for _ in range(2):  # as a run, and as its resumption
        bad = BadFiles(path, 0.5, 6, str)
        bad.recall()
        bad.add([(name, "empty")])
    assert path.read_text().splitlines() == ["name,reason", "caf\\udce9.png,empty"]
    write_bad(path, {name: "empty"})
    assert path.read_text().splitlines() == ["name,reason", "caf\\udce9.png,empty"]


def test_processes_that_share_a_run_share_the_list_and_the_budget(tmp_path):
    path = tmp_path / "bad_files.csv"
    one, two = (BadFiles(path, 0.5, 6, lambda _: None) for _ in range(2))
    one.add([("a.jpg", "empty")])
    two.add([("b.jpg", "empty")])
    one.add([("b.jpg", "empty"), ("c.jpg", "empty")])
    assert path.read_text().splitlines() == ["name,reason", "a.jpg,empty", "b.jpg,empty", "c.jpg,empty"]
    with pytest.raises(DataError, match=r"^4 of 6 images cannot be read"):
        two.add([("d.jpg", "empty")])
    one.recall()
    assert len(one) == 4


def test_nothing_is_allowed_where_nothing_is_said_to_be(tmp_path):
    with pytest.raises(DataError, match=r"1 of 1,000 images cannot be read, more than data.max_bad 0 allows: .*: a: b"):
        BadFiles(None, 0, 1000, lambda _: None).add([("a", "b")])


@pytest.mark.parametrize(
    ("bad", "images", "enough"), [(1, 21, "0.05"), (1, 1000, "0.001"), (3, 10, "0.5"), (7, 10, "1"), (2, 1, "1")]
)
def test_the_way_out_is_the_smallest_round_share_that_suffices(tmp_path, bad, images, enough):
    found = [(f"{number}.jpg", "empty") for number in range(bad)]
    run = f"--resume {tmp_path} --data.max_bad {enough}: 0.jpg"
    for path, advice in ((None, f"allow them with --data.max_bad {enough}: 0.jpg"), (tmp_path / "bad_files.csv", run)):
        with pytest.raises(DataError, match=re.escape(advice)):
            BadFiles(path, 0, images, lambda _: None).add(found)
    BadFiles(None, float(enough), max(images, bad), lambda _: None).add(found)


def test_the_console_hears_of_the_first_ones_only(tmp_path):
    told = []
    BadFiles(None, 1, 30, told.append).add((f"{number}.jpg", "empty") for number in range(30))
    assert len(told) == 11
    assert told[-1] == "more images cannot be read"
