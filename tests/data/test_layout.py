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
    ("nothing", "is not a folder; "),
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
