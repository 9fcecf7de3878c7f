"""What does `data.cache memory` save? Writes `cache.csv` beside this file.

    OMP_NUM_THREADS=1 python studies/decode/cache.py

Training batches of CIFAR-10 and Tiny ImageNet (100 classes; in ../shared/data, or where DSMIXER_DATA points), made in
this process with a random crop and a flip, or with all that the recipe of that name asks for: CPU time of one thread,
the best of three times 16 batches of 128. The time to fill the cache is CPU time too.
"""

import csv
import os
import time
from pathlib import Path

import torch

from dsmixer.cli.options import read_recipe, resolve
from dsmixer.cli.parts.classification import transforms
from dsmixer.data.cache import in_memory
from dsmixer.data.loader import CountedBatches, Feed, Images
from dsmixer.data.splits import Split, open_splits

DATA = Path(os.environ.get("DSMIXER_DATA", Path(__file__).parents[2] / "../shared/data"))
PLAIN = ["rand_augment=null", "color_jitter=0", "erase=0", "crop_padding=0", "hflip=0.5", "crop_scale=0.08"]


def rate(split: Split, transform: object, repeats: int = 3) -> float:
    """Images per second of CPU time."""
    images, best = Images(split, "RGB", transform, 0, replace=True), 0.0
    for start in range(0, 16 * repeats, 16):
        plan = CountedBatches(len(images), 128, batches_per_epoch=16 * repeats, epochs=1, seed=0, start=start)
        batches, begin = iter(Feed(images, plan, 0, 0)), time.process_time()
        for _ in range(16):
            next(batches)
        best = max(best, 16 * 128 / (time.process_time() - begin))
    return best


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for folder, recipe in (("cifar10", "cifar10"), ("tiny-imagenet-100", "tiny_imagenet_100")):
        splits = open_splits("auto", str(DATA / folder), 0.1)
        begin = time.process_time()
        kept = in_memory(splits, "RGB")
        seconds = time.process_time() - begin
        for what, options in (("crop and flip", [f"--data.{option}" for option in PLAIN]), ("the recipe's", [])):
            data = resolve(read_recipe(recipe)[1], [f"--data.root={DATA / folder}", *options]).data
            none, memory = (rate(part.train, transforms(data)[0]) for part in (splits, kept))
            rows.append({
                "images": folder, "augmentation": what, "none": round(none), "memory": round(memory),
                "ratio": round(memory / none, 2), "seconds_to_fill": round(seconds, 1),
            })  # fmt: skip
            print(rows[-1], flush=True)
    with (Path(__file__).parent / "cache.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
