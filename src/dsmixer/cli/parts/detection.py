"""The parts of a run that finds objects."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from dsmixer.cli.parts import Parts
from dsmixer.cli.parts.dense import dense_about, dense_model
from dsmixer.config import Config

if TYPE_CHECKING:
    from torchvision.transforms import v2

    from dsmixer.engine.distributed import Group


def parts(config: Config, begin: bool, group: "Group", say: Callable[[str], None]) -> Parts:
    """Images with boxes, one of torchvision's detectors on a backbone."""
    from dsmixer.data.boxes.aspect import grouped_order, is_wide
    from dsmixer.data.boxes.batches import BoxesToScore, BoxesToTrainOn
    from dsmixer.data.boxes.survey import open_boxes
    from dsmixer.heads.detectors import KINDS
    from dsmixer.tasks.detection import Detection

    data, boxes, seed = config.data, config.boxes, config.run.seed
    kind = KINDS[str(config.model.head)]
    splits = open_boxes(str(data.root), data.val_fraction, masks=kind.masks)
    for line in splits.notes:
        say(line)
    head_kwargs = {**config.model.head_kwargs, "min_size": boxes.test_short_side, "max_size": boxes.longest}
    model, news = dense_model(config, splits.classes, head_kwargs, begin)
    if news:
        say(news)
    source = splits.test.source
    task = Detection(
        splits.classes,
        first_label=kind.background,
        masks=kind.masks,
        picture=lambda row: source.image(row, "RGB"),
        category_ids=source.category_ids,
    )
    wide = is_wide(splits.train.source.sizes[splits.train.rows])
    return Parts(
        model,
        task,
        train=BoxesToTrainOn(splits.train, _augment(config), seed, masks=kind.masks),
        val=BoxesToScore(splits.val),
        test=BoxesToScore(splits.test),
        classes=splits.classes,
        images=splits.images,
        bad=splits.bad,
        order=partial(grouped_order, wide, data.batch_size, seed) if boxes.group_by_aspect else None,
        about=dense_about(config, splits.classes, head_kwargs, image_size=boxes.test_short_side),
    )


def _augment(config: Config) -> "v2.Transform":
    from dsmixer.data.boxes.transforms import large_scale_jitter, multi_scale

    data, boxes = config.data, config.boxes
    if boxes.jitter is None:
        return multi_scale(boxes.short_sides, boxes.longest, data.hflip, boxes.crop)
    low, high = boxes.jitter
    return large_scale_jitter(boxes.jitter_side, (low, high), data.hflip, data.mean)
