"""A tiny parquet data set as Hugging Face writes it."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def write_split(path, names, labels, broken=()):
    """Images whose gray level tells the class NAME: 40 times the length of the name."""
    cells = []
    for row, label in enumerate(labels):
        file = io.BytesIO()
        noise = np.random.default_rng(row).integers(0, 10, (12, 12, 3), np.uint8)
        Image.fromarray(noise + np.uint8(40 * len(names[label]) if label is not None and label >= 0 else 0)).save(
            file, "PNG"
        )
        cells.append({"bytes": file.getvalue()[:60] if row in broken else file.getvalue(), "path": None})
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        {b"huggingface": json.dumps({"info": {"features": features}}).encode()},
    )
    pq.write_table(pa.Table.from_pydict({"image": cells, "label": list(labels)}, schema), path)


@pytest.fixture
def write():
    return write_split


@pytest.fixture
def folder(tmp_path):
    """Train in two shards; test lists the classes in another order and lacks one."""
    write_split(tmp_path / "train-00000-of-00002.parquet", ["a", "bb", "ccc"], [0, 1, 2] * 10)
    write_split(tmp_path / "train-00001-of-00002.parquet", ["a", "bb", "ccc"], [2, 1] * 5)
    write_split(tmp_path / "test.parquet", ["ccc", "a"], [0, 1, 1, 0])
    return tmp_path
