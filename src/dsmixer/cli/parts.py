"""The parts of a run that are made from many values of the configuration."""

from typing import TYPE_CHECKING

from dsmixer.config import DataConfig, OptimConfig

if TYPE_CHECKING:
    from dsmixer.data.splits import Splits
    from dsmixer.data.transforms import Transform
    from dsmixer.tasks.training_loss import TrainingLoss


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
