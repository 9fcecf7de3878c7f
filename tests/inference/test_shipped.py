"""The weights that come with the package: there, usable without a network, and as good as their cards say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.ops import box_iou

import dsmixer
from dsmixer.data.boxes.survey import open_boxes
from dsmixer.data.splits import open_splits
from dsmixer.weights import packaged, read_about, variant_and_tag

DATA = Path(os.environ.get("DSMIXER_DATA", Path(__file__).parents[2] / "../shared/data"))
SHIPPED = {"dsm_zepto.cifar10": ("cifar10", 10), "dsm_zepto.tiny_imagenet_100": ("tiny-imagenet-100", 100)}
WITHOUT_A_NETWORK = """
import json, socket, sys

class Blocked(socket.socket):
    def __init__(self, *_, **__):
        raise OSError("a socket was opened")

socket.socket = Blocked
import timm, torch, dsmixer
from dsmixer.cli import main

classes = {}
for name in sys.argv[2:]:
    model = timm.create_model(name, pretrained=True).eval()
    with torch.inference_mode():
        logits = model(torch.rand(2, *model.pretrained_cfg["input_size"]))
    assert logits.isfinite().all() and not torch.equal(logits[0], logits[1])
    classes[name] = [logits.shape[1], len(model.pretrained_cfg["label_names"])]
print(json.dumps(classes))
sys.exit(main(["predict", sys.argv[1]]))
"""


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch):
    monkeypatch.delenv("DSMIXER_WEIGHTS", raising=False)


def test_both_are_loaded_and_predict_without_a_network(photo):
    assert set(packaged()) >= set(SHIPPED)
    command = [sys.executable, "-W", "error", "-c", WITHOUT_A_NETWORK, str(photo), *SHIPPED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    classes, line = map(json.loads, done.stdout.splitlines())
    assert classes == {name: [count, count] for name, (_, count) in SHIPPED.items()}
    assert line["image"] == str(photo)
    assert line["top"][0]["class"] in dsmixer.load("dsm_zepto.tiny_imagenet_100").classes  # the default: most classes
    assert 0 < line["top"][0]["probability"] <= 1


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, (data, _) in SHIPPED.items()])
def test_their_accuracy_on_200_test_images_is_near_the_cards(name, data):
    if not (DATA / data).is_dir():
        pytest.skip(f"no {data} in DSMIXER_DATA")
    card = packaged()[name].with_suffix(".md").read_text()
    whole = float(re.search(r"top-1 ([\d.]+) %", card)[1]) / 100
    model, test = dsmixer.load(name), open_splits("parquet", str(DATA / data), 0.04).test
    rows = test.rows[np.linspace(0, len(test.rows) - 1, 200).round().astype(int)]
    found = model.predict([test.source.read(int(row)) for row in rows], top_k=1)
    truth = [test.source.classes[label] for label in test.source.labels[rows]]
    right = np.mean([prediction.top[0][0] == label for prediction, label in zip(found, truth, strict=True)])
    assert right == pytest.approx(whole, abs=4 * (whole * (1 - whole) / 200) ** 0.5)  # four standard errors


def test_the_detector_finds_white_cells():
    if not (DATA / "bccd").is_dir():
        pytest.skip("no bccd in DSMIXER_DATA")
    model, test = dsmixer.load("dsm_zepto-fcos.bccd"), open_boxes(str(DATA / "bccd"), 0.1).test
    white = model.classes.index("WBC")
    there = found = 0
    for row in test.rows[::5]:
        truth = test.source.objects(row)
        boxes = torch.from_numpy(truth.boxes[truth.labels == white]).double()
        (answer,) = model.predict(test.source.image(row, "RGB"), min_score=0.3)
        near = box_iou(boxes, torch.from_numpy(answer.found.boxes[answer.found.labels == white]).double()) > 0.5
        there, found = there + len(boxes), found + int(near.any(1).sum())
    assert there >= 10
    assert found / there > 0.8


def test_whatever_ships_is_small_half_precision_and_has_a_card():
    for name, path in packaged().items():
        assert path.stat().st_size <= 12e6
        assert path.with_suffix(".md").is_file()
        about = read_about(path)
        assert "-".join(filter(None, (about.architecture, about.head))) == variant_and_tag(name)[0]
        assert {tensor.dtype for tensor in load_file(path).values() if tensor.is_floating_point()} == {torch.float16}
