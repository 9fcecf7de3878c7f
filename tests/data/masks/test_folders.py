"""Masks are read as the numbers they hold; what is wrong with one is said with its name."""

import numpy as np
import pytest
import torch
from PIL import Image

from dsmixer.data.bad import BadFiles
from dsmixer.data.folder import SUFFIXES
from dsmixer.data.loader import Feed
from dsmixer.data.masks.batches import MaskedImages
from dsmixer.data.masks.check import count_pixels
from dsmixer.data.masks.classes import read_classes
from dsmixer.data.masks.files import IGNORE, MaskCoding, read_mask
from dsmixer.data.masks.folders import find_pairs, open_mask_folders, open_masks
from dsmixer.data.masks.transforms import whole_pair
from dsmixer.data.splits import Split
from tests import camvid

VALUES = np.array([[0, 1, 2], [2, 1, 255]])
CLASSES = ["a", "b", "c"]


def save(values, path, dtype=np.uint8, palette=None):
    image = Image.fromarray(np.asarray(values, dtype))
    if palette:
        image.putpalette(palette)  # mode P
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def mode_of(path):
    with Image.open(path) as image:
        return image.mode


@pytest.fixture
def folder(tmp_path):
    """Two images a split, ADE20K's names; masks of VALUES."""
    for split in ("training", "validation"):
        for stem in ("one", "two"):
            save(np.full((2, 3, 3), 99), tmp_path / "images" / split / f"{stem}.png")
            save(VALUES, tmp_path / "annotations" / split / f"{stem}.png")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    return tmp_path


def opened(folder, **options):
    return open_masks(folder, **{"ignore_index": 255, "val_fraction": 0.5, **options})


def written(values, tmp_path, **options):
    return save(values, tmp_path / "mask.png", **options)


EXPECTED = [[0, 1, 2], [2, 1, IGNORE]]


@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": np.uint16}, {"palette": [10, 20, 30] * 255 + [255, 0, 0]}],
    ids=["gray", "16 bits", "palette"],
)
def test_gray_palette_and_sixteen_bits_hold_indices(tmp_path, options):
    path = written(VALUES, tmp_path, **options)
    assert mode_of(path) == ("P" if "palette" in options else "I;16" if "dtype" in options else "L")
    assert read_mask(path, MaskCoding(3, ignore_index=255)).tolist() == EXPECTED


def test_a_thousand_classes_fit_in_sixteen_bits(tmp_path):
    path = written([[999, 65535]], tmp_path, dtype=np.uint16)
    assert read_mask(path, MaskCoding(1000, ignore_index=65535)).tolist() == [[999, IGNORE]]


def test_two_values_of_one_bit(tmp_path):
    path = written([[0, 1, 1]], tmp_path, dtype=bool)
    assert mode_of(path) == "1"
    assert read_mask(path, MaskCoding(2, ignore_index=255)).tolist() == [[0, 1, 1]]


def test_zero_is_not_scored_and_the_rest_moves_down(tmp_path):
    coding = MaskCoding(2, ignore_index=255, reduce_zero_label=True)
    assert read_mask(written(VALUES, tmp_path), coding).tolist() == [[IGNORE, 0, 1], [1, 0, IGNORE]]
    with pytest.raises(ValueError, match=r"hold 3; expected 1 to 2, and 0 or 255 where nothing is scored"):
        read_mask(written([[0, 3]], tmp_path), coding)


def test_colors_need_a_palette_and_follow_its_order(tmp_path):
    colors = np.array([(0, 0, 0), (0, 0, 255), (128, 64, 0), (9, 9, 9)])
    path = written(colors[[[2, 0], [1, 3]]], tmp_path)
    with pytest.raises(ValueError, match=r"mask\.png: a mask in colors \(RGB\); give the palette"):
        read_mask(path, MaskCoding(3, ignore_index=3))
    coding = MaskCoding(3, ignore_index=3, palette=colors.tolist())
    assert read_mask(path, coding).tolist() == [[2, 0], [1, IGNORE]]
    with pytest.raises(ValueError, match=r"1 pixels \(the first in row 1, column 1\) .* such as \(9, 9, 9\)"):
        read_mask(path, MaskCoding(3, ignore_index=255, palette=colors[:3].tolist()))


@pytest.mark.parametrize("palette", [[[0, 0]], [[0, 0, 256]]])
def test_a_palette_is_colors(palette):
    with pytest.raises(ValueError, match="a palette is a list of colors"):
        MaskCoding(1, ignore_index=255, palette=palette)


def test_unusable_masks_are_named_with_what_they_hold(tmp_path):
    coding = MaskCoding(3, ignore_index=255)
    with pytest.raises(ValueError, match=r"mask\.png: 3 pixels \(the first in row 0, column 1\) hold 3, 7; expected 0"):
        read_mask(written([[0, 7, 3], [3, 0, 0]], tmp_path), coding)
    Image.new("L", (3, 2)).save(tmp_path / "photo.png", "JPEG")
    with pytest.raises(ValueError, match=r"photo\.png: JPEG changes the values"):
        read_mask(tmp_path / "photo.png", coding)
    Image.new("LA", (3, 2)).save(tmp_path / "alpha.png")
    with pytest.raises(ValueError, match=r"alpha\.png: a mask of mode LA"):
        read_mask(tmp_path / "alpha.png", coding)
    half = written(VALUES, tmp_path).read_bytes()[:50]
    (tmp_path / "half.png").write_bytes(half)
    with pytest.raises(ValueError, match=r"half\.png: damaged image"):
        read_mask(tmp_path / "half.png", coding)


def test_the_splits_of_ade20k_and_a_validation_carved_from_train(folder):
    train, val, test, classes, notes, bad = opened(folder)
    assert classes == CLASSES
    assert [len(split.rows) for split in (train, val, test)] == [1, 1, 2]
    assert sorted([*train.rows, *val.rows]) == [0, 1]
    assert (notes, bad) == (("no split to choose by: 1 images of train are held back for it",), ())
    assert "validation" in str(test.source.images[0])
    image, mask = test.source.pair(0, "RGB")
    assert (image.size, mask.tolist()) == ((3, 2), EXPECTED)


def test_an_image_without_a_mask_keeps_its_place_and_is_listed_and_other_files_are_passed_over(folder):
    images = folder / "images" / "training"
    (images / "Thumbs.db").write_text("")
    (images / "._one.png").write_text("")
    save(np.full((2, 3, 3), 99), images / "three.png")
    save(VALUES, folder / "annotations" / "validation" / "four.png")
    splits = opened(folder)
    assert splits.bad == (("images/training/three.png", "has no mask"),)
    assert [splits.train.source.name(row)[-9:-4] for row in range(3)] == ["g/one", "three", "g/two"]
    assert len(splits.train.rows) + len(splits.val.rows) == 3
    with pytest.raises(ValueError, match=r"^images/training/three.png: has no mask$"):
        splits.train.source.pair(1, "RGB")
    assert splits.notes[0] == "1 masks of val have no image, such as annotations/validation/four.png: left out"
    for path in (folder / "annotations" / "training").iterdir():
        path.rename(path.with_stem(f"{path.stem}_labels"))
    with pytest.raises(
        ValueError, match=r"no image beside .*one\.png has a mask; one belongs to the image of the same"
    ):
        opened(folder)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_images_go_by_all_their_suffixes(folder, suffix):
    (folder / "images/training/one.png").rename(folder / f"images/training/one{suffix}")
    pairs = find_pairs(folder)["train"]
    assert [path.stem for path in pairs.images] == [path.stem for path in pairs.masks] == ["one", "two"]
    assert pairs.alone == []


def test_splits_go_by_all_their_names_in_any_case(folder):
    for part in ("images", "annotations"):
        (folder / part / "training").rename(folder / part / "Train")
        (folder / part / "validation").rename(folder / part / "dev")
    assert list(find_pairs(folder)) == ["train", "val"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "images/training").rename(root / "images/trainieren"), r"holds images/val; expected"),
        (lambda root: (root / "images/train").mkdir(), r"images has two folders for train: train and training; keep"),
        (
            lambda root: (root / "annotations").rename(root / "labels"),
            r"holds images/, labels/, classes.txt; masks are",
        ),
        (
            lambda root: (root / "annotations/training").rename(root / "annotations/x"),
            r"annotations.training is not a f",
        ),
        (lambda root: save(VALUES, root / "images/training/one.bmp"), r"one\.bmp and one\.png; which one"),
        (lambda root: [path.unlink() for path in root.glob("images/training/*")], "training holds no image"),
    ],
)
def test_layouts_that_cannot_be_right(folder, change, message):
    change(folder)
    with pytest.raises(ValueError, match=message):
        find_pairs(folder)


def test_class_names_from_beside_the_data(folder):
    with pytest.raises(ValueError, match=r"classes\.txt names the classes .*, but masks\.classes x, y \(2\); .*null"):
        read_classes(folder, ["x", "y"])
    (folder / "classes.txt").write_bytes("olé\nb\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"classes\.txt is not UTF-8 \(.* at byte 2\)"):
        read_classes(folder, None)
    (folder / "classes.txt").unlink()
    assert read_classes(folder, ["x", "y"]) == ["x", "y"]
    with pytest.raises(ValueError, match=r"holds none of classes\.txt, classes\.json, objectInfo150\.txt"):
        read_classes(folder, None)
    for text in ('["a", "b"]', '{"1": "b", "0": "a"}'):
        (folder / "classes.json").write_text(text)
        assert read_classes(folder, None) == ["a", "b"]
    for text, message in {
        '{"1": "a", "2": "b"}': "no list of names",
        "[1, 2]": "no list of names",
        "a, b": "no list of names",
        '["a", "a"]': "has 'a' twice",
        '["a"]': "names 1 classes",
        '["a", "", "b"]': "has no name for class 1",
    }.items():
        (folder / "classes.json").write_text(text)
        with pytest.raises(ValueError, match=rf"classes\.json.*{message}"):
            read_classes(folder, None)


def test_ade20ks_own_table_names_the_classes(folder):
    (folder / "classes.txt").unlink()
    table = folder / "objectInfo150.txt"
    table.write_text("Idx\tRatio\tTrain\tVal\tName\n1\t0.15\t11664\t1172\twall\n2\t0.1\t6046\t612\tbuilding, edifice\n")
    assert read_classes(folder, None) == ["wall", "building, edifice"]
    table.write_text("wall\nbuilding\nsky\n")
    with pytest.raises(ValueError, match=r"objectInfo150\.txt is not ADE20K's table"):
        read_classes(folder, None)


@pytest.fixture
def spoiled(folder):
    """Of four images in train one is good: two are bad by their mask, one by itself; of val, one by its mask's size."""
    images, masks = folder / "images/training", folder / "annotations/training"
    for stem in ("three", "four"):
        save(np.full((2, 3, 3), 99), images / f"{stem}.png")
        save(VALUES, masks / f"{stem}.png")
    save([[0, 9, 0], [0, 0, 0]], masks / "one.png")
    (masks / "two.png").write_bytes((masks / "three.png").read_bytes()[:50])
    (images / "four.png").write_bytes(b"GIF8")
    save([[0, 1, 0]], folder / "annotations/validation/one.png")
    return folder


WHOLE = whole_pair([0.5] * 3, [0.5] * 3)
REASONS = {
    "images/training/one.png": "annotations/training/one.png: 1 pixels (the first in row 0, column 1) hold 9; expected "
    "0 to 2, and 255 where nothing is scored",
    "images/training/two.png": "annotations/training/two.png: damaged image (50 bytes): ",
    "images/training/four.png": "not an image (4 bytes, beginning 47 49 46 38); known are JPEG, PNG, WEBP, BMP, GIF, "
    "TIFF",
    "images/validation/one.png": "annotations/validation/one.png: the mask is 3x1, its image 3x2",
}


def test_the_count_names_every_bad_pair_and_counts_the_others(spoiled):
    sources, _ = open_mask_folders(spoiled, ignore_index=255)
    found = {split: count_pixels(Split(source, np.arange(len(source))), workers=2) for split, source in sources.items()}
    bad = [entry for counts in found.values() for entry in counts.bad]
    assert sorted(name for name, _ in bad) == sorted(REASONS)
    for name, reason in bad:
        assert reason.startswith(REASONS[name])
    assert {split: counts.images.tolist() for split, counts in found.items()} == {"train": [1] * 3, "val": [1] * 3}


def test_in_training_another_image_takes_the_place_of_a_bad_pair(spoiled):
    split = Split(open_mask_folders(spoiled, ignore_index=255)[0]["train"], np.arange(4))
    names = [split.source.name(row) for row in range(4)]
    good = names.index("images/training/three.png")
    data = MaskedImages(split, "RGB", WHOLE, seed=3, least_side=4, replace=True)
    keys = [(epoch, position) for epoch in range(2) for position in range(4)]
    batch = data.__getitems__(keys)
    assert batch.rows.tolist() == [good] * 8
    assert (batch.masks[:, :2, :3] == torch.tensor(EXPECTED)).all()
    assert {name for name, _ in batch.bad} == set(names) - {names[good]}
    assert all(reason.startswith(REASONS[name]) for name, reason in batch.bad)
    plan = [keys[:4], keys[4:]]
    for workers in (0, 1):
        told = BadFiles(None, 1, 4, lambda _: None)
        for number, part in enumerate(Feed(data, plan, workers, 60, told)):
            assert part.bad == data.__getitems__(plan[number]).bad
        assert len(told) == 3
    with pytest.raises(ValueError, match=r"no readable image of the split: images/training/.*; images/"):
        MaskedImages(Split(split.source, np.delete(split.rows, good)), "RGB", WHOLE, 3, replace=True).__getitems__(keys)


def test_an_evaluation_leaves_bad_pairs_out(spoiled):
    split = Split(open_mask_folders(spoiled, ignore_index=255)[0]["val"], np.arange(2))
    data = MaskedImages(split, "RGB", WHOLE, seed=3, least_side=4)
    batch = data.__getitems__([(0, 0), (0, 1)])
    assert (batch.rows.tolist(), batch.images.shape, batch.sizes.tolist()) == ([1], (1, 3, 4, 4), [[2, 3]])
    empty = data.__getitems__([(0, 0)])
    assert (len(empty.rows), len(empty.images)) == (0, 0)
    assert empty.bad == (("images/validation/one.png", REASONS["images/validation/one.png"]),)
    assert empty.to(torch.device("cpu"), channels_last=False).bad == empty.bad


def test_pixels_of_each_class(folder):
    save([[0, 0, 0], [0, 0, 255]], folder / "annotations/validation/two.png")
    counts = count_pixels(opened(folder).test)
    assert counts.pixels.tolist() == [6, 2, 2]
    assert counts.images.tolist() == [2, 1, 1]
    assert counts.area.tolist() == [10, 5, 5]
    assert counts.ignored == 2
    # frequencies 0.6, 0.4, 0.4
    assert counts.median_frequency_weights() == pytest.approx([0.4 / 0.6, 1, 1])


def test_a_class_that_is_nowhere_has_weight_one(folder):
    (folder / "classes.txt").write_text("\n".join([*CLASSES, "d"]))
    counts = count_pixels(opened(folder, classes=[*CLASSES, "d"]).test)
    assert counts.pixels[3] == 0
    assert counts.median_frequency_weights()[3] == 1


@camvid.needs_camvid
def test_camvid_is_clean_and_mostly_road_and_buildings():
    splits = open_masks(camvid.ROOT, ignore_index=camvid.VOID, val_fraction=0.1, classes=camvid.CLASSES)
    assert [len(split.rows) for split in splits[:3]] == [367, 101, 233]
    counts = count_pixels(splits.val)
    assert counts.bad == splits.bad == ()
    assert counts.pixels.sum() + counts.ignored == 101 * 360 * 480
    assert {camvid.CLASSES[i] for i in np.argsort(counts.pixels)[-2:]} == {"road", "building"}
    wrong = open_masks(camvid.ROOT, ignore_index=255, val_fraction=0.1, classes=camvid.CLASSES)
    with pytest.raises(ValueError, match=r"hold 11; expected 0 to 10"):
        wrong.train.source.mask(0)
