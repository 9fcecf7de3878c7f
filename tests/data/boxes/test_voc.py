"""Pascal VOC's pixels are counted from 1, and its XML may come from anywhere."""

import pytest

from dsmixer.data.boxes import findings
from dsmixer.data.boxes.survey import check_images, open_annotations, open_boxes
from dsmixer.data.boxes.voc import find_voc, open_voc, parse
from tests.data.annotated import draw, voc_xml, write_voc

RIGHT = {
    "a": [("dog", 1, 1, 64, 48, 0)],
    "b": [("cat", 11, 21, 20, 30, 0), ("dog", 2, 3, 4, 5, 1)],
    "c": [("dog", 5, 5, 9, 9, 0)],
}


@pytest.fixture
def folder(tmp_path):
    write_voc(tmp_path, {"train": ["a", "b"], "val": ["c"]}, RIGHT)
    return tmp_path


def test_boxes_include_both_ends_and_count_from_one(folder):
    sources = open_annotations(str(folder))
    train = sources["train"]
    assert train.classes == sources["val"].classes == ["cat", "dog"]
    assert train.objects(0).boxes.tolist() == [[0, 0, 64, 48]]  # the whole image
    assert train.objects(1).boxes.tolist() == [[10, 20, 20, 30], [1, 2, 4, 5]]
    assert train.objects(1).labels.tolist() == [0, 1]
    assert train.objects(1).areas.tolist() == [100, 9]
    assert train.objects(1).crowd.tolist() == [False, True]  # difficult
    assert train.truth(1)["image"] == {"id": 2, "width": 64, "height": 48}
    assert train.image(0, "RGB").size == (64, 48)


def test_a_right_set_opens(folder):
    splits = open_boxes(str(folder), 0.5)
    assert [len(split.rows) for split in splits[:3]] == [1, 1, 1]
    assert splits.notes == ("train: 2 images, 2 objects and 1 crowds", "  cat 1, dog 1", "val: 1 images, 1 objects",
                            "  cat 0, dog 1", "  class without any object: 1 (cat); kept; its score is n/a",
                            "no split to choose by: 1 images of train are held back for it")  # fmt: skip


def test_trainval_is_not_split_again(folder):
    lists = folder / "ImageSets" / "Main"
    (lists / "train.txt").rename(lists / "trainval.txt")
    with pytest.raises(ValueError, match=r"Main holds train; expected"):
        find_voc(str(folder))  # val is part of trainval
    (lists / "test.txt").write_text("c\n")
    assert find_voc(str(folder)) == {"train": ["a", "b"], "test": ["c"]}


FAULTS = [
    (("dog", 5, 5, 5, 9, 0), findings.DEGENERATE, "object 1 in a.jpg: 5 5 5 9"),
    (("dog", 9, 5, 5, 9, 0), findings.DEGENERATE, "object 1 in a.jpg: 8 4 5 9"),
    (("dog", 65, 5, 70, 9, 0), findings.OUTSIDE_IMAGE, "object 1 in a.jpg: 64 4 70 9"),
    (("dog", 60, 5, 70, 9, 0), findings.STICKS_OUT, "object 1 in a.jpg: 59 4 70 9"),
]


@pytest.mark.parametrize(("entry", "fault", "name"), FAULTS)
def test_faulty_boxes_are_named(folder, entry, fault, name):
    (folder / "Annotations" / "a.xml").write_text(voc_xml("a", [entry]))
    assert open_voc(str(folder))["train"].findings.names[fault] == [name]


def test_missing_wrong_and_unknown(folder):
    (folder / "Annotations" / "c.xml").write_text(voc_xml("c", [("emu", 1, 1, 9, 9, 0), ("dog", 1, 1, 9, 9, 0)]))
    (folder / "JPEGImages" / "a.jpg").unlink()
    draw(folder / "JPEGImages" / "b.jpg", [], size=(32, 32))
    sources = open_voc(str(folder))
    for source in sources.values():
        check_images(source)
    assert sources["val"].findings.names[findings.UNKNOWN_CLASS] == ["object 1 in c.jpg, of 'emu'"]
    assert sources["train"].findings.names[findings.MISSING] == ["a.jpg: missing"]
    assert sources["train"].findings.names[findings.OTHER_SIZE] == ["b.jpg: 32x32, but annotated as 64x48"]
    with pytest.raises(ValueError, match=r"of a class that train does not have: 1 \(object 1 in c\.jpg, of 'emu'\)"):
        open_boxes(str(folder), 0.5)


BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa">{more}]><annotation>&j;</annotation>""".format(
    more="".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
)
HOSTILE = [
    (BOMB, "declares a document type"),
    ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "declares a document type"),
    ("<annotation>", "no element found"),
    ("<annotation></annotation>", "<annotation> has no <size/width>"),
    (voc_xml("a", [("dog", "x", 1, 2, 3, 0)]), "<bndbox/xmin> is 'x', not a number"),
    (voc_xml("a", [("", 1, 1, 2, 3, 0)]), "<object> has no <name>"),
]


@pytest.mark.parametrize(("text", "message"), HOSTILE)
def test_xml_that_is_no_annotation_is_refused_with_its_name(folder, text, message):
    (folder / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        open_voc(str(folder))
    assert str(folder / "Annotations" / "a.xml") in str(caught.value)


def test_a_document_type_is_refused_in_any_encoding():
    with pytest.raises(ValueError, match="document type"):
        parse(BOMB.replace('version="1.0"', 'version="1.0" encoding="utf-16"').encode("utf-16"))


def test_a_name_may_have_spaces_and_any_ending_the_folder_has(tmp_path):
    write_voc(tmp_path, {"train": ["img (1)"], "val": ["c"]}, {"img (1)": RIGHT["a"], "c": RIGHT["c"]})
    (tmp_path / "JPEGImages" / "c.jpg").unlink()
    draw(tmp_path / "JPEGImages" / "c.png", [])
    sources = open_voc(str(tmp_path))
    assert sources["train"].names == ["img (1).jpg"]
    assert sources["val"].names == ["c.png"]
    assert not any(check_images(source) for source in sources.values())


def test_an_image_without_an_annotation_is_named(folder):
    (folder / "Annotations" / "b.xml").unlink()
    with pytest.raises(ValueError, match=r"^b stands in ImageSets/Main, but there is no .*b\.xml"):
        open_voc(str(folder))


def test_a_list_that_is_no_utf8_is_named(folder):
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes("a\nolé\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"Main/train\.txt is not UTF-8 \(.* at byte 4\); save it as UTF-8$"):
        find_voc(str(folder))


def test_names_that_lead_out_are_refused(folder):
    (folder / "ImageSets" / "Main" / "train.txt").write_text("../../a\n")
    with pytest.raises(ValueError, match=r"\.\./\.\./a in ImageSets/Main leads out of"):
        open_voc(str(folder))
