"""How long, on what and with which recipe a run trains. All mixers of a protocol share everything but the mixer."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from studies.mixers.frame import Shape


class Protocol(NamedTuple):
    """AdamW, linear warm-up over a tenth of the run, half a cosine to 0; reflected crops and mirroring."""

    images: int
    epochs: int
    shape: Shape
    budget: dict[str, int | None]  # parameters per data set; None: the shape's own widths, whatever they cost
    lr: float = 2e-3
    weight_decay: float = 0.05
    batch_size: int = 128
    label_smoothing: float = 0.1
    clip: float = 1.0
    varied: bool = False  # the images of both splits differ in blur, contrast and noise, see `data.vary`

    def on(self, dataset: str) -> "Protocol":
        """Tiny ImageNet: twice the side, the same token grids."""
        if dataset == "cifar10":
            return self
        return self._replace(shape=self.shape._replace(side=2 * self.shape.side))

    def changed(self, recipe: Mapping[str, Any]) -> "Protocol":
        """With other values of its own fields or of the shape's."""
        shape = {key: value for key, value in recipe.items() if key in Shape._fields}
        own = {key: value for key, value in recipe.items() if key not in shape}
        return self._replace(shape=self.shape._replace(**shape), **own)


NARROW = Shape(widths=(32, 64, 128), depths=(2, 2, 2), mlp_ratio=2.0)
SMALL = Shape()

NARROW_BUDGET = {"cifar10": 480_000, "tiny": 490_000}

PROTOCOLS = {
    # 3 to 5 minutes on one slow core: to choose what to look at.
    "screen": Protocol(12_800, 5, NARROW, NARROW_BUDGET),
    # All images of both sets, twice: where the decision falls. 5 to 8 minutes.
    "final": Protocol(50_000, 2, NARROW, NARROW_BUDGET),
    # Where images differ more in their spectra than the sets' own do.
    "varied": Protocol(50_000, 2, NARROW, NARROW_BUDGET, varied=True),
    # That of the first experiments: 15 minutes.
    "small": Protocol(16_000, 6, SMALL, {"cifar10": 1_100_000, "tiny": 1_120_000}),
    # `screen` at other token grids; 64 for the larger images alone.
    **{f"grid-{n}": Protocol(12_800, 5, NARROW._replace(grid=n), NARROW_BUDGET) for n in (8, 32, 64)},
    # Twice the width, images and epochs of `screen`: 45 minutes.
    "large": Protocol(25_600, 10, NARROW._replace(widths=(64, 128, 256)), {"cifar10": 1_900_000, "tiny": 1_920_000}),
    # For a GPU: everything there is.
    "full": Protocol(50_000, 30, SMALL, {"cifar10": 1_100_000, "tiny": 1_120_000}),
}
