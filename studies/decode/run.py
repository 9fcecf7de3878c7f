"""What does it cost to bring a JPEG to the network, and what would make it cheaper? Writes `results.csv` beside this.

    pip install simplejpeg==1.9.0   # for the contenders of that name; it is no dependency of ours
    OMP_NUM_THREADS=1 python studies/decode/run.py

Images are CamVid's road scenes (in ../shared/data, or where DSMIXER_DATA points), resized to 500x375, ImageNet's usual
size, and saved with quality 90; mosaics of 8x8 of them stand for photographs of 11 megapixels. Everything that was
counted is CPU time of one thread, the best of the repeats, so that other work on the machine disturbs little.
"""

import argparse
import csv
import io
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image, features
from torchvision.transforms import InterpolationMode, RandomResizedCrop

from dsmixer.data.decode import decode
from dsmixer.data.pack import pack
from dsmixer.data.splits import open_data
from dsmixer.data.transforms import Transform, flip

DATA = Path(os.environ.get("DSMIXER_DATA", Path(__file__).parents[2] / "../shared/data"))
HALF = [0.5, 0.5, 0.5]
Images = list[bytes]


def pipeline(side: int) -> Transform:
    """ImageNet's usual training crop."""
    crop = RandomResizedCrop(side, (0.08, 1.0), interpolation=InterpolationMode.BICUBIC)
    return Transform([crop, lambda image: flip(image, 0.5)], HALF, HALF)


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def drafted(data: bytes, side: int) -> Image.Image:
    """Pillow's draft mode: libjpeg leaves out frequencies, at 1/2, 1/4 or 1/8, never below ``side``."""
    image = Image.open(io.BytesIO(data), formats=["JPEG"])
    image.draft("RGB", (side, side))
    image.load()
    return image.convert("RGB")


def simple(data: bytes, **options) -> Image.Image:
    import simplejpeg

    return Image.fromarray(simplejpeg.decode_jpeg(data, **options))


def contenders(images: Images, packed: Images, small: int) -> dict[str, Callable[[], list]]:
    """Name of each way, and the work on all images. A floor first: the crop of what lies decoded in memory."""
    transform = pipeline(224)
    arrays = [np.asarray(decode(data, "RGB", "it")) for data in images[:16]] * (len(images) // min(16, len(images)))
    ways: dict[str, Callable[[], list]] = {
        "decoded copy in memory, crop": lambda: [transform(Image.fromarray(array)) for array in arrays],
        "decode()": lambda: [decode(data, "RGB", "it") for data in images],
        "decode(), crop": lambda: [transform(decode(data, "RGB", "it")) for data in images],
        f"Pillow draft {small}, crop": lambda: [transform(drafted(data, small)) for data in images],
        "packed --resize 256, decode(), crop": lambda: [transform(decode(data, "RGB", "it")) for data in packed],
    }
    try:
        import simplejpeg  # noqa: F401
    except ImportError:
        return ways
    fast = {"fastdct": True, "fastupsample": True}
    scaled = {"min_height": small, "min_width": small}
    return ways | {
        "simplejpeg": lambda: [simple(data) for data in images],
        "simplejpeg, crop": lambda: [transform(simple(data)) for data in images],
        "simplejpeg fast DCT and upsampling, crop": lambda: [transform(simple(data, **fast)) for data in images],
        f"simplejpeg draft {small}, crop": lambda: [transform(simple(data, **scaled)) for data in images],
    }


def microseconds(work: Callable[[], list], count: int, repeats: int) -> float:
    """CPU time of one image."""
    best = float("inf")
    for _ in range(repeats):
        random.seed(0)
        torch.manual_seed(0)
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return 1e6 * best / count


def resized(data: bytes, side: int) -> bytes:
    """As `dsmixer pack --resize` does."""
    image = decode(data, "RGB", "it")
    factor = side / min(image.size)
    size = round(image.width * factor), round(image.height * factor)
    return jpeg(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3), quality=95)


def scenes(count: int) -> list[Image.Image]:
    paths = sorted((DATA / "camvid/images/train").glob("*.jpg"))
    return [Image.open(path).convert("RGB") for path in paths[:: max(1, len(paths) // count)][:count]]


def mosaic(tiles: list[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (8 * 480, 8 * 360))
    for place, tile in enumerate(tiles[:64]):
        whole.paste(tile, (place % 8 * 480, place // 8 * 360))
    return whole


def stored(name: str, count: int) -> Images:
    source = open_data("auto", str(DATA / name))[0]["train"]
    return [source.read(row) for row in range(0, len(source.labels), len(source.labels) // count)][:count]


Row = tuple[str, str, float]


def small_images(name: str, images: Images, transform: Transform, repeats: int) -> list[Row]:
    """What a cache of decoded images would save, and what would remain."""
    pixels = [decode(data, "RGB", "it") for data in images]
    ways = {
        "decode()": lambda: [decode(data, "RGB", "it") for data in images],
        "crop alone": lambda: [transform(image) for image in pixels],
    }
    return [(name, way, microseconds(work, len(images), repeats)) for way, work in ways.items()]


def reading(images: Images, repeats: int) -> list[Row]:
    """The encoded bytes of every image, in random order, from files of their own and from a shard; all in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "folder/class")
        for number, data in enumerate(images * 8):
            path = root.with_name(f"class{number % 4}") / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        sources = open_data("folder", str(root.parent))[0]
        pack(sources, Path(folder, "out"), shard_bytes=10**9, resize=None, workers=1, advance=lambda _: None)
        rows = []
        packed = open_data("shards", f"{folder}/out")[0]
        for name, source in (("class folders", sources["train"]), ("shards", packed["train"])):
            order = np.random.default_rng(0).permutation(len(source.labels)).tolist()
            work = partial(lambda source, order: [source.read(row) for row in order], source, order)
            rows.append(("reading 500x375", name, microseconds(work, len(order), repeats)))
    return rows


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    frames = scenes(64)
    usual = [jpeg(frame.resize((500, 375), Image.Resampling.BICUBIC)) for frame in frames]
    large = [jpeg(mosaic(frames[shift:] + frames[:shift])) for shift in (0, 7, 19, 31)]
    rows: list[Row] = []
    for name, images, small, again in (("500x375", usual, 256, repeats), ("3840x2880", large, 448, 2)):
        packed = [resized(data, 256) for data in images]
        for way, work in contenders(images, packed, small).items():
            rows.append((name, way, microseconds(work, len(images), again)))
    for name, side in (("cifar10", 32), ("tiny-imagenet-100", 64)):
        rows += small_images(name, stored(name, 512), pipeline(side), repeats)
    rows += reading(usual, repeats)
    with (Path(__file__).parent / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["images", "way", "microseconds", "images_per_second"])
        for name, way, cost in rows:
            writer.writerow([name, way, round(cost, 1), round(1e6 / cost, 1)])
            print(f"{name:<18} {way:<44} {cost:>10,.0f} us {1e6 / cost:>9,.1f} images/s")
    sizes = {name: sum(map(len, images)) / len(images) / 1e3 for name, images in (("500x375", usual), ("large", large))}
    print({name: f"{size:.0f} kB" for name, size in sizes.items()})
    turbo = features.version("libjpeg_turbo")
    print(f"Pillow {PIL.__version__}, libjpeg-turbo {turbo}, Python {platform.python_version()}, {processor()}")
    compare(usual)


def compare(images: Images) -> None:
    """Are simplejpeg's pixels those of Pillow, and what does it do with half a file?"""
    try:
        import simplejpeg
    except ImportError:
        print("simplejpeg is not installed")
        return
    for options in ({}, {"fastdct": True, "fastupsample": True}):
        pairs = [
            (np.asarray(decode(data, "RGB", "it")).astype(int), np.asarray(simple(data, **options))) for data in images
        ]
        print(options, "largest difference to Pillow:", max(np.abs(a - b).max() for a, b in pairs))
    half = images[0][: len(images[0]) // 2]
    for strict in (True, False):
        try:
            rows = simplejpeg.decode_jpeg(half, strict=strict).reshape(375, -1)
            print(f"half a file, strict={strict}: decodes, {(np.ptp(rows, 1) == 0).sum()} of 375 rows are one gray")
        except ValueError as error:
            print(f"half a file, strict={strict}: {error}")
    print("Pillow drafts at", drafted(images[0], 256).size, "of", Image.open(io.BytesIO(images[0])).size)


if __name__ == "__main__":
    main()
