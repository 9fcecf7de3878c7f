"""The whole run as one tree of plain values.

One default, one place: a recipe changes a value, the command line changes it again, nothing else repeats it. The text
beneath each field is what ``dsmixer train --help`` prints. This module imports nothing of ours and no torch, so that a
wrong value is reported before anything slow is loaded.
"""

import ast
import inspect
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Literal


@dataclass
class ModelConfig:
    """The network, as ``timm.create_model`` receives it."""

    name: str | None = "dsm_tiny"
    """Name of a model in timm's registry; `dsmixer models` lists ours. Null takes it, and its kwargs, from weights."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Further keyword arguments of the model, such as {depths: [1, 1, 2, 1]}."""
    drop_path_rate: float = 0.0
    """Stochastic depth: share of samples whose residual branch is dropped in the deepest block, 0 to below 1."""
    weights: str | None = None
    """What to start from: a .safetensors file, a run folder or a packaged name, of the same model; or timm, for what it
    has for model.name. A head for other classes is started afresh."""
    freeze: Literal["none", "backbone"] = "none"
    """What keeps the weights it started from: backbone trains the classifier alone (a linear probe)."""


@dataclass
class DataConfig:
    """The images, their splits, and what happens to a training image before the network sees it."""

    name: Literal["auto", "folder", "parquet", "shards", "csv", "digits"] = "auto"
    """What data.root holds: class folders, Hugging Face parquet, tar shards, a CSV; auto looks. digits need no root."""
    root: str | None = None
    """Folder of the images, or a CSV file with the columns path and label."""
    allow_outside: bool = False
    """Whether a CSV file may name images outside its folder."""
    image_size: int = 224
    """Side of the square image the network receives, in pixels."""
    in_chans: Literal[1, 3] = 3
    """Channels of the image: 1 is gray, 3 is RGB."""
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    """Mean of each channel, subtracted, on the scale 0 to 1."""
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    """Standard deviation of each channel, divided by, on the scale 0 to 1."""
    val_fraction: float = 0.1
    """Share of train held back, class by class, to choose the best checkpoint (and as much to judge it at the end)
    where the data has no split for it."""
    batch_size: int = 64
    """Images in one optimizer step (before optim.accumulate multiplies it)."""
    workers: int = 0
    """Processes that decode and augment; 0 does it in the training process. The result is the same for any number."""
    worker_timeout: float = 300.0
    """Seconds to wait for a batch from the workers before giving up."""
    max_bad: float = 0.001
    """Largest share of unreadable images: they are skipped and listed in bad_files.csv; above it, the run stops."""
    cache: Literal["none", "memory"] = "none"
    """memory decodes every image once, before training, and keeps the pixels: small images load 1.5 times as fast."""
    crop_pct: float = 1.0
    """Share of the shorter side that the middle square of an evaluated image keeps; on ImageNet often 0.875."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """How an evaluated image is resized."""
    repeats: int = 1
    """Repeated augmentation: copies of an image in a row, each augmented anew. An epoch stays as long as without, so it
    shows a share of the images only."""
    hflip: float = 0.0
    """Probability of a left-right flip."""
    vflip: float = 0.0
    """Probability of an upside-down flip."""
    crop_padding: int = 0
    """Pixels added on every side before a random crop back to image_size; 0 is off."""
    crop_scale: float = 1.0
    """Smallest share of the area a random resized crop may keep; 1 is off."""
    crop_ratio: float = 4 / 3
    """Largest ratio of the sides of a random resized crop: 4/3 is 3:4 to 4:3."""
    crop_interpolation: Literal["bicubic", "bilinear", "random"] = "bicubic"
    """How a random resized crop is resized; random is either, anew for each image."""
    rotate: float = 0.0
    """Largest random rotation to either side, in degrees."""
    translate: float = 0.0
    """Largest random shift in each direction, as a share of the side."""
    scale: float = 0.0
    """Largest random zoom in or out, as a share: 0.1 is 0.9 to 1.1."""
    rand_augment: str | None = None
    """RandAugment in timm's notation, such as rand-m9-mstd0.5-inc1."""
    color_jitter: float = 0.0
    """Largest random change of brightness, contrast and saturation, as a share: 0.4 is 0.6 to 1.4 times."""
    erase: float = 0.0
    """Probability that rectangles of the image are erased."""
    erase_count: int = 1
    """Largest number of rectangles that share the erased area."""
    erase_mode: Literal["pixel", "rand", "const"] = "pixel"
    """What fills them: noise (pixel), one random color each (rand) or the mean color (const)."""
    mixup: float = 0.0
    """Mixup's alpha; 0 is off."""
    cutmix: float = 0.0
    """CutMix's alpha; 0 is off."""
    mix_prob: float = 1.0
    """Probability of mixing at all, where mixup or cutmix is on."""
    mix_switch: float = 0.5
    """Probability of CutMix rather than mixup, where both are on."""
    mix_mode: Literal["batch", "pair", "elem"] = "batch"
    """What shares a draw of mixup and CutMix: the batch, two images, or nothing."""
    mix_epochs: int | None = None
    """Epochs with mixup and CutMix, after which they are off; null is all."""


@dataclass
class OptimConfig:
    """The optimizer and its schedule."""

    name: str = "adamw"
    """Optimizer in timm's notation: adamw, lamb, sgd, ..."""
    epochs: int = 100
    """Passes over the training images."""
    lr: float = 1e-3
    """Learning rate at the end of the warm-up."""
    min_lr: float = 1e-5
    """Learning rate at the end of the cosine."""
    warmup_epochs: float = 5.0
    """Epochs of linear warm-up from zero."""
    weight_decay: float = 0.05
    """Decoupled weight decay; biases, norms and what the model lists in no_weight_decay are spared."""
    no_decay: list[str] = field(default_factory=list)
    """Names of further parameters to spare, such as head.fc.weight or *.band_weights."""
    layer_decay: float | None = None
    """Factor on the learning rate from each layer to the one below it; null is off."""
    clip_grad: float | None = 1.0
    """Largest norm of the gradient; null is off."""
    accumulate: int = 1
    """Batches whose gradients are averaged into one step."""
    loss: Literal["cross_entropy", "bce"] = "cross_entropy"
    """Cross-entropy over the classes, or binary cross-entropy of each class against the rest."""
    bce_threshold: float | None = None
    """With bce: targets above it count as 1, others as 0, after mixing and smoothing; null leaves them soft."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced weighs an image by the rarity of its class in train, so that every class weighs the same; mean 1."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    ema_decay: float = 0.0
    """Decay a step of the averaged weights that are evaluated and delivered; 0 is off."""
    choose_within: float = 0.0
    """Prefer a later epoch if its validation accuracy is at most this many standard errors below the highest."""


@dataclass
class RunConfig:
    """The machine and the book-keeping."""

    seed: int = 0
    """Seed of the weights, the order, the augmentation and the dropping; the splits do not depend on it."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto is bfloat16 where the hardware multiplies it (CUDA, a CPU with AMX), else float32."""
    strategy: Literal["auto", "ddp", "fully_shard"] = "auto"
    """How the processes that torchrun starts share the model: each has a copy (ddp, auto) or a part (fully_shard)."""
    process_timeout: float = 600.0
    """Seconds to wait for another process, which may be saving, before giving up."""
    channels_last: bool = False
    """Lay images and convolution weights out with the channels last: faster convolutions on a GPU."""
    threads: int = 0
    """Threads of one operation on the CPU; 0 leaves PyTorch's choice. Other counts give other last bits."""
    deterministic: bool = False
    """Refuse operations that have no deterministic form; only a GPU needs it."""
    compile: bool = False
    """Compile the model with torch.compile: faster steps after minutes of waiting."""
    save_every_minutes: float = 10.0
    """Time between checkpoints within an epoch; each epoch's end saves too."""
    check_every: int = 20
    """Steps between looks at the loss (shown, and checked to be finite); each waits for the GPU. A CPU always looks."""
    max_nonfinite: int = 0
    """Steps in a row whose loss or gradient may be not finite: they are skipped. Above 0, every step is looked at."""


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
class PredictConfig(InferenceConfig):
    """What `dsmixer predict` adds."""

    top_k: int = 5
    """Classes named for an image, the most probable first."""
    workers: int = 4
    """Threads that read and decode ahead of the network."""

    def check(self) -> None:
        """As above."""
        super().check()
        for name in ("top_k", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}, but it must be at least 1")


@dataclass
class EvaluateConfig(InferenceConfig):
    """What `dsmixer evaluate` adds."""

    split: Literal["test", "val", "train", "all"] = "test"
    """Which images of the data set; all is for images that lie in no splits, and were not trained on."""
    sizes: list[float] = field(default_factory=lambda: [0.75, 1, 1.5])
    """Further sides of the input: factors of the training size up to 8, beyond that pixels; none to skip."""


@dataclass
class Config:
    """One run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """As nested plain values, ready for YAML and JSON."""
        return asdict(self)

    def check(self) -> None:
        """Raise ``ValueError``, naming the field, what it got and what would work."""
        for key, value, (low, high), wanted in _limits(self):
            if value is not None and not (low <= value <= high and math.isfinite(value)):
                raise ValueError(f"{key} is {value}, but it must be {wanted}")
        data = self.data
        for key, values in (("data.mean", data.mean), ("data.std", data.std)):
            if len(values) != data.in_chans:
                raise ValueError(
                    f"{key} has {len(values)} values, but data.in_chans is {data.in_chans}: give one a channel"
                )
        if min(data.std) <= 0:
            raise ValueError(f"data.std is {data.std}, but every value must be above 0")
        if data.name != "digits" and data.root is None:
            raise ValueError(f"data.name is {data.name}, but data.root is not set: give it with --data.root PATH")
        if data.name == "digits" and data.root is not None:
            raise ValueError(f"data.name is digits, which come without data.root; for {data.root}: --data.name auto")
        if data.rand_augment and data.in_chans != 3:
            raise ValueError(f"data.rand_augment works on color; data.in_chans is {data.in_chans}, so set it to null")
        if (data.mixup or data.cutmix) and data.batch_size % 2:
            raise ValueError(
                f"data.batch_size is {data.batch_size}, but data.mixup and data.cutmix pair images: even only"
            )
        if self.optim.warmup_epochs > self.optim.epochs:
            raise ValueError(
                f"optim.warmup_epochs is {self.optim.warmup_epochs}, but optim.epochs is only {self.optim.epochs}"
            )
        for what in _contradictions(self):
            raise ValueError(what)
        clash = {"num_classes", "in_chans", "drop_path_rate", "pretrained"} & set(self.model.kwargs)
        if clash:
            raise ValueError(f"model.kwargs may not set {', '.join(sorted(clash))}: a field or the data decides that")


def _contradictions(config: Config) -> Iterator[str]:
    """Values that would do nothing, or nothing sensible, beside others."""
    model, data, optim = config.model, config.data, config.optim
    if data.mix_epochs is not None and not (data.mixup or data.cutmix):
        yield f"data.mix_epochs is {data.mix_epochs}, but neither data.mixup nor data.cutmix is on"
    if optim.bce_threshold is not None and optim.loss != "bce":
        yield f"optim.bce_threshold is {optim.bce_threshold}, but optim.loss is {optim.loss}, not bce"
    if model.name is None and model.weights in (None, "timm"):
        yield (
            f"model.name is null and model.weights is {model.weights or 'null'}: say which weights to take the name "
            "from, with --model.weights"
        )
    if model.freeze == "backbone" and model.weights is None:
        yield "model.freeze is backbone, but model.weights is null: only weights that were trained are worth keeping"


def _limits(config: Config) -> list[tuple[str, float | None, tuple[float, float], str]]:
    unit, share, positive = (0.0, 1.0), (0.0, 1.0 - 1e-9), (1e-12, math.inf)
    natural, count = (0, math.inf), (1, math.inf)
    table = {
        "model.drop_path_rate": (share, "at least 0 and below 1"),
        "data.image_size": ((1, 16384), "a number of pixels from 1 to 16384"),
        "data.val_fraction": ((1e-9, 0.9), "above 0 and at most 0.9"),
        "data.batch_size": (count, "at least 1"),
        "data.workers": (natural, "at least 0"),
        "data.worker_timeout": (positive, "a number of seconds above 0"),
        "data.max_bad": (unit, "a share from 0 to 1"),
        "data.crop_pct": ((1e-9, 1.0), "above 0 and at most 1"),
        "data.repeats": (count, "at least 1"),
        "data.hflip": (unit, "a probability from 0 to 1"),
        "data.vflip": (unit, "a probability from 0 to 1"),
        "data.crop_padding": (natural, "at least 0"),
        "data.crop_scale": ((1e-9, 1.0), "above 0 and at most 1"),
        "data.crop_ratio": (count, "at least 1"),
        "data.rotate": ((0, 180), "from 0 to 180 degrees"),
        "data.translate": (unit, "a share from 0 to 1"),
        "data.scale": (share, "at least 0 and below 1"),
        "data.color_jitter": (unit, "a share from 0 to 1"),
        "data.erase": (unit, "a probability from 0 to 1"),
        "data.erase_count": (count, "at least 1"),
        "data.mixup": (natural, "at least 0"),
        "data.cutmix": (natural, "at least 0"),
        "data.mix_prob": (unit, "a probability from 0 to 1"),
        "data.mix_switch": (unit, "a probability from 0 to 1"),
        "data.mix_epochs": (natural, "at least 0, or null"),
        "optim.epochs": (count, "at least 1"),
        "optim.lr": (positive, "above 0"),
        "optim.min_lr": (natural, "at least 0"),
        "optim.warmup_epochs": (natural, "at least 0"),
        "optim.weight_decay": (natural, "at least 0"),
        "optim.layer_decay": ((1e-9, 1.0), "above 0 and at most 1, or null"),
        "optim.clip_grad": (positive, "above 0, or null"),
        "optim.accumulate": (count, "at least 1"),
        "optim.bce_threshold": (unit, "from 0 to 1, or null"),
        "optim.label_smoothing": (share, "at least 0 and below 1"),
        "optim.ema_decay": (share, "at least 0 and below 1"),
        "optim.choose_within": (natural, "a number of standard errors, at least 0"),
        "run.seed": ((0, 2**63 - 1), "a whole number from 0"),
        "run.threads": (natural, "at least 0"),
        "run.save_every_minutes": (positive, "a number of minutes above 0"),
        "run.process_timeout": (positive, "a number of seconds above 0"),
        "run.check_every": (count, "at least 1"),
        "run.max_nonfinite": (natural, "at least 0"),
    }
    rows = []
    for key, (limits, wanted) in table.items():
        group, name = key.split(".")
        rows.append((key, getattr(getattr(config, group), name), limits, wanted))
    return rows


def field_docs(section: type) -> dict[str, str]:
    """The text beneath each field of a dataclass; Python keeps none, so it is read from the source."""
    (definition,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for before, after in pairwise(definition.body):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            docs[before.target.id] = " ".join(str(after.value.value).split())
    return docs


SECTIONS: dict[str, type] = {"model": ModelConfig, "data": DataConfig, "optim": OptimConfig, "run": RunConfig}
