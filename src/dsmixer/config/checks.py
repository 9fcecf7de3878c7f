"""What values of a configuration may be, alone and beside each other; every complaint is one sentence."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsmixer.config import Config

LABEL_PIXELS = ("upernet", "semantic_fpn")
FIND_OBJECTS = ("fasterrcnn", "maskrcnn", "retinanet", "fcos")
# What a head's data is, in the words of `dsmixer.data.layout`
READS = {**dict.fromkeys(LABEL_PIXELS, "masks"), **dict.fromkeys(FIND_OBJECTS, "boxes")}
NO_DROPS = '--optim.drop_epochs "[]"'
# What changes images, targets or the choice of the best epoch for classes alone
CLASSES_ALONE = """
    model.freeze data.name data.allow_outside data.cache data.crop_pct data.interpolation data.repeats data.vflip
    data.crop_padding data.crop_scale data.crop_ratio data.crop_interpolation data.rotate data.translate data.scale
    data.rand_augment data.color_jitter data.erase data.erase_count data.erase_mode data.mixup data.cutmix data.mix_prob
    data.mix_switch data.mix_mode data.mix_epochs optim.loss optim.bce_threshold optim.label_smoothing
    optim.choose_within
"""


def check(config: "Config") -> None:
    """Raise ``ValueError``, naming the field, what it got and what would work."""
    for key, value, (low, high), wanted in limits(config):
        if value is not None and not (low <= value <= high and math.isfinite(value)):
            raise ValueError(f"{key} is {value}, but it must be {wanted}")
    for wrong in (_images, _schedule, _contradictions, _of_another_task, _boxes, _ranges):
        for complaint in wrong(config):
            raise ValueError(complaint)


def _images(config: "Config") -> Iterator[str]:
    """The data's own fields beside each other."""
    data = config.data
    for key, values in (("data.mean", data.mean), ("data.std", data.std)):
        if len(values) != data.in_chans:
            yield f"{key} has {len(values)} values, but data.in_chans is {data.in_chans}: give one a channel"
    if min(data.std) <= 0:
        yield f"data.std is {data.std}, but every value must be above 0"
    if data.name != "digits" and data.root is None:
        yield f"data.name is {data.name}, but data.root is not set: give it with --data.root PATH"
    if data.name == "digits" and data.root is not None:
        yield f"data.name is digits, which come without data.root; for {data.root}: --data.name auto"
    if data.rand_augment and data.in_chans != 3:
        yield f"data.rand_augment works on color; data.in_chans is {data.in_chans}, so set it to null"
    if (data.mixup or data.cutmix) and data.batch_size % 2:
        yield f"data.batch_size is {data.batch_size}, but data.mixup and data.cutmix pair images: even only"


def _schedule(config: "Config") -> Iterator[str]:
    """The learning rate over the epochs."""
    optim = config.optim
    if optim.warmup_epochs > optim.epochs:
        yield (
            f"optim.warmup_epochs is {optim.warmup_epochs}, but optim.epochs is only {optim.epochs}: shorten it, for "
            "instance --optim.warmup_epochs 0"
        )
    if optim.schedule == "step" and not optim.drop_epochs:
        yield "optim.schedule is step, but optim.drop_epochs is empty: say after which epochs, such as [8, 11]"
    if optim.drop_epochs and optim.schedule != "step":
        yield f"optim.drop_epochs is {optim.drop_epochs}, but optim.schedule is {optim.schedule}, not step: {NO_DROPS}"
    if optim.drop_epochs != sorted(set(optim.drop_epochs)) or not all(0 < d < optim.epochs for d in optim.drop_epochs):
        yield (
            f"optim.drop_epochs is {optim.drop_epochs}, but must rise, between 0 and the {optim.epochs} epochs; "
            f"without any: --optim.schedule cosine {NO_DROPS}"
        )
    if optim.layer_decay is None and optim.layer_decay_by != "block":
        yield f"optim.layer_decay_by is {optim.layer_decay_by}, but optim.layer_decay is null"
    if optim.power != 1 and optim.schedule != "poly":
        yield f"optim.power is {optim.power}, but optim.schedule is {optim.schedule}, not poly"


def _contradictions(config: "Config") -> Iterator[str]:
    """Values that would do nothing, or nothing sensible, beside others."""
    model, data, optim = config.model, config.data, config.optim
    if data.mix_epochs is not None and not (data.mixup or data.cutmix):
        yield f"data.mix_epochs is {data.mix_epochs}, but neither data.mixup nor data.cutmix is on"
    if optim.bce_threshold is not None and optim.loss != "bce":
        yield f"optim.bce_threshold is {optim.bce_threshold}, but optim.loss is {optim.loss}, not bce"
    if model.name is None and model.weights in (None, "timm"):
        yield (
            f"model.name is null and model.weights is {model.weights or 'null'}: name the model, such as "
            "--model.name convnext_atto, or the weights to take the name from, such as --model.weights RUN"
        )
    if model.freeze == "backbone" and model.weights is None:
        yield "model.freeze is backbone, but model.weights is null: only weights that were trained are worth keeping"
    clash = {"num_classes", "in_chans", "drop_path_rate", "pretrained"} & set(model.kwargs)
    if clash:
        yield f"model.kwargs may not set {', '.join(sorted(clash))}: a field or the data decides that"


def _of_another_task(config: "Config") -> Iterator[str]:
    """Values that this task does not look at."""
    head = config.model.head
    if head is None and config.model.head_kwargs:
        yield f"model.head_kwargs is {config.model.head_kwargs}, but model.head is null"
    idle = CLASSES_ALONE.split() if head else []
    idle += [] if head in LABEL_PIXELS else [f"masks.{name}" for name in vars(config.masks)]
    idle += [] if head in FIND_OBJECTS else [f"boxes.{name}" for name in vars(config.boxes)]
    for key in idle:
        section, name = key.split(".")
        values = getattr(config, section)
        if getattr(values, name) != getattr(type(values)(), name):
            yield f"{key} is {getattr(values, name)}, but model.head is {head or 'null'}, which does not look at it"
    if head in FIND_OBJECTS:
        if config.optim.class_weights != "none":
            yield f"optim.class_weights is {config.optim.class_weights}, but model.head {head} does not weigh classes"
        if config.data.image_size != type(config.data).image_size:
            yield f"data.image_size is {config.data.image_size}, but model.head {head} takes its sizes from boxes"
        if config.data.in_chans != 3:
            yield f"data.in_chans is {config.data.in_chans}, but model.head {head} takes color alone: 3"


def _boxes(config: "Config") -> Iterator[str]:
    """How training images of a detector are resized: in one way."""
    boxes, usual = config.boxes, type(config.boxes)()
    if boxes.jitter is not None:
        for name in ("short_sides", "crop"):
            if getattr(boxes, name) != getattr(usual, name):
                value = getattr(boxes, name)
                yield f"boxes.{name} is {value}, but boxes.jitter decides the sizes: set it to {getattr(usual, name)}"
    elif boxes.jitter_side != usual.jitter_side:
        yield f"boxes.jitter_side is {boxes.jitter_side}, but boxes.jitter is null"
    if boxes.crop is not None and (len(boxes.crop) != 2 or not 0 < boxes.crop[0] <= boxes.crop[1]):
        yield f"boxes.crop is {boxes.crop}, but it must be a least and a longest side, such as [384, 600]"


def _ranges(config: "Config") -> Iterator[str]:
    """Lists of two, from low to high, and of sides."""
    for key, value in (("masks.scale", config.masks.scale), ("boxes.jitter", config.boxes.jitter)):
        if value is not None and (len(value) != 2 or not 0 < value[0] <= value[1] or not math.isfinite(value[1])):
            yield f"{key} is {value}, but it must be a lowest and a highest factor, such as [0.5, 2.0]"
    if not config.boxes.short_sides or min(config.boxes.short_sides) < 1:
        yield f"boxes.short_sides is {config.boxes.short_sides}, but it must be pixels, such as [480, 800]"


def limits(config: "Config") -> list[tuple[str, float | None, tuple[float, float], str]]:
    """Of every number: its field, its value, between what it must be, and that in words."""
    unit, share, positive = (0.0, 1.0), (0.0, 1.0 - 1e-9), (1e-12, math.inf)
    natural, count = (0, math.inf), (1, math.inf)
    table = {
        "model.drop_path_rate": (share, "at least 0 and below 1"),
        "data.image_size": ((1, 16384), "a number of pixels from 1 to 16384"),
        "data.val_fraction": ((1e-9, 0.9), "above 0 and at most 0.9"),
        "data.batch_size": (count, "at least 1"),
        "data.workers": (natural, "at least 0"),
        "data.worker_timeout": (positive, "a number of seconds above 0"),
        "data.max_bad": (unit, "a share from 0 to 1"),
        "data.crop_pct": ((1e-9, 1.0), "above 0 and at most 1"),
        "data.repeats": (count, "at least 1"),
        "data.hflip": (unit, "a probability from 0 to 1"),
        "data.vflip": (unit, "a probability from 0 to 1"),
        "data.crop_padding": (natural, "at least 0"),
        "data.crop_scale": ((1e-9, 1.0), "above 0 and at most 1"),
        "data.crop_ratio": (count, "at least 1"),
        "data.rotate": ((0, 180), "from 0 to 180 degrees"),
        "data.translate": (unit, "a share from 0 to 1"),
        "data.scale": (share, "at least 0 and below 1"),
        "data.color_jitter": (unit, "a share from 0 to 1"),
        "data.erase": (unit, "a probability from 0 to 1"),
        "data.erase_count": (count, "at least 1"),
        "data.mixup": (natural, "at least 0"),
        "data.cutmix": (natural, "at least 0"),
        "data.mix_prob": (unit, "a probability from 0 to 1"),
        "data.mix_switch": (unit, "a probability from 0 to 1"),
        "data.mix_epochs": (natural, "at least 0, or null"),
        "optim.epochs": (count, "at least 1"),
        "optim.lr": (positive, "above 0"),
        "optim.min_lr": (natural, "at least 0"),
        "optim.warmup_epochs": (natural, "at least 0"),
        "optim.weight_decay": (natural, "at least 0"),
        "optim.layer_decay": ((1e-9, 1.0), "above 0 and at most 1, or null"),
        "optim.clip_grad": (positive, "above 0, or null"),
        "optim.power": (positive, "above 0"),
        "optim.lr_batch": (count, "at least 1, or null"),
        "optim.accumulate": (count, "at least 1"),
        "optim.bce_threshold": (unit, "from 0 to 1, or null"),
        "optim.label_smoothing": (share, "at least 0 and below 1"),
        "optim.ema_decay": (share, "at least 0 and below 1"),
        "optim.choose_within": (natural, "a number of standard errors, at least 0"),
        "masks.ignore_index": ((0, 65535), "from 0 to 65535"),
        "masks.short_side": (count, "at least 1, or null"),
        "masks.most_of_one_class": ((1e-9, 1.0), "above 0 and at most 1"),
        "masks.photometric": (unit, "a probability from 0 to 1"),
        "masks.auxiliary_weight": (natural, "at least 0"),
        "masks.dice": (natural, "at least 0"),
        "masks.hard_below": (share, "at least 0 and below 1"),
        "masks.hard_share": (unit, "a share from 0 to 1"),
        "boxes.longest": (count, "at least 1"),
        "boxes.test_short_side": (count, "at least 1"),
        "boxes.jitter_side": (count, "at least 1"),
        "run.seed": ((0, 2**63 - 1), "a whole number from 0"),
        "run.threads": (natural, "at least 0"),
        "run.save_every_minutes": (positive, "a number of minutes above 0"),
        "run.process_timeout": (positive, "a number of seconds above 0"),
        "run.check_every": (count, "at least 1"),
        "run.max_nonfinite": (natural, "at least 0"),
    }
    rows = []
    for key, (limits, wanted) in table.items():
        group, name = key.split(".")
        rows.append((key, getattr(getattr(config, group), name), limits, wanted))
    return rows
