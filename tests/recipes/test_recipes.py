"""Every recipe explains itself, repeats no default, and asks for a network that can be built."""

import re
from importlib import resources
from pathlib import Path

import pytest
import timm
import torch

import dsmixer  # noqa: F401 - registers the models
from dsmixer.cli.options import flat, read_recipe, recipes, resolve
from dsmixer.config import Config

ASKED = {"data.root": "--data.root=images", "model.name": "--model.weights=weights.safetensors"}  # of the user
HEADER = ("Command", "Source", "Cost", "Expected", "Measured")


def load(name):
    content = read_recipe(name)[1]
    given = [] if content["data"].get("name") == "digits" else [ASKED["data.root"]]
    return content, resolve(content, [*given, *([ASKED["model.name"]] if content["model"]["name"] is None else [])])


def test_the_promised_recipes_are_there():
    sizes = {f"imagenet_1k_{size}" for size in ("tiny", "small", "base", "384")}
    assert set(recipes()) >= {"digits", "cifar10", "tiny_imagenet_100", "finetune", *sizes}


@pytest.mark.parametrize("name", recipes())
def test_its_header_says_what_it_is(name):
    text = resources.files("dsmixer.recipes").joinpath(f"{name}.yaml").read_text()
    header = text.partition("\nmodel:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    fields = dict(re.findall(r"^# (\w+): +(.+(?:\n#  +.+)*)", header, re.MULTILINE))
    assert tuple(fields) == HEADER
    assert f"--recipe {name}" in fields["Command"]
    assert re.match(r"no\.|\d", fields["Measured"])  # a figure, or that there is none
    if fields["Measured"].startswith("no"):
        assert not re.match(r"\d", fields["Expected"])  # what nobody measured is not promised either


@pytest.mark.parametrize("name", recipes())
def test_it_repeats_no_default(name):
    content, config = load(name)
    changed, defaults = flat(config), flat(Config())
    for section, values in content.items():
        for key in (f"{section}.{name}" for name in values):
            assert key == "model.name" or changed[key] != defaults[key], f"{key} is the default"


@pytest.mark.parametrize("name", recipes())
def test_its_network_is_registered_and_takes_its_images(name):
    config = load(name)[1]
    if config.model.name is None:
        return  # the weights say
    options = {"drop_path_rate": config.model.drop_path_rate, **config.model.kwargs}
    side = config.data.image_size
    with torch.device("meta"):
        model = timm.create_model(config.model.name, in_chans=config.data.in_chans, num_classes=7, **options)
        assert model(torch.empty(2, config.data.in_chans, side, side)).shape == (2, 7)


@pytest.mark.parametrize(
    ("size", "drop_path", "magnitude"), [("tiny", 0.2, "m9"), ("small", 0.4, "m12"), ("base", 0.5, "m15")]
)
def test_imagenet_is_trained_as_hornet_gf(size, drop_path, magnitude):
    """Rao et al. 2022, as in their repository: what differs between the sizes, and the batch that the rate is for."""
    config = load(f"imagenet_1k_{size}")[1]
    assert config.model.name == f"dsm_{size}"
    assert config.model.drop_path_rate == drop_path
    assert config.data.rand_augment == f"rand-{magnitude}-mstd0.5-inc1"
    optim = config.optim
    assert (optim.name, optim.lr, config.data.batch_size * optim.accumulate) == ("adamw", 4e-3, 4096)
    assert (optim.weight_decay, optim.clip_grad, optim.ema_decay, optim.epochs) == (0.05, 1.0, 0.9999, 300)


def test_the_page_about_recipes_names_them_all_and_only_options_that_exist():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|.*\| (?:yes|no)\b", text, re.MULTILINE)) == set(recipes())
    named = set(re.findall(r"\b((?:model|data|optim|run)\.[a-z_]+)\b", text)) - {"model.safetensors"}
    assert named <= set(flat(Config()))
    for size in ("tiny", "small", "base"):
        config = load(f"imagenet_1k_{size}")[1]
        magnitude = config.data.rand_augment.split("-")[1]
        assert f"| `imagenet_1k_{size}` | {config.model.drop_path_rate} | {magnitude} |" in text
