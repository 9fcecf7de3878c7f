"""Parquet splits agree on what a label means, and say what is wrong with a folder."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsmixer.data.ahead import ahead
from dsmixer.data.parquet import ParquetImages, find_files, open_parquet
from dsmixer.data.splits import carve, open_splits

DATA = Path(os.environ.get("DSMIXER_DATA", Path(__file__).parents[2] / "../shared/data"))


def test_shards_are_joined_in_order(folder):
    train = open_parquet(str(folder))[0]["train"]
    assert train.labels.tolist() == [0, 1, 2] * 10 + [2, 1] * 5
    for row in (0, 1, 29, 30, 39):
        level = np.asarray(train.image(row, "L")).mean()
        assert round((level - 5) / 40) == len(train.classes[train.labels[row]])


def test_classes_are_matched_by_name_not_by_number(folder):
    splits = open_splits("parquet", str(folder), 0.2)
    assert splits.classes == ["a", "bb", "ccc"]
    source = splits.test.source
    assert source.labels.tolist() == [2, 0, 0, 2]
    assert round((np.asarray(source.image(0, "L")).mean() - 5) / 40) == 3


def test_a_class_that_train_lacks_is_an_error(folder, write):
    write(folder / "test.parquet", ["a", "dddd"], [0, 1])
    with pytest.raises(ValueError, match="'dddd', which train does not have"):
        open_parquet(str(folder))


def test_a_worker_receives_file_names_not_bytes(folder):
    train = open_parquet(str(folder))[0]["train"]
    packed = pickle.dumps(train)
    assert len(packed) < 2500
    assert pickle.loads(packed).image(3, "RGB") == train.image(3, "RGB")


def test_an_unreadable_row_is_named(folder, write):
    write(folder / "test.parquet", ["a"], [0, 0, 0], broken={1})
    with pytest.raises(ValueError, match=r"^row 1 of .*/test: damaged image"):
        open_parquet(str(folder))[0]["test"].image(1, "RGB")


def test_validation_is_carved_from_train_by_class_and_always_alike(folder):
    splits, again = (open_splits("parquet", str(folder), 0.2) for _ in range(2))
    assert np.bincount(splits.val.source.labels[splits.val.rows]).tolist() == [2, 3, 3]
    assert not set(splits.train.rows) & set(splits.val.rows)
    assert len(splits.train.rows) + len(splits.val.rows) == 40
    assert (splits.val.rows == again.val.rows).all()
    kept, held = carve(np.array([0, 1, 1]), 0.5)
    assert (kept.tolist(), len(held)) == ([0, kept[1]], 1)  # a class of one stays in train


def test_a_validation_split_of_its_own_is_used(folder, write):
    write(folder / "validation.parquet", ["a", "bb"], [0, 1, 1])
    splits = open_splits("parquet", str(folder), 0.2)
    assert (len(splits.train.rows), len(splits.val.rows), len(splits.test.rows)) == (40, 3, 4)
    (folder / "test.parquet").unlink()
    splits = open_splits("parquet", str(folder), 0.2)  # then it is the held-out one, and never chooses
    assert (len(splits.train.rows), len(splits.val.rows), len(splits.test.rows)) == (32, 8, 3)


def test_a_split_whose_labels_are_kept_back_is_left_out(folder, write):
    """As ImageNet-1k's test; then what is called validation is the held-out one."""
    write(folder / "validation.parquet", ["a", "bb"], [0, 1, 1])
    write(folder / "test.parquet", ["a", "bb"], [-1] * 4)
    splits = open_splits("parquet", str(folder), 0.2)
    assert (len(splits.train.rows), len(splits.val.rows), len(splits.test.rows)) == (32, 8, 3)
    assert "test has no labels, all are -1 or null: left out" in splits.notes
    write(folder / "test.parquet", ["a", "bb"], [None] * 4)
    assert "test" not in open_parquet(str(folder))[0]
    write(folder / "test.parquet", ["a", "bb"], [-1, 0])
    with pytest.raises(ValueError, match="has label -1, but names only 2 classes"):
        open_parquet(str(folder))


def test_a_label_that_is_null_is_named(folder, write):
    write(folder / "test.parquet", ["a", "bb"], [0, None, 1, None])
    with pytest.raises(ValueError, match=r"^row 1 of .*/test has no label: it is null, as of 2 rows of the split$"):
        open_parquet(str(folder))


def test_splits_go_by_all_their_names(folder, write):
    for shard in (0, 1):
        (folder / f"train-0000{shard}-of-00002.parquet").rename(folder / f"Training-0000{shard}-of-00002.parquet")
    (folder / "test.parquet").rename(folder / "testing.parquet")
    write(folder / "dev.parquet", ["a", "bb"], [0, 1])
    assert {split: len(files) for split, files in find_files(str(folder)).items()} == {"train": 2, "val": 1, "test": 1}
    write(folder / "validation.parquet", ["a", "bb"], [0, 1])
    with pytest.raises(ValueError, match="has two names for val: dev and validation; keep one"):
        find_files(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "train-00001-of-00002.parquet").unlink(), "lacks shards of train"),
        (lambda f: [path.unlink() for path in f.glob("train*")], "expected train"),
        (lambda f: [path.unlink() for path in f.iterdir()], "no parquet file"),
    ],
)
def test_an_incomplete_folder_is_explained_from_names_alone(folder, change, message):
    change(folder)
    with pytest.raises(ValueError, match=message):
        find_files(str(folder))


def test_files_that_are_not_what_they_should_be(folder):
    (folder / "test.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="not a readable parquet file"):
        open_parquet(str(folder))
    pq.write_table(pa.table({"image": [b""], "label": [0]}), folder / "test.parquet")
    with pytest.raises(
        ValueError, match=r"no class names: .* as `datasets` writes them .*; or give class folders, or a CSV"
    ):
        open_parquet(str(folder))
    features = {"image": {"_type": "Image"}, "label": {"_type": "Value", "dtype": "string"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": [b""], "label": ["ant"]}).replace_schema_metadata(about)
    pq.write_table(table, folder / "test.parquet")
    with pytest.raises(
        ValueError, match=r"label columns \[\]; expected one of each, .*class_encode_column makes one of"
    ):
        open_parquet(str(folder))


@pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason="no cifar10 in DSMIXER_DATA")
def test_cifar10_as_it_lies_on_disk():
    splits = open_splits("parquet", str(DATA / "cifar10"), 0.1)
    assert [len(split.rows) for split in splits[:3]] == [45000, 5000, 10000]
    assert splits.classes[:2] == ["airplane", "automobile"]
    assert splits.test.source.image(9999, "RGB").size == (32, 32)


@pytest.mark.skipif(not (DATA / "tiny-imagenet-100").is_dir(), reason="no tiny-imagenet-100 in DSMIXER_DATA")
def test_tiny_imagenet_has_two_shards_and_val_as_held_out():
    splits = open_splits("parquet", str(DATA / "tiny-imagenet-100"), 0.1)
    assert [len(split.rows) for split in splits[:3]] == [45000, 5000, 5000]
    assert splits.train.source.image(49999, "RGB").size == (64, 64)


@pytest.fixture
def grouped(tmp_path, write):
    """Two files of 24 rows each, in row groups of five."""
    for shard in range(2):
        path = tmp_path / f"train-{shard:05d}-of-00002.parquet"
        write(path, ["a", "bb", "ccc"], [0, 1, 2, 0, 2, 1] * 4, broken={7})
        pq.write_table(pq.read_table(path), path, row_group_size=5)
    return sorted(tmp_path.glob("*.parquet"))


def test_a_split_too_large_for_memory_is_read_by_row_group_and_gives_the_same(grouped):
    kept, left = ParquetImages(grouped), ParquetImages(grouped, limit=0)
    assert (kept.groups, len(left.groups.places)) == (None, 10)
    assert left.labels.tolist() == kept.labels.tolist()
    for source in (left, pickle.loads(pickle.dumps(left))):
        assert [source.read(row) for row in reversed(range(48))] == [kept.read(row) for row in reversed(range(48))]


def test_a_damaged_page_is_told_with_its_file(grouped):
    left = ParquetImages(grouped, limit=0)
    column = pq.read_metadata(grouped[1]).row_group(0).column(0)  # rows 24 to 28
    data = bytearray(grouped[1].read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    grouped[1].write_bytes(data)
    expected = f"{grouped[1]} is not a readable parquet file: "
    with pytest.raises(ValueError, match=f"^{expected}") as caught:
        ParquetImages(grouped)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"^row 24 of .*/train: {expected}"):
        left.read(24)
    assert left.read(23)
    assert left.read(29)


def test_read_in_its_own_random_order_each_row_group_is_read_once(grouped, monkeypatch):
    source, read = ParquetImages(grouped, limit=0), []
    by_group = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda *args, **kwargs: read.append(1) or by_group(*args, **kwargs)
    )
    order = source.order(np.random.default_rng(0))
    assert sorted(order) == list(range(48)) != order.tolist()
    assert len(list(ahead(source.read, order.tolist(), 4, 4))) == 48  # by threads, as `dsmixer pack` reads
    assert len(read) == 10


def test_what_stays_on_disk_is_said(grouped, monkeypatch):
    monkeypatch.setattr("dsmixer.data.parquet.machine_memory", lambda: 0)
    _, (note,) = open_parquet(str(grouped[0].parent))
    assert "read only together with its row group, here of about 4;" in note
