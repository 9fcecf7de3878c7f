"""The 1,797 handwritten digits of 8x8 pixels that scikit-learn carries (Alpaydin and Kaynak, UCI, 1998)."""

import io
from typing import Any

import numpy as np
from PIL import Image

from dsmixer.data.source import Source


class Digits(Source):
    """All digits in scikit-learn's order; its gray levels 0 to 16 become 0 to 255."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        bunch: Any = load_digits()
        self.pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
        self.labels = bunch.target.astype(np.int64)
        self.classes = [str(name) for name in bunch.target_names]

    def name(self, row: int) -> str:
        """Its number."""
        return f"digit {row}"

    def read(self, row: int) -> bytes:
        """As PNG, for those who want a file."""
        file = io.BytesIO()
        self.image(row, "L").save(file, "PNG")
        return file.getvalue()

    def image(self, row: int, mode: str) -> Image.Image:
        """The digit of a row, "L" or "RGB" with three equal channels."""
        image = Image.fromarray(self.pixels[row])
        return image if mode == "L" else image.convert(mode)
