"""The configuration explains itself and refuses what cannot work."""

import subprocess
import sys
from dataclasses import fields

import pytest

from dsmixer.config import SECTIONS, Config, DataConfig, field_docs


def test_every_field_has_a_text_and_the_defaults_are_valid():
    for section in SECTIONS.values():
        docs = field_docs(section)
        assert list(docs) == [field.name for field in fields(section)]
        assert all(len(text) > 10 for text in docs.values())
    Config(data=DataConfig(root="images")).check()  # the one thing that only the user knows


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.batch_size", 0),
        ("data.val_fraction", 0.0),
        ("data.hflip", 1.5),
        ("data.mean", [0.5]),
        ("data.std", [0.5, 0.0, 0.5]),
        ("data.root", None),
        ("data.crop_pct", 0.0),
        ("data.crop_ratio", 0.5),
        ("data.repeats", 0),
        ("data.erase_count", 0),
        ("data.mix_epochs", 3),
        ("optim.epochs", 0),
        ("optim.lr", float("nan")),
        ("optim.warmup_epochs", 1000.0),
        ("optim.clip_grad", -1.0),
        ("optim.bce_threshold", 0.2),
        ("model.name", None),
        ("model.freeze", "backbone"),
        ("model.drop_path_rate", 1.0),
        ("model.kwargs", {"num_classes": 3}),
        ("run.seed", -1),
        ("optim.schedule", "step"),
        ("optim.drop_epochs", [8, 11]),
        ("optim.power", 0.9),
        ("optim.lr_batch", 0),
        ("optim.layer_decay_by", "stage"),
        ("model.head_kwargs", {"dim": 64}),
        ("masks.ignore_index", 11),
        ("boxes.longest", 400),
    ],
)
def test_a_value_that_cannot_work_is_named(key, value):
    complaint(key, value, Config(data=DataConfig(root="images")))


@pytest.mark.parametrize(
    ("head", "key", "value"),
    [
        ("upernet", "data.mixup", 0.8),
        ("upernet", "optim.label_smoothing", 0.1),
        ("upernet", "boxes.short_sides", [480, 800]),
        ("upernet", "masks.scale", [2.0, 0.5]),
        ("upernet", "masks.hard_below", 1.0),
        ("fcos", "masks.dice", 1.0),
        ("fcos", "data.cache", "memory"),
        ("fcos", "data.in_chans", 1),
        ("fcos", "optim.class_weights", "balanced"),
        ("fcos", "boxes.jitter", [0.5]),
        ("fcos", "boxes.short_sides", []),
        ("fcos", "boxes.crop", [600, 384]),
        ("fcos", "boxes.jitter_side", 512),
        ("fcos", "data.image_size", 512),
    ],
)
def test_a_value_that_another_task_looks_at_is_refused(head, key, value):
    config = Config(data=DataConfig(root="images"))
    config.model.head = head
    if key == "data.in_chans":
        config.data.mean, config.data.std = [0.5], [0.5]
    complaint(key, value, config)


@pytest.mark.parametrize(("key", "value"), [("boxes.short_sides", [480, 800]), ("boxes.crop", [384, 600])])
def test_jitter_alone_decides_the_sizes(key, value):
    config = Config(data=DataConfig(root="images"))
    config.model.head, config.boxes.jitter = "fcos", [0.1, 2.0]
    config.check()
    complaint(key, value, config)


def test_epochs_of_drops_rise_within_the_run():
    config = Config(data=DataConfig(root="images"))
    config.optim.schedule, config.optim.epochs = "step", 12
    for drops in ([11, 8], [8, 8], [0], [12]):
        complaint("optim.drop_epochs", drops, config)
    config.optim.drop_epochs = [8, 11]
    config.check()


def complaint(key, value, config):
    """Set the value and expect a sentence that names its field."""
    section, name = key.split(".")
    setattr(getattr(config, section), name, value)
    with pytest.raises(ValueError, match=key.replace(".", r"\.")):
        config.check()


def test_config_and_command_line_load_nothing_slow():
    code = "import sys, dsmixer.config, dsmixer.cli.train; print({'torch', 'timm', 'torchvision'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
