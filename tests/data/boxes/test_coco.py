"""What COCO files say is read as they mean it, and what is wrong with them is found before training."""

import copy
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dsmixer.data.boxes import findings
from dsmixer.data.boxes.batches import BoxesToScore, BoxesToTrainOn
from dsmixer.data.boxes.coco import find_coco, open_coco
from dsmixer.data.boxes.instance_masks import decode_mask, encode_mask
from dsmixer.data.boxes.survey import check_images, open_annotations, open_boxes, report
from dsmixer.data.boxes.transforms import multi_scale
from tests.data.annotated import SIZE, coco, draw, write_coco

DATA = Path(os.environ.get("DSMIXER_DATA", Path(__file__).parents[3] / "../shared/data"))


@pytest.fixture
def folder(tmp_path):
    """Val numbers the classes, and the images, in another way."""
    write_coco(tmp_path, "train", coco())
    write_coco(tmp_path, "val", coco([{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}], first=50))
    return tmp_path


def spoil(folder, change, split="train"):
    """Read the set again after ``change`` of the split's JSON, headers checked."""
    path = folder / "annotations" / f"{split}.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    sources = open_coco(str(folder))
    for source in sources.values():
        check_images(source)
    return sources


def test_boxes_classes_and_pixels_agree(folder):
    sources = open_coco(str(folder))
    assert sources["train"].classes == sources["val"].classes == ["cat", "dog"]
    assert [sources["train"].objects(row).labels.tolist() for row in range(3)] == [[0], [1], [0]]
    assert [sources["val"].objects(row).labels.tolist() for row in range(3)] == [[1], [0], [1]]  # by name
    assert (sources["train"].category_ids, sources["val"].category_ids) == ([3, 7], [2, 1])
    for source in sources.values():
        for row in range(3):
            ((left, top, right, bottom),) = source.objects(row).boxes.astype(int)
            white = np.argwhere(np.asarray(source.image(row, "L")) == 255)
            assert [*white.min(0), *white.max(0) + 1] == [top, left, bottom, right]


def test_an_area_that_is_null_is_that_of_the_box(folder):
    plain = open_coco(str(folder))["train"].objects(0).areas
    assert (spoil(folder, edit(0, area=None))["train"].objects(0).areas == plain).all()


def test_the_truth_is_what_the_file_says(folder):
    truth = open_coco(str(folder))["val"].truth(1)
    assert truth["image"] == {"id": 51, "width": 64, "height": 48}
    (entry,) = truth["annotations"]
    original = coco([{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}], first=50)["annotations"][1]
    assert entry == {key: value for key, value in original.items() if key != "id"} | {"category_id": 1}


def test_a_right_set_has_nothing_to_report(folder):
    sources = spoil(folder, lambda data: None)
    assert all(not source.findings.names for source in sources.values())
    assert report(sources)[:2] == ["train: 3 images, 3 objects", "  cat 2, dog 1"]


def test_masks_are_asked_for_where_they_are_learned(folder):
    boxes = coco()
    for entry in boxes["annotations"][1:]:
        del entry["segmentation"]
    write_coco(folder, "train", boxes)
    assert not any("mask" in note for note in open_boxes(str(folder), 0.4).notes)
    notes = open_boxes(str(folder), 0.4, masks=True).notes
    assert any(note.startswith("  object without a mask: 2 (1.png, 2.png); neither trained on") for note in notes)
    del boxes["annotations"][0]["segmentation"]
    write_coco(folder, "train", boxes)
    with pytest.raises(ValueError, match=r"no object of train has a mask, .* maskrcnn .* need boxes alone"):
        open_boxes(str(folder), 0.4, masks=True)


def test_layouts_are_found_by_name(tmp_path):
    write_coco(tmp_path, "train", coco(), folder="train2017", name="instances_train2017.json")
    write_coco(tmp_path, "val", coco(), folder="images/val2017", name="instances_val2017.json")
    (tmp_path / "annotations" / "captions_train2017.json").write_text("not read")
    assert {split: folder.name for split, (_, folder) in find_coco(str(tmp_path)).items()} == {
        "train": "train2017",
        "val": "val2017",
    }
    assert len(open_annotations(str(tmp_path))["val"].ids) == 3
    (tmp_path / "annotations" / "instances_train2014.json").write_text("{}")
    with pytest.raises(ValueError, match=r"neither .*train2014"):
        find_coco(str(tmp_path))
    (tmp_path / "train2014").mkdir()
    with pytest.raises(ValueError, match="has two files for train"):
        find_coco(str(tmp_path))


def test_splits_go_by_all_their_names(tmp_path):
    for split in ("Training", "dev", "testing"):
        write_coco(tmp_path, split, coco())
    assert {split: folder.name for split, (_, folder) in find_coco(str(tmp_path)).items()} == {
        "train": "Training",
        "val": "dev",
        "test": "testing",
    }


def test_what_is_no_data_set_is_explained(tmp_path):
    with pytest.raises(ValueError, match="is empty; boxes are expected as COCO has them"):
        open_annotations(str(tmp_path))
    (tmp_path / "annotations").mkdir()
    with pytest.raises(ValueError, match="no annotation file named after a split; expected train"):
        open_annotations(str(tmp_path))


def edit(index, part="annotations", **change):
    return lambda data: data[part][index].update(change)


def duplicate(part, index, **change):
    return lambda data: data[part].append({**copy.deepcopy(data[part][index]), **change})


NAN = float("nan")
DROPPED = [
    (edit(0, bbox=[4, 6, 0, 20]), findings.DEGENERATE),
    (edit(0, bbox=[4, 6, 16, -20]), findings.DEGENERATE),
    (edit(0, bbox=[4, NAN, 16, 20]), findings.DEGENERATE),
    (edit(0, bbox=[64, 6, 16, 20]), findings.OUTSIDE_IMAGE),
    (edit(0, bbox=[4, -30, 16, 20]), findings.OUTSIDE_IMAGE),
    (edit(0, bbox=[]), findings.NO_BOX),
    (edit(0, bbox=[4, 6, 16]), findings.NO_BOX),
    (edit(0, bbox=[4, 6, 16, None]), findings.NO_BOX),
    (edit(0, bbox=None), findings.NO_BOX),
    (lambda data: data["annotations"][0].pop("bbox"), findings.NO_BOX),
]


@pytest.mark.parametrize(("change", "fault"), DROPPED)
def test_boxes_nobody_could_find_are_dropped_and_named(folder, change, fault):
    train = spoil(folder, change)["train"]
    assert train.findings.names[fault][0].startswith("annotation 100 in 0.png: ")
    assert train.findings.names[findings.NO_OBJECTS] == ["0.png"]  # and the image stays
    assert (len(train.ids), len(train.all_objects.labels), len(train.objects(0).labels)) == (3, 2, 0)
    assert train.truth(0)["annotations"] == []
    train.findings.refuse()  # no reason not to train


KEPT = [
    (edit(0, bbox=[-8, 6, 16, 20]), findings.STICKS_OUT, 3),
    (duplicate("annotations", 0, image_id=2), findings.OBJECT_ID_TWICE, 4),
    (lambda data: data["categories"].append({"id": 9, "name": "emu"}), findings.UNUSED_CLASS, 3),
    (lambda data: data["annotations"].pop(), findings.NO_OBJECTS, 2),
    (edit(0, segmentation=[[1, 2, 3, 4]]), findings.BROKEN_MASK, 3),
    (edit(0, segmentation=[[1, 2, 3, 4], [4, 6, 9, 6, 9, 9]]), findings.BROKEN_PART, 3),
    (edit(0, segmentation=[[1, 2, 3, 4, NAN, 5]]), findings.BROKEN_MASK, 3),
    (edit(0, segmentation=[[1, 2, 3, 4, 1e9, 5]]), findings.BROKEN_MASK, 3),
    (edit(0, segmentation={"size": [48, 64], "counts": [3000]}), findings.BROKEN_MASK, 3),
    (edit(0, segmentation={"size": [48, 64], "counts": "000000"}), findings.BROKEN_MASK, 3),
    (edit(0, segmentation={"size": [64, 48], "counts": [3072]}), findings.BROKEN_MASK, 3),
]


@pytest.mark.parametrize(("change", "fault", "objects"), KEPT)
def test_what_can_be_lived_with_is_counted(folder, change, fault, objects):
    train = spoil(folder, change)["train"]
    assert {found: train.findings.count(found) for found in train.findings.names} == {fault: 1}
    assert len(train.all_objects.labels) == objects
    train.findings.refuse()


REFUSED = [
    (duplicate("images", 0), findings.IMAGE_ID_TWICE, "1 of 0.png"),
    (edit(0, image_id=77), findings.UNKNOWN_IMAGE, "annotation 100 in image 77"),
    (edit(0, category_id=77), findings.UNKNOWN_CATEGORY, "annotation 100 of category 77"),
    (edit(0, "images", file_name="../../../outside.png"), findings.OUTSIDE_ROOT, "../../../outside.png"),
    (edit(0, "images", file_name="/outside.png"), findings.OUTSIDE_ROOT, "/outside.png"),
    (lambda data: data["annotations"].clear(), findings.NOTHING_TO_FIND, "3 images"),
]


@pytest.mark.parametrize(("change", "fault", "name"), REFUSED)
def test_what_cannot_be_trained_on_is_refused_and_named(folder, change, fault, name):
    sources = spoil(folder, change)
    assert sources["train"].findings.count(fault) == 1
    assert any(f"{fault.text}: 1 ({name}" in line for line in report(sources))
    with pytest.raises(ValueError, match=f"train.json: {fault.text}: 1") as caught:
        open_boxes(str(folder), 0.5)
    assert "\n" not in str(caught.value)


UNUSABLE = [
    (edit(0, "images", width=48, height=64), findings.OTHER_SIZE, "train/0.png", "64x48, but annotated as 48x64"),
    (edit(0, "images", file_name="gone.png"), findings.MISSING, "train/gone.png", "missing"),
    (edit(0, "images", file_name="."), findings.UNREADABLE, "train/.", "not a file"),
    (
        edit(0, "images", file_name="../annotations/train.json"),
        findings.UNREADABLE,
        "train/../annotations/train.json",
        "not an image (",
    ),
]


@pytest.mark.parametrize(("change", "fault", "name", "reason"), UNUSABLE)
def test_an_image_that_cannot_be_used_keeps_its_place_and_is_listed(folder, change, fault, name, reason):
    sources = spoil(folder, change)
    assert sources["train"].findings.count(fault) == 1
    splits = open_boxes(str(folder), 0.5)
    assert sorted([*splits.train.rows, *splits.val.rows]) == [0, 1, 2]
    ((bad, why),) = splits.bad
    assert (bad, why.startswith(reason)) == (name, True)
    assert any(
        line.endswith("; left out of evaluations, replaced in training") and fault.text in line for line in splits.notes
    )
    with pytest.raises(ValueError, match=f"^{re.escape(bad)}: {re.escape(why)}|No such file"):
        sources["train"].image(0, "RGB")  # reading it says the same


def test_files_of_one_name_in_two_splits_are_two_bad_files(folder):
    for split in ("train", "val"):
        (folder / split / "0.png").write_bytes(b"")
    assert [name for name, _ in open_boxes(str(folder), 0.5).bad] == ["train/0.png", "val/0.png"]


def test_a_split_that_nothing_is_left_of_is_refused(folder):
    for path in (folder / "val").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"no object is left in val .*: val/0.png: missing; val/1.png: missing; val/2"):
        open_boxes(str(folder), 0.5)


def test_what_a_header_does_not_tell_is_found_in_training_and_replaced_or_left_out(folder):
    draw(folder / "train" / "0.png", [], size=SIZE)
    data = (folder / "train" / "0.png").read_bytes()
    for name in ("train/0.png", "val/1.png"):
        (folder / name).write_bytes(data[:-30])  # a whole header
    splits = open_boxes(str(folder), 0.34)
    assert splits.bad == ()
    train = BoxesToTrainOn(splits.train._replace(rows=np.arange(3)), multi_scale([48], 64, 0.5), 0, masks=True)
    batch = train.__getitems__([(0, 0), (0, 1), (0, 3)])
    assert batch.rows[0] in (1, 2)
    assert batch.rows[1] == 1
    assert [name for name, _ in batch.bad] == ["train/0.png"] * 2
    assert batch.bad[0][1].startswith("damaged image")
    again = train.__getitems__([(0, 0)])
    assert again.rows[0] == batch.rows[0]
    assert (again.images[0] == batch.images[0]).all()
    taken = {int(train.__getitems__([(epoch, 0)]).rows) for epoch in range(9)}
    assert taken == {1, 2}  # not always the same one

    val = BoxesToScore(splits.test)
    batch = val.__getitems__([(0, 0), (0, 1), (0, 2)])
    assert batch.rows.tolist() == [0, 2]
    assert [truth["image"]["id"] for truth in batch.truths] == [50, 52]
    assert [name for name, _ in batch.bad] == ["val/1.png"]
    alone = val.__getitems__([(0, 1)])
    assert (len(alone.rows), alone.images, alone.truths, len(alone.bad)) == (0, [], [], 1)
    assert alone.to(torch.device("cpu")).bad == alone.bad


def test_a_class_that_train_lacks_is_refused_but_one_that_val_lacks_is_only_noted(folder):
    sources = spoil(folder, edit(0, "categories", name="emu"), "val")
    assert sources["val"].findings.names[findings.UNKNOWN_CLASS][0] == "annotation 100 of 'emu'"
    with pytest.raises(ValueError, match="of a class that train does not have: 2"):
        open_boxes(str(folder), 0.5)
    sources = spoil(folder, lambda data: (data["annotations"].clear(), data["categories"].pop(0)), "val")
    assert sources["val"].category_ids == [2, 4]  # cat as listed; dog, which val does not list, a free number


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "0.png"
    draw(outside, [])
    (folder / "train" / "0.png").unlink()
    (folder / "train" / "0.png").symlink_to(outside)
    source = open_coco(str(folder))["train"]
    with pytest.raises(ValueError, match=r"0\.png: leads out of the data folder"):
        source.image(0, "RGB")


def test_a_turned_photograph_is_compared_as_it_will_be_decoded(folder):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    draw(folder / "train" / "0.png", [], size=(48, 64), exif=exif)  # upright it is 64 wide
    source = spoil(folder, lambda data: None)["train"]
    assert not source.findings.names
    assert source.image(0, "RGB").size == SIZE


def test_an_image_that_has_changed_since_is_not_trained_on(folder):
    source = open_coco(str(folder))["train"]
    draw(folder / "train" / "0.png", [], size=(32, 32))
    with pytest.raises(ValueError, match=r"0\.png: 32x32, but annotated as 64x48"):
        source.image(0, "RGB")
    (folder / "train" / "0.png").unlink()
    with pytest.raises(ValueError, match=r"0\.png: cannot be read \(No such file"):
        source.image(0, "RGB")


def test_polygons_and_both_run_lengths_are_the_same_mask(folder):
    pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    pixels[6:26, 4:20] = 1
    runs = np.diff(np.flatnonzero(np.diff(np.pad(pixels.T.ravel(), 1, constant_values=2))))
    lengths = [int(run) for run in runs]
    forms = [
        [[4, 6, 20, 6, 20, 26, 4, 26]],
        {"size": [48, 64], "counts": lengths},
        encode_mask(pixels),
    ]
    assert sum(lengths) == 48 * 64
    for form in forms:
        source = spoil(folder, edit(0, segmentation=form))["train"]
        assert not source.findings.names
        (kept,) = source.objects(0).segmentations
        assert np.array_equal(decode_mask(kept, *SIZE, "0.png"), pixels)


BROKEN_FILES = [
    ("", "is not readable JSON"),
    ("[" * 100000, "is not readable JSON"),
    ("[]", "holds a list, not an object with images"),
    ('{"images": [], "annotations": []}', "an entry has no 'categories'"),
    ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "an entry has no 'file_name'"),
    ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "used twice"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN_FILES)
def test_a_file_that_is_not_coco_json_is_named(folder, text, message):
    (folder / "annotations" / "train.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        open_coco(str(folder))
    assert str(folder / "annotations" / "train.json") in str(caught.value)


def test_splits_for_training_choosing_and_holding_out(folder):
    splits = open_boxes(str(folder), 0.34)
    assert [len(split.rows) for split in splits[:3]] == [2, 1, 3]  # val is the held-out split, so some of train is val
    assert splits.classes == ["cat", "dog"]
    assert splits.notes[0].startswith("train: 3 images")
    assert splits.notes[-1] == "no split to choose by: 1 images of train are held back for it"
    write_coco(folder, "test", coco())
    splits = open_boxes(str(folder), 0.34)
    assert [len(split.rows) for split in splits[:3]] == [3, 3, 3]


def test_a_split_carved_for_choosing_must_hold_an_object(folder):
    ((held,),) = open_boxes(str(folder), 0.34).val[1:]
    spoil(folder, lambda data: data["annotations"].pop(int(held)))
    with pytest.raises(ValueError, match="the 1 images of train that would choose the best checkpoint hold no object"):
        open_boxes(str(folder), 0.34)


def test_a_worker_receives_the_source(folder):
    source = pickle.loads(pickle.dumps(open_coco(str(folder))["train"]))
    assert source.image(1, "RGB").size == SIZE


@pytest.mark.skipif(not (DATA / "bccd").is_dir(), reason="no bccd in DSMIXER_DATA")
def test_blood_cells_as_they_lie_on_disk():
    splits = open_boxes(str(DATA / "bccd"), 0.1)
    assert [len(split.rows) for split in splits[:3]] == [205, 87, 72]
    assert splits.classes == ["Platelets", "RBC", "WBC"]
    degenerate = [line for line in splits.notes if "without width or height" in line]
    assert len(degenerate) == 2
    assert "annotation 2288 in BloodImage_00343.jpg: 181 329 181 329" in degenerate[0]
    assert "annotation 887 in BloodImage_00338.jpg: 504 337 504 337" in degenerate[1]
    assert sum(len(source.source.all_objects.labels) for source in splits[:3]) == 4886  # of 4,888
