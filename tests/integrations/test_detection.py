"""From files to average precision: a detector that is shown an image finds what is in it."""

import numpy as np
import torch

from dsmixer.data.boxes.batches import BoxBatch, BoxesToScore, BoxesToTrainOn, TruthBatch
from dsmixer.data.boxes.survey import open_annotations
from dsmixer.data.boxes.transforms import multi_scale
from dsmixer.data.loader import CountedBatches, Feed, in_order
from dsmixer.data.splits import Split
from dsmixer.heads.detectors import Detector
from dsmixer.tasks.detection import Detection
from tests.data.annotated import CATEGORIES, coco, write_coco

STEPS = 25


def test_learning_two_images_by_heart(tmp_path):
    for split in ("train", "val"):
        write_coco(tmp_path, split, coco(CATEGORIES[:1], images=2))
    source = open_annotations(str(tmp_path))["val"]
    split = Split(source, np.arange(2))
    plan = CountedBatches(2, 2, batches_per_epoch=1, epochs=STEPS, seed=0, start=0)
    train = Feed(BoxesToTrainOn(split, multi_scale([96], 160, 0.5), 0, masks=False), plan, 1, 60.0)
    torch.manual_seed(1)
    small = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}
    model = Detector("fcos", "dsm_test", 1, min_size=96, max_size=160, fpn_channels=64, **small).train()
    task = Detection(
        source.classes,
        first_label=0,
        masks=False,
        picture=lambda row: source.image(row, "RGB"),
        category_ids=source.category_ids,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for batch in train:
        assert isinstance(batch, BoxBatch)  # also through a worker
        loss, _ = task.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert len(losses) == STEPS
    assert losses[-1] < 0.6 * losses[0]
    model.eval()
    for batch in Feed(BoxesToScore(split), in_order(2, 1), 0, 60.0):
        assert isinstance(batch, TruthBatch)
        with torch.inference_mode():
            task.update(model, batch)
    assert task.compute()["AP50"] > 0.9  # before training it is 0
