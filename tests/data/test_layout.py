"""What a folder is annotated with is seen by its names, and each kind of training says where it was led astray."""

import pytest

from dsmixer.cli.options import recipes
from dsmixer.config import FIND_OBJECTS, LABEL_PIXELS
from dsmixer.data.boxes.survey import open_boxes
from dsmixer.data.layout import INSTEAD, dense_kind, recognize
from dsmixer.data.masks.folders import open_masks
from dsmixer.data.splits import check_root
from tests.engine.dense import write_boxes, write_masks

from .annotated import write_voc
from .crafted import class_folders


def voc(root):
    write_voc(root, {"train": ["a"], "val": ["b"]}, {"a": [("dog", 1, 1, 9, 9, 0)], "b": [("dog", 1, 1, 9, 9, 0)]})


def classes(root):
    class_folders(root / "train", {"ant": 2, "moths": 2})


WRITERS = {"boxes": write_boxes, "voc": voc, "masks": write_masks, "classes": classes}


@pytest.mark.parametrize(
    ("layout", "kind"), [("boxes", "boxes"), ("voc", "boxes"), ("masks", "masks"), ("classes", "")]
)
def test_folders_are_told_apart_by_their_names(tmp_path, layout, kind):
    WRITERS[layout](tmp_path)
    assert dense_kind(str(tmp_path)) == kind
    if not kind:
        assert recognize(str(tmp_path)).kind == "folder"
        return
    check_root(kind, str(tmp_path))
    with pytest.raises(
        ValueError, match=rf"is annotated with {kind}, from which no classifier learns; set model\.head"
    ):
        check_root("auto", str(tmp_path))


def test_an_archive_of_boxes_unpacked_into_itself_is_named(tmp_path):
    write_boxes(tmp_path / "outer" / "inner")
    with pytest.raises(ValueError, match=r"outer.inner is annotated with boxes"):
        recognize(str(tmp_path / "outer"))


@pytest.mark.parametrize("place", ["", "flowers", "flowers/train"])
def test_an_archive_left_beside_what_was_in_it_is_no_shard(tmp_path, place):
    class_folders(tmp_path / place, {"ant": 2, "moths": 2})
    root = str(tmp_path)
    (tmp_path / "my.targets.json").touch()
    assert (recognize(root).kind, recognize(root).notes[:-1]) == ("folder", ())
    (tmp_path / "flowers.tar.gz").touch()
    assert recognize(root).kind == "folder"
    assert recognize(root).notes[0] == "flowers.tar.gz beside the folders is an archive: left out"
    (tmp_path / "flowers.tar").touch()
    with pytest.raises(ValueError, match=r"holds flowers.tar and \w+; say what to read: --data.name shards or folder"):
        recognize(root)
    (tmp_path / "index.json").touch()  # nothing but shards has one
    assert recognize(root).kind == "shards"


def test_an_archive_beside_a_folder_without_images_is_to_be_unpacked(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "train-000000.tar.gz").touch()
    with pytest.raises(ValueError, match=r"is compressed, .*; unpack it to \.tar"):
        check_root("auto", str(tmp_path))


def test_a_folder_of_notes_beside_the_splits_is_still_no_annotation(tmp_path):
    classes(tmp_path)
    class_folders(tmp_path / "val", {"ant": 1})
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "meta.json").write_text("{}")
    assert recognize(str(tmp_path)).kind == "folder"


OTHERS = [
    ("classes", "holds train/; "),
    ("masks", "is annotated with masks; "),
    ("boxes", "is annotated with boxes; "),
    ("voc", "is annotated with boxes; "),
    ("nothing", "does not exist; "),
]


@pytest.mark.parametrize(("layout", "found"), OTHERS)
def test_what_is_there_and_what_was_expected_are_both_named(tmp_path, layout, found):
    root = tmp_path / layout
    WRITERS.get(layout, lambda _: None)(root)
    if layout not in ("boxes", "voc"):
        with pytest.raises(ValueError, match=f"{layout} {found}boxes are expected as COCO has them"):
            open_boxes(str(root), 0.1)
    if layout != "masks":
        with pytest.raises(ValueError, match=f"{layout} {found}masks are expected in annotations/train"):
            open_masks(root, ignore_index=255, val_fraction=0.1)


@pytest.mark.parametrize(("kind", "heads"), [("boxes", FIND_OBJECTS), ("masks", LABEL_PIXELS)])
def test_the_advice_is_what_the_command_line_has(kind, heads):
    words = INSTEAD[kind].replace(",", "").split()
    start = words.index("to") + 1
    assert [word for word in words[start : words.index("as")] if word != "or"] == list(heads)
    assert words[words.index("--recipe") + 1] in recipes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("images.zip", "is not a folder but an archive: unpack it, and give the folder; expected class folders"),
        ("images.tar.gz", "an archive: unpack it"),
        ("train-00.tar", "give the folder that holds it, .*here; expected"),
        ("train.parquet", "give the folder that holds it, .*here; expected"),
        ("1.jpg", "is not a folder; expected"),
    ],
)
def test_a_file_is_told_what_to_do_with_it(tmp_path, name, message):
    path = tmp_path / "here" / name
    with pytest.raises(ValueError, match=f"{name} does not exist; expected"):
        check_root("auto", str(path))
    path.parent.mkdir()
    path.write_text("")
    with pytest.raises(ValueError, match=message):
        check_root("auto", str(path))


FOREIGN = {
    "train/metadata.csv train/1.jpg test/metadata.csv test/2.jpg": "holds train/metadata.csv, .*/train/meta",
    "train/metadata.jsonl train/images/1.jpg": "holds train/metadata.jsonl, .* a CSV file with the columns path",
    "train/_annotations.coco.json train/1.jpg valid/_annotations.coco.json valid/2.jpg": "boxes as Roboflow has them",
    "train.csv train/1.jpg test/2.jpg": "holds train.csv beside train/, but not a CSV .*such as train/1.jpg,cat",
    "train/1.png trainannot/1.png val/2.png valannot/2.png": "holds train/ and trainannot/, images and their annot",
    "images/1.jpg labels/1.txt": "holds images/ and labels/, .*; expected for those are images/train and annotations/",
    "Train/images/1.jpg Train/labels/1.txt data.yaml": "holds Train/images/ and Train/labels/",
    "train/1.jpg test/2.jpg sample/3.jpg": "has no class folders in train, test; train/CLASS/ is expected",
    "train/ant/1.jpg train/bee/2.jpg val/3.jpg": "holds val/ with images, but .*; sort them into val/CLASS/",
}


@pytest.mark.parametrize("names", FOREIGN)
def test_layouts_of_others_do_not_become_classes(tmp_path, names):
    for name in names.split():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("file_name,breed" if path.suffix == ".csv" else "")
    with pytest.raises(ValueError, match=FOREIGN[names]) as caught:
        check_root("auto", str(tmp_path))
    assert "--data.name folder" in str(caught.value)
    check_root("folder", str(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        "train/ant/1.jpg train/bee/2.jpg train/metadata.csv",
        "train/ant/1.jpg train/bee/2.jpg train.csv",
        "images/1.jpg sounds/2.jpg",
        "bus/1.jpg train/2.jpg",
        "train/labels/1.jpg train/masks/2.jpg",
    ],
)
def test_class_folders_beside_something_are_still_class_folders(tmp_path, names):
    for name in names.split():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert recognize(str(tmp_path)).kind == "folder"
