"""The settings of `dsmixer predict`, of `dsmixer evaluate`, and of Python's way to do the same."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class InferenceConfig:
    """How a finished model is run, by `dsmixer predict`, `dsmixer evaluate` and from Python."""

    batch_size: int = 64
    """Images the network sees at once."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto is bfloat16 where the hardware multiplies it (CUDA, a CPU with AMX), else float32."""
    threads: int = 0
    """Threads of one operation on the CPU; 0 leaves PyTorch's choice."""

    def check(self) -> None:
        """Raise ``ValueError``, naming the option, what it got and what would work."""
        for name, least in (("batch_size", 1), ("threads", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}, but it must be at least {least}"
                )


@dataclass
class ViewsConfig(InferenceConfig):
    """How a segmenter looks at an image; as it was trained to, whole, where nothing is asked."""

    window: int = 0
    """Of pixels: side of windows that slide over the image; 0 looks at it whole."""
    stride: int = 0
    """With --window: pixels from one to the next; 0 is two thirds of its side."""
    scales: list[float] = field(default_factory=lambda: [1.0])
    """Of pixels: factors of the image's size; the probabilities at all of them are averaged."""
    flip: bool = False
    """Of pixels: look once more at the mirrored image."""

    def check(self) -> None:
        """As above."""
        super().check()
        if self.window < 0 or not 0 <= self.stride <= self.window:
            raise ValueError(
                f"--window is {self.window} and --stride {self.stride}, but they must be pixels or 0, "
                "the stride no more than the window"
            )
        if not self.scales or not all(0 < scale <= 8 for scale in self.scales):
            raise ValueError(
                f"--scales are {self.scales}, but they must be factors above 0 and up to 8, such as 0.75 1 1.25"
            )

    @property
    def views(self) -> dict[str, Any]:
        """What `dsmixer.inference.segmenter.SemanticSegmenter.stream` takes."""
        window, stride = self.window or None, self.stride or None
        return {"window": window, "stride": stride, "scales": tuple(self.scales), "flip": self.flip}


@dataclass
class PredictConfig(ViewsConfig):
    """What `dsmixer predict` adds."""

    top_k: int = 5
    """Classes named for an image, the most probable first."""
    min_score: float = 0.5
    """Of objects: what is less certain is left out, 0 to 1."""
    workers: int = 4
    """Threads that read and decode ahead of the network."""

    def check(self) -> None:
        """As above."""
        super().check()
        for name in ("top_k", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}, but it must be at least 1")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"--min-score is {self.min_score}, but it must be from 0 to 1")


@dataclass
class EvaluateConfig(ViewsConfig):
    """What `dsmixer evaluate` adds."""

    split: Literal["test", "val", "train", "all"] = "test"
    """Which images of the data set; all is for classes: images that lie in no splits, and were not trained on."""
    sizes: list[float] = field(default_factory=lambda: [0.75, 1, 1.5])
    """Further sides of the input: factors of the training size up to 8, beyond that, for classes, pixels; none to
    skip."""
