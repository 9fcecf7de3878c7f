"""A network for 8x8 digits that has learned nothing, as `dsmixer train` would save it: enough to use it."""

import json

import pytest
import timm
import torch
from PIL import Image

from dsmixer.data.splits import open_splits
from dsmixer.engine.model import save_weights

from ..data.conftest import folder, write

__all__ = ["folder", "write"]

ABOUT = {
    "architecture": "dsm_test",
    "model_kwargs": {"stem_stride": 2, "depths": [1, 1], "dims": [8, 16]},
    "class_names": [str(digit) for digit in range(10)],
    "image_size": 8,
    "in_chans": 1,
    "mean": [0.3053],
    "std": [0.3762],
}


COLOR = {"in_chans": 3, "mean": [0.5] * 3, "std": [0.25] * 3}


def write_weights(path, **changes):
    about = {**ABOUT, **changes}
    torch.manual_seed(0)
    model = timm.create_model(
        about["architecture"],
        num_classes=len(about["class_names"]),
        in_chans=about["in_chans"],
        **about["model_kwargs"],
    )
    save_weights(path, model.state_dict(), about)
    return path


def write_header(path, **changes):
    """Weights without tensors: what only the header decides."""
    about = {**ABOUT, **changes}
    texts = {key: value if key == "architecture" else json.dumps(value) for key, value in about.items()}
    header = json.dumps({"__metadata__": {key: text for key, text in texts.items() if about[key] is not None}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "model.safetensors")


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """Some test digits as files, with their rows."""
    folder, test = tmp_path_factory.mktemp("digits"), open_splits("digits", None, 0.1).test
    for place, row in enumerate(test.rows[:40]):
        test.source.image(int(row), "L").save(folder / f"{place:02}.png")
    return folder


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.linear_gradient("L").save(path)
    return path
