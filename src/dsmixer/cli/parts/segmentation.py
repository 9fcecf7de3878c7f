"""The parts of a run that labels pixels."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from dsmixer.cli.parts import Parts
from dsmixer.cli.parts.dense import dense_about, dense_model
from dsmixer.config import Config

if TYPE_CHECKING:
    from dsmixer.data.masks.folders import MaskSplits
    from dsmixer.data.masks.transforms import PairTransform
    from dsmixer.engine.distributed import Group
    from dsmixer.tasks.pixel_losses import PixelLoss


def parts(config: Config, begin: bool, group: "Group", say: Callable[[str], None]) -> Parts:
    """Images with a mask each, a backbone with a head that labels pixels."""
    from dsmixer.data.describe import counted
    from dsmixer.data.masks.batches import MaskedImages
    from dsmixer.data.masks.folders import open_masks
    from dsmixer.data.masks.transforms import whole_pair
    from dsmixer.tasks.segmentation import Segmentation
    from dsmixer.tasks.views import Views

    data, masks, seed = config.data, config.masks, config.run.seed
    splits = open_masks(str(data.root), val_fraction=data.val_fraction, **masks.coding)
    for line in (counted(splits), *splits.notes):
        say(line)
    head_kwargs = config.model.head_kwargs
    model, news = dense_model(config, splits.classes, head_kwargs, begin)
    if news:
        say(news)
    mode, source = "L" if data.in_chans == 1 else "RGB", splits.test.source
    plain = whole_pair(data.mean, data.std)
    about = dense_about(config, splits.classes, head_kwargs, short_side=masks.short_side)
    task = Segmentation(
        splits.classes,
        criterion=_criterion(config, splits, group),
        auxiliary_weight=masks.auxiliary_weight,
        views=Views(short_side=masks.short_side),
        picture=lambda row: source.image(row, mode),
    )
    return Parts(
        model,
        task,
        train=MaskedImages(splits.train, mode, _augment(config), seed, data.image_size, replace=True),
        val=MaskedImages(splits.val, mode, plain, seed),
        test=MaskedImages(splits.test, mode, plain, seed),
        classes=splits.classes,
        images=splits.images,
        bad=splits.bad,
        order=None,
        about=about,
    )


def _augment(config: Config) -> "PairTransform":
    from dsmixer.data.masks.transforms import random_pair

    data, masks = config.data, config.masks
    low, high = masks.scale
    return random_pair(
        data.mean,
        data.std,
        crop_size=data.image_size,
        short_side=masks.short_side,
        scale=(low, high),
        most_of_one_class=masks.most_of_one_class,
        hflip=data.hflip,
        photometric=masks.photometric,
    )


def _criterion(config: Config, splits: "MaskSplits", group: "Group") -> "PixelLoss":
    from dsmixer.data.masks.check import count_pixels
    from dsmixer.tasks.pixel_losses import PixelLoss

    balanced, masks = config.optim.class_weights == "balanced", config.masks
    return PixelLoss(
        class_weights=count_pixels(splits.train).median_frequency_weights() if balanced else None,
        hard_below=masks.hard_below,
        hard_share=masks.hard_share,
        dice=masks.dice,
        over_processes=group.mean,
    )
