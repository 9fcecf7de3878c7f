"""The recipes for pixels and objects run: a few steps of each, shrunken, on folders laid out as their data is."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from dsmixer.cli import main
from dsmixer.cli.options import read_recipe, recipes, resolve
from tests.data.annotated import coco, write_coco, write_voc
from tests.engine.dense import CLASSES, NETWORK, SHORT, write_masks
from tests.engine.shrunken import train

ADE20K = sorted(name for name in recipes() if name.startswith("ade20k_"))
COCO = sorted(name for name in recipes() if name.startswith("coco_"))
DROPS = "--optim.drop_epochs=[1]"


@pytest.fixture(scope="module")
def ade20k(tmp_path_factory):
    """Folders training and validation; values from 1, 0 where nothing is scored; names in classes.txt."""
    root = tmp_path_factory.mktemp("ade20k")
    for split, count in (("training", 7), ("validation", 3)):
        for number in range(count):
            mask = np.zeros((40 + 8 * number, 72), np.uint8)
            mask[:, 8:40], mask[:, 40:] = 1, 3
            for folder, image in (("images", mask * 60), ("annotations", mask)):
                (root / folder / split).mkdir(parents=True, exist_ok=True)
                name = f"ADE_{number:08d}.{'jpg' if folder == 'images' else 'png'}"
                Image.fromarray(image).save(root / folder / split / name)
    (root / "classes.txt").write_text("wall\nbuilding\nsky\n")
    return root


@pytest.fixture(scope="module")
def coco2017(tmp_path_factory):
    """Numbers of categories with gaps; one image without objects, one crowd."""
    root = tmp_path_factory.mktemp("coco")
    for split, images in (("train2017", 6), ("val2017", 3)):
        data = coco(images=images)
        del data["annotations"][0]
        data["annotations"][0]["iscrowd"] = 1
        write_coco(root, split, data, name=f"instances_{split}.json")
    return root


def run(recipe, root, out, *options):
    arguments = [f"--recipe={recipe}", *NETWORK, *SHORT, f"--data.root={root}", f"--out={out}", *options]
    assert train(*arguments) == 0
    config, content = yaml.safe_load((out / "config.yaml").read_text()), read_recipe(recipe)[1]
    kept = {
        "model": ("head", "drop_path_rate"),
        "optim": ("schedule", "lr", "lr_batch", "weight_decay", "layer_decay", "layer_decay_by"),
    }
    for section, names in kept.items():
        for name in set(names) & set(content[section]):
            assert config[section][name] == content[section][name]  # nothing was switched off to make it run
    return json.loads((out / "result.json").read_text())


@pytest.mark.parametrize("recipe", ADE20K)
def test_ade20k(recipe, ade20k, tmp_path):
    narrow = "{pyramid_dim: 8, dim: 8}" if recipe == "ade20k_fpn" else "{dim: 8}"
    small = ["--data.image_size=32", "--masks.short_side=32", "--data.val_fraction=0.2"]
    result = run(recipe, ade20k, tmp_path / "run", f"--model.head_kwargs={narrow}", *small)
    assert (result["train_images"], result["val_images"], result["test_images"]) == (6, 1, 3)
    assert 0 <= result["test"]["mIoU"] <= 1


@pytest.mark.parametrize("recipe", COCO)
def test_coco(recipe, coco2017, tmp_path):
    small = ["--boxes.short_sides=[40, 48]", "--boxes.test_short_side=48", "--boxes.longest=64"]
    few = ", rpn_post_nms_top_n_train: 20, rpn_post_nms_top_n_test: 20" if "maskrcnn" in recipe else ""
    narrow = f"--model.head_kwargs={{fpn_channels: 16{few}}}"
    result = run(recipe, coco2017, tmp_path / "run", narrow, *small, DROPS, "--data.val_fraction=0.4")
    assert result["test_images"] == 3
    assert 0 <= result["test"]["AP"] <= 1
    assert ("mask_AP" in result["test"]) == ("maskrcnn" in recipe)


def test_camvid(tmp_path):
    root = write_masks(tmp_path / "data")
    small = ["--data.image_size=32", "--masks.short_side=32", f"--masks.classes={json.dumps(CLASSES)}"]
    losses = ["--masks.dice=0.5", "--masks.hard_below=0.7", "--optim.class_weights=balanced"]  # all at once
    run("camvid", root, tmp_path / "run", *small, *losses, "--masks.ignore_index=255")


def test_a_recipes_options_of_its_head_are_not_given_to_another():
    asked = ["--data.root=x", "--model.head=upernet"]
    assert resolve(read_recipe("camvid")[1], asked).model.head_kwargs == {}
    assert resolve(read_recipe("camvid")[1], ["--data.root=x"]).model.head_kwargs == {"pyramid_dim": 64, "dim": 64}
    given = resolve(read_recipe("camvid")[1], [*asked, "--model.head_kwargs={dim: 8}"])
    assert given.model.head_kwargs == {"dim": 8}


def test_bccd_on_pascal_voc_from_check_to_predict(tmp_path, capsys):
    objects = [("cat", 5, 7, 20, 26, 0), ("dog", 30, 10, 50, 40, 0)]
    names = {"train": ["a", "b", "c", "d"], "val": ["e", "f"], "test": ["g", "h"]}
    root, out = tmp_path / "data", tmp_path / "run"
    write_voc(root, names, {name: objects for split in names.values() for name in split})
    assert main(["check", str(root)]) == 0
    assert "copies          7 of earlier images, byte for byte" in capsys.readouterr().out
    result = run("bccd", root, out, "--boxes.short_sides=[48]", "--boxes.test_short_side=48", "--boxes.longest=64")
    assert result["test_images"] == 2
    assert main(["evaluate", str(out), f"--out={tmp_path / 'judged'}", "--sizes"]) == 0
    assert main(["predict", str(root / "JPEGImages" / "g.jpg"), "--weights", str(out), "--min-score", "0"]) == 0
    assert '"class": "cat"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 77}, "object in an image that is not listed"),
        ({"category_id": 77}, "object of a category that is not listed"),
    ],
)
def test_annotations_that_must_be_corrected_end_a_run_before_it_begins(change, message, tmp_path, capsys):
    for split in ("train", "val", "test"):
        data = coco(images=4)
        data["annotations"][0] |= change if split == "train" else {}
        write_coco(tmp_path / "data", split, data)
    small = ["--boxes.short_sides=[48]", "--boxes.test_short_side=48", "--boxes.longest=64", "--optim.epochs=1"]
    arguments = [
        "--recipe=bccd",
        *NETWORK,
        *SHORT,
        *small,
        f"--data.root={tmp_path / 'data'}",
        f"--out={tmp_path / 'run'}",
    ]
    assert train(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"dsmixer: error: train.json: {message}: 1 (annotation 100")
    assert not (tmp_path / "run").exists()


def test_bccd_with_large_scale_jitter(tmp_path):
    for split in ("train", "val", "test"):
        write_coco(tmp_path / "data", split, coco(images=4))
    small = [
        "--boxes.short_sides=[800]",
        "--boxes.jitter=[0.5, 2.0]",
        "--boxes.jitter_side=64",
        "--boxes.test_short_side=48",
        "--boxes.longest=64",
    ]
    run("bccd", tmp_path / "data", tmp_path / "run", *small)
