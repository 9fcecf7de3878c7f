"""The parts of a run that tells classes."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dsmixer.cli.parts import Parts
from dsmixer.config import Config, DataConfig, OptimConfig

if TYPE_CHECKING:
    from torch import nn

    from dsmixer.data.splits import Splits
    from dsmixer.data.transforms import Transform
    from dsmixer.engine.distributed import Group
    from dsmixer.tasks.training_loss import TrainingLoss


def parts(config: Config, begin: bool, group: "Group", say: Callable[[str], None]) -> Parts:
    """Images with one label each, a timm model, cross-entropy."""
    from dsmixer.data.cache import in_memory
    from dsmixer.data.describe import describe
    from dsmixer.data.loader import Images
    from dsmixer.data.splits import open_splits
    from dsmixer.tasks.classification import Classification

    data, seed = config.data, config.run.seed
    splits = open_splits(data.name, data.root, data.val_fraction, data.allow_outside)
    for line in describe(splits):
        say(line)
    mode = "L" if data.in_chans == 1 else "RGB"
    splits = in_memory(splits, mode) if data.cache == "memory" else splits
    model = _model(config, splits.classes, begin, say)
    augment, plain = transforms(data)
    used = ("in_chans", "image_size", "mean", "std", "crop_pct", "interpolation")
    source = splits.test.source
    task = Classification(
        splits.classes,
        training=training_loss(data, config.optim, splits),
        picture=lambda row: source.image(row, mode),
        choose_within=config.optim.choose_within,
    )
    return Parts(
        model,
        task,
        train=Images(splits.train, mode, augment, seed, replace=True),
        val=Images(splits.val, mode, plain, seed),
        test=Images(splits.test, mode, plain, seed),
        classes=splits.classes,
        images=splits.images,
        bad=splits.bad,
        order=None,
        about={
            "architecture": config.model.name,
            "model_kwargs": config.model.kwargs,
            "num_classes": len(splits.classes),
            "class_names": splits.classes,
            **{name: getattr(data, name) for name in used},
        },
    )


def _model(config: Config, classes: list[str], begin: bool, say: Callable[[str], None]) -> "nn.Module":
    from dsmixer.engine.model import build_model, freeze_backbone, load_weights

    name, weights = str(config.model.name), config.model.weights
    model = build_model(
        name,
        config.model.kwargs,
        num_classes=len(classes),
        in_chans=config.data.in_chans,
        drop_path_rate=config.model.drop_path_rate,
        image_size=config.data.image_size,
        seed=config.run.seed,
        pretrained=weights == "timm" and begin,
    )
    if weights and begin:
        say("started from timm's weights" if weights == "timm" else load_weights(model, name, Path(weights), classes))
    if config.model.freeze == "backbone":
        say(freeze_backbone(model, name))
    return model


def transforms(data: DataConfig) -> "tuple[Transform, Transform]":
    """For training, and for evaluation."""
    from dsmixer.data.transforms import eval_transform, train_transform

    random = train_transform(
        data.image_size,
        data.mean,
        data.std,
        crop_pct=data.crop_pct,
        interpolation=data.interpolation,
        hflip=data.hflip,
        vflip=data.vflip,
        crop_padding=data.crop_padding,
        crop_scale=data.crop_scale,
        crop_ratio=data.crop_ratio,
        crop_interpolation=data.crop_interpolation,
        rotate=data.rotate,
        translate=data.translate,
        scale=data.scale,
        rand_augment=data.rand_augment,
        color_jitter=data.color_jitter,
        erase=data.erase,
        erase_count=data.erase_count,
        erase_mode=data.erase_mode,
    )
    return random, eval_transform(data.image_size, data.mean, data.std, data.crop_pct, data.interpolation)


def training_loss(data: DataConfig, optim: OptimConfig, splits: "Splits") -> "TrainingLoss":
    """Mixing, smoothing, and the weights of the classes of train."""
    import numpy as np

    from dsmixer.tasks.training_loss import TrainingLoss, balanced

    counts = np.bincount(splits.train.source.labels[splits.train.rows], minlength=len(splits.classes))
    return TrainingLoss(
        len(splits.classes),
        loss=optim.loss,
        label_smoothing=optim.label_smoothing,
        bce_threshold=optim.bce_threshold,
        class_weights=balanced(counts) if optim.class_weights == "balanced" else None,
        mixup=data.mixup,
        cutmix=data.cutmix,
        mix_prob=data.mix_prob,
        mix_switch=data.mix_switch,
        mix_mode=data.mix_mode,
        mix_epochs=data.mix_epochs,
    )
