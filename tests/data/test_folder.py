"""Class folders as people have them: what is right is read silently, what is not is one clear sentence."""

import os
import pickle
import shutil

import numpy as np
import pytest

from dsmixer.data.describe import describe
from dsmixer.data.folder import open_folder
from dsmixer.data.layout import recognize
from dsmixer.data.splits import open_data, open_splits

from .crafted import class_folders

COUNTS = {"ant": 5, "bee": 4, "moths": 6}


@pytest.fixture
def root(tmp_path):
    """Train has three classes, val lacks the first, so numbering val by itself would shift every label."""
    class_folders(tmp_path / "data" / "train", COUNTS)
    class_folders(tmp_path / "data" / "val", {"bee": 2, "moths": 1})
    return tmp_path / "data"


def level(source, row):
    return round((np.asarray(source.image(row, "L")).mean() - 6) / 40)


def test_classes_are_matched_by_name_where_val_lacks_one(root):
    splits = open_splits("auto", str(root), 0.2)
    assert splits.classes == ["ant", "bee", "moths"]
    test = splits.test.source
    assert test.labels.tolist() == [1, 1, 2]
    assert [level(test, row) for row in range(3)] == [3, 3, 5]
    assert [len(splits.classes[label]) for label in test.labels] == [3, 3, 5]
    assert "test has no images of 1 of the 3 classes (ant)" in splits.notes


def test_a_class_of_val_that_train_lacks_is_an_error(root):
    class_folders(root / "val", {"moth": 1})
    with pytest.raises(ValueError, match=r"val has the class 'moth', which train does not have; it has moths"):
        open_data("auto", str(root))


@pytest.mark.parametrize("names", [("Train", "Valid"), ("training", "validation"), ("train", "dev")])
def test_split_folders_go_by_many_names(root, names):
    (root / "train").rename(root / "now")
    (root / "now").rename(root / names[0])
    (root / "val").rename(root / names[1])
    sources, _ = open_data("auto", str(root))
    assert {split: len(source.labels) for split, source in sources.items()} == {"train": 15, "val": 3}


def test_three_splits_are_used_as_they_are(root):
    class_folders(root / "test", {"ant": 2, "bee": 2})
    splits = open_splits("auto", str(root), 0.2)
    assert [len(split.rows) for split in splits[:3]] == [15, 3, 4]


def test_class_folders_alone_are_carved_always_alike(tmp_path):
    class_folders(tmp_path, dict.fromkeys(COUNTS, 10))
    splits, again = (open_splits("auto", str(tmp_path), 0.2) for _ in range(2))
    assert [len(split.rows) for split in splits[:3]] == [18, 6, 6]  # test takes 2 of 10 a class, val 2 of the 8
    rows = [set(split.rows.tolist()) for split in splits[:3]]
    assert len(set.union(*rows)) == sum(map(len, rows)) == 30
    assert all((a.rows == b.rows).all() for a, b in zip(splits[:3], again[:3], strict=True))


def test_nothing_left_to_train_on_is_explained(tmp_path):
    class_folders(tmp_path, {"ant": 2, "bee": 2})
    with pytest.raises(ValueError, match=r"has no train images left; .*, or a smaller data.val_fraction"):
        open_splits("auto", str(tmp_path), 0.9)


def test_a_class_may_be_called_train(tmp_path):
    class_folders(tmp_path, {"bus": 3, "train": 3})
    assert open_data("auto", str(tmp_path))[0]["train"].classes == ["bus", "train"]


def test_the_order_of_the_file_system_does_not_matter(root, tmp_path):
    other = tmp_path / "other"
    for path in sorted(root.rglob("*.png"), reverse=True):
        (other / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other / path.relative_to(root))
    here, there = open_data("auto", str(root))[0]["train"], open_data("auto", str(other))[0]["train"]
    assert [here.name(row) for row in range(15)] == [there.name(row) for row in range(15)]
    assert here.name(0) == os.path.join("train", "ant", "ant-0.png")


def test_an_archive_unpacked_into_itself_is_gone_through(root, tmp_path):
    found = recognize(str(tmp_path))
    assert (found.kind, found.root) == ("folder", str(root))
    assert found.notes == (f"found in {root}",)


def test_folders_within_a_class_belong_to_it(root):
    (root / "train" / "ant" / "more" / "yet").mkdir(parents=True)
    (root / "train" / "ant" / "ant-0.png").rename(root / "train" / "ant" / "more" / "yet" / "it.JPEG")
    train = open_data("auto", str(root))[0]["train"]
    assert train.labels.tolist().count(0) == 5
    assert os.path.join("train", "ant", "more", "yet", "it.JPEG") in [train.name(row) for row in range(5)]


def test_what_is_no_image_is_left_out_and_said(root):
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "more.txt"):
        (root / "train" / "ant" / name).write_bytes(b"x")
    (root / "train" / "empty").mkdir()
    (root / "train" / "loose.png").write_bytes(b"x")
    (root / "figures").mkdir()
    sources, notes = open_folder(str(root))
    assert sources["train"].classes == ["ant", "bee", "moths"]
    assert notes == [
        "figures beside train, val is no split: left out",
        f"1 images directly in {root / 'train'} belong to no class: left out",
        f"no images in {os.path.join('train', 'empty')}: no class",
        "3 files are no images by their names (2 .txt, 1 .db): left out",
    ]


def test_links_are_followed_but_not_in_circles(root, tmp_path):
    class_folders(tmp_path / "elsewhere", {"bees": 3})
    (root / "train" / "wasp").symlink_to(tmp_path / "elsewhere" / "bees")
    (root / "train" / "wasp" / "back").symlink_to(root)
    (root / "train" / "ant" / "gone.png").symlink_to(tmp_path / "nothing")
    train = open_data("auto", str(root))[0]["train"]
    assert train.classes == ["ant", "bee", "moths", "wasp"]
    assert len(train.labels) == 19
    with pytest.raises(ValueError, match=r"ant/gone.png: cannot be read \(No such file"):
        train.read(5)


def test_names_that_are_no_unicode_can_be_read_and_said(root):
    odd = os.fsencode(root / "train" / "ant") + b"/\xff.png"
    os.rename(os.fsencode(root / "train" / "ant" / "ant-0.png"), odd)
    train = open_data("auto", str(root))[0]["train"]
    assert train.image(4, "L").size == (20, 16)
    assert train.name(4) == os.path.join("train", "ant", "?.png")


def test_a_pipe_is_no_image(root):
    os.mkfifo(root / "train" / "ant" / "pipe.png")
    assert len(open_data("auto", str(root))[0]["train"].labels) == 15


def test_a_worker_may_receive_the_source(root):
    train = open_data("auto", str(root))[0]["train"]
    again = pickle.loads(pickle.dumps(train))
    assert again.image(7, "RGB") == train.image(7, "RGB")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: shutil.rmtree(r / "train"), "has the split val, but no train"),
        (lambda r: class_folders(r / "valid", {"ant": 1}), "has two folders for val: val and valid"),
        (lambda r: [shutil.rmtree(r / "train" / name) for name in ("ant", "bee")], "val has the class 'bee'"),
        (lambda r: [path.unlink() for path in r.glob("train/*/*")], "has folders, but no images in them"),
        (lambda r: [shutil.rmtree(r / name) for name in ("train", "val")], "neither images nor folders"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_sentence(root, change, message):
    change(root)
    with pytest.raises(ValueError, match=message) as caught:
        open_splits("auto", str(root), 0.2)
    assert "\n" not in str(caught.value)


def test_images_without_class_folders_and_a_single_class_are_explained(tmp_path):
    class_folders(tmp_path, {"ant": 3})
    with pytest.raises(ValueError, match="3 images, but no class folders"):
        recognize(str(tmp_path / "ant"))
    with pytest.raises(ValueError, match="has only the class 'ant'; at least two are needed"):
        open_splits("auto", str(tmp_path), 0.2)


def test_images_in_splits_without_class_folders_are_no_classes(tmp_path):
    class_folders(tmp_path, {"train": 3, "val": 3})
    with pytest.raises(ValueError, match=r"has no class folders in train, val; train/CLASS/ is expected"):
        open_splits("auto", str(tmp_path), 0.2)


def test_a_mixture_is_not_guessed_at(root):
    (root / "train.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds train.parquet and train; say what to read"):
        recognize(str(root))
    assert open_data("folder", str(root))[0]["train"].classes == list(COUNTS)


def test_the_opening_lines_say_what_was_found(root):
    lines = list(describe(open_splits("auto", str(root), 0.2)))
    assert lines[0] == "data: 12 train, 3 val, 3 test images of 3 classes (ant, bee, moths)"
    assert lines[1].startswith("12 looked at: 20x16 to 24x20, median ")
    assert lines[1].endswith("; smallest class: bee, 3 training images")
    assert lines[2] == "note: no split to choose by: 3 images of train are held back for it"
    assert lines[3] == "note: test has no images of 1 of the 3 classes (ant)"


def test_the_opening_lines_name_what_of_the_sample_cannot_be_read(tmp_path):
    class_folders(tmp_path / "train", {"ant": 3, "moths": 3})
    for split in ("val", "test"):
        class_folders(tmp_path / split, {"ant": 1, "moths": 1})
    (tmp_path / "train" / "moths" / "x.jpg").write_bytes(b"")
    (tmp_path / "train" / "moths" / "y.jpg").write_bytes(b"<!doctype html>")
    lines = list(describe(open_splits("auto", str(tmp_path), 0.2)))
    assert lines[1].startswith("8 looked at: 20x16 to ")
    begin, *reasons = lines[2].split("train/moths/")
    assert begin == "note: 2 of these 8 cannot be read: "
    assert reasons[0] == "x.jpg: empty; "
    assert reasons[1].startswith("y.jpg: not an image (15 bytes, beginning 3c 21 64 6f")
