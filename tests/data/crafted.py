"""Folders of small pictures: every class has a gray level of its own, every picture a size and a noise of its own."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def picture(level: int, number: int = 0, size: tuple[int, int] = (20, 16)) -> Image.Image:
    """Gray with a little noise, (width, height) growing with the number."""
    width, height = size[0] + number % 7, size[1] + number % 5
    noise = np.random.default_rng([level, number]).integers(0, 12, (height, width, 3), np.uint8)
    return Image.fromarray(noise + np.uint8(level))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def class_folders(root: Path, counts: dict[str, int], kind: str = "PNG") -> Path:
    """``root/NAME/NAME-3.png``; the level is 40 times the length of the name."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            data = encoded(picture(40 * len(name), number), kind)
            (root / name / f"{name}-{number}.{kind.lower()}").write_bytes(data)
    return root
