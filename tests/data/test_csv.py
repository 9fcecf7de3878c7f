"""A list of images is read as it says, never outside its folder unless that is allowed."""

from pathlib import Path

import pytest

from dsmixer.data.csvfile import COLUMNS
from dsmixer.data.layout import recognize
from dsmixer.data.splits import open_data, open_splits

from .crafted import class_folders

LIST = "path,label\nants/ants-0.png,ant\nants/ants-1.png,ant\nbees/bees-0.png,bee\nbees/bees-1.png,bee\n"


@pytest.fixture
def root(tmp_path):
    return class_folders(tmp_path / "data", {"ants": 4, "bees": 4})


def test_a_list_wins_over_the_folders_that_its_images_lie_in(root):
    (root / "labels.csv").write_text(LIST)
    found = recognize(str(root))
    assert (found.kind, found.notes) == ("csv", ("labels.csv says which images",))
    train = open_data("auto", str(root))[0]["train"]
    assert (train.classes, train.labels.tolist()) == (["ant", "bee"], [0, 0, 1, 1])
    assert train.name(2) == "bees/bees-0.png"
    assert train.image(2, "RGB").size == (20, 16)
    again = open_data("auto", str(root / "labels.csv"))[0]["train"]  # the file itself may be given
    assert again.read(1) == train.read(1)


@pytest.mark.parametrize(
    "first", ["path,label,split", "split;class;file", "label\tsubset\tfilename", "file_name,label,split"]
)
def test_columns_in_any_order_by_their_usual_names_with_the_usual_separators(root, first):
    separator = next(sign for sign in ",;\t" if sign in first)
    rows = [
        ("ants/ants-0.png", "a, ant", "train"),
        ("bees/bees-0.png", "bee", "TRAIN"),
        ("ants/ants-2.png", "a, ant", "valid"),
    ]
    lines = [first]
    for path, label, split in rows:
        value = {"path": path, "file": path, "filename": path, "file_name": path, "split": split, "subset": split}
        cells = [value.get(word, label) for word in first.split(separator)]
        lines.append(separator.join(f'"{cell}"' if separator in cell else cell for cell in cells))
    (root / "x.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())  # as a spreadsheet saves it
    sources, _ = open_data("auto", str(root))
    assert sources["train"].classes == ["a, ant", "bee"]
    assert sources["val"].labels.tolist() == [0]
    assert sources["val"].name(0) == "ants/ants-2.png"


def test_a_file_for_each_split(root):
    for split in ("train", "val", "test"):
        (root / f"{split}.csv").write_text(LIST)
    (root / "notes.csv").write_text("name,remark\nx,y\n")
    splits = open_splits("auto", str(root), 0.2)
    assert [len(part.rows) for part in splits[:3]] == [4, 4, 4]


def test_paths_stay_inside_the_folder_unless_allowed(root, tmp_path):
    outside = tmp_path / "secret.png"
    outside.write_bytes((root / "ants" / "ants-0.png").read_bytes())
    (root / "link.png").symlink_to(outside)
    inside = root / "bees" / "bees-0.png"
    lines = ["path,label", "../secret.png,x", f"{outside},x", "link.png,x", f"{inside},y", "ants/../../secret.png,y"]
    (root / "labels.csv").write_text("\n".join(lines))
    train = open_data("auto", str(root))[0]["train"]
    for row in (0, 1, 2, 4):
        with pytest.raises(
            ValueError, match=r"leads outside .*; allow it with --data.allow_outside true \(.*: --allow-outside\)"
        ):
            train.read(row)
    assert train.read(3) == inside.read_bytes()
    allowed = open_data("auto", str(root), allow_outside=True)[0]["train"]
    assert allowed.read(0) == allowed.read(1) == allowed.read(2) == outside.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\nx,y\n", "has no column path in its first line; expected one called path, file, .*, file_name, "),
        ("path\nx\n", "has no column label in its first line; expected one called label, class, category, target"),
        ("path,label\nx.png,a\ny.png\n", "line 3: 1 cells, expected at least 2"),
        ("path,label\nx.png,\n", "line 2: no label"),
        ("path,label\n,a\n", "line 2: no path"),
        ("path,label,split\nx.png,a,nope\n", "line 2: split is 'nope', expected train, val or test"),
        ("path,label,split\nx.png,a,val\n", "names no training images"),
        ("path,label,split\nx.png,a,train\ny.png,b,val\n", "has the class 'b', which train does not have"),
        ("path,label\nx.png,a\n", "has only the class 'a'"),
    ],
)
def test_a_wrong_list_is_one_sentence_with_the_line(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        open_splits("auto", str(tmp_path / "list.csv"), 0.2)
    assert "\n" not in str(caught.value)


def test_of_several_lists_none_is_guessed(root):
    (root / "a.csv").write_text(LIST)
    (root / "b.csv").write_text(LIST)
    with pytest.raises(ValueError, match=r"several lists of images \(a.csv, b.csv\)"):
        recognize(str(root))


def test_a_file_that_is_missing_or_no_file_is_named(root):
    (root / "labels.csv").write_text("path,label\nnone.png,a\nants,b\n")
    train = open_data("auto", str(root))[0]["train"]
    with pytest.raises(ValueError, match=r"^none.png: cannot be read \(No such file or directory\)$"):
        train.read(0)
    with pytest.raises(ValueError, match=r"^ants: not a file$"):
        train.read(1)


def test_the_documented_names_of_columns_are_those_that_are_known():
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    for names in COLUMNS.values():
        assert ", ".join(f"`{name}`" for name in names) in " ".join(text.split())
