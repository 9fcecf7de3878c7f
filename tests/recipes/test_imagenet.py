"""The ImageNet recipes run: a few steps of each, shrunken, on a folder laid out as ImageNet is."""

import csv
import json

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors import safe_open

from dsmixer.cli.options import read_recipe
from tests.engine.shrunken import train

WNIDS = ("n01440764", "n01443537", "n02102040", "n03000684")
TINY = ["--data.batch_size=8", "--data.workers=0", "--optim.epochs=2", "--optim.warmup_epochs=1", "--run.threads=1"]
KWARGS = "--model.kwargs={depths: [1, 1, 1, 1], dims: [8, 8, 16, 16]}"


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """24 training and 8 validation photos, so to speak: color, a gray one and a CMYK one, none square."""
    root, random = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 2)):
        for label, wnid in enumerate(WNIDS):
            (root / split / wnid).mkdir(parents=True)
            for number in range(count):
                size = (40 + 7 * number, 64 - 5 * label, 3)
                image = Image.fromarray(random.integers(60 * label, 60 * label + 70, size, np.uint8))
                mode = {0: "L", 1: "CMYK"}.get(number, "RGB") if label == 0 else "RGB"
                image.convert(mode).save(root / split / wnid / f"{wnid}_{number}.JPEG", "JPEG")
    return root


def run(recipe, imagenet, out, *options):
    assert train(f"--recipe={recipe}", f"--data.root={imagenet}", f"--out={out}", *TINY, *options) == 0
    config = yaml.safe_load((out / "config.yaml").read_text())
    recipe_content = read_recipe(recipe)[1]
    for key in ("rand_augment", "mixup", "cutmix", "erase", "crop_scale", "hflip"):
        assert config["data"][key] == recipe_content["data"][key]  # nothing was switched off to make it run
    assert config["optim"]["ema_decay"] == 0.9999
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["1", "2"] if config["optim"]["accumulate"] > 1 else ["3", "6"]
    assert all(np.isfinite(float(row[name])) for row in rows for name in row)
    result = json.loads((out / "result.json").read_text())
    assert (result["train_images"], result["val_images"], result["test_images"]) == (24, 4, 8)
    return out / "model.safetensors"


def about(path):
    with safe_open(path, "pt") as file:
        return {
            key: value if key == "architecture" else json.loads(value)
            for key, value in file.metadata().items()
            if key != "format"
        }


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_a_few_steps_of_each_size_and_of_its_fine_tuning(size, imagenet, tmp_path):
    weights = run(
        f"imagenet_1k_{size}", imagenet, tmp_path / "a", KWARGS, "--data.image_size=32", "--optim.accumulate=2"
    )
    assert about(weights)["crop_pct"] == 0.875
    assert about(weights)["class_names"] == list(WNIDS)
    if size == "tiny":
        larger = run(
            "imagenet_1k_384", imagenet, tmp_path / "b", f"--model.weights={tmp_path / 'a'}", "--data.image_size=48"
        )
        assert about(larger)["architecture"] == "dsm_tiny"  # found in the weights, with the arguments it was made with
        assert about(larger)["model_kwargs"]["dims"] == [8, 8, 16, 16]
        assert about(larger)["image_size"] == 48
