"""The sections of a run's configuration: every setting of `dsmixer train`, its default and its meaning."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class ModelConfig:
    """The network, as ``timm.create_model`` receives it."""

    name: str | None = "dsm_tiny"
    """Name of a model in timm's registry; `dsmixer models` lists ours. Null takes it, and its kwargs, from weights."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Further keyword arguments of the model, such as {depths: [1, 1, 2, 1]}."""
    head: Literal["upernet", "semantic_fpn", "fasterrcnn", "maskrcnn", "retinanet", "fcos"] | None = None
    """What reads the features: null classifies; upernet and semantic_fpn label pixels; the others find objects."""
    head_kwargs: dict[str, Any] = field(default_factory=dict)
    """Further keyword arguments of the head, such as {dim: 128}, or {fpn_channels: 128} where objects are found."""
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
    """Learning rate at the end, with cosine and poly."""
    warmup_epochs: float = 5.0
    """Epochs of linear warm-up from zero."""
    weight_decay: float = 0.05
    """Decoupled weight decay; biases, norms and what the model lists in no_weight_decay are spared."""
    no_decay: list[str] = field(default_factory=list)
    """Names of further parameters to spare, such as head.fc.weight or *.band_weights."""
    layer_decay: float | None = None
    """Factor on the learning rate from each layer to the one below it; null is off."""
    layer_decay_by: Literal["block", "stage"] = "block"
    """What a layer of layer_decay is: a block, or all blocks of a stage, which decays less."""
    clip_grad: float | None = 1.0
    """Largest norm of the gradient; null is off."""
    accumulate: int = 1
    """Batches whose gradients are averaged into one step."""
    schedule: Literal["cosine", "poly", "step"] = "cosine"
    """How the learning rate falls: half a cosine to min_lr; a power of what is left to min_lr; to a tenth, in steps."""
    power: float = 1.0
    """With poly: the power."""
    drop_epochs: list[int] = field(default_factory=list)
    """With step: after how many epochs the rate falls to a tenth, each time anew; 8 and 11 of 12 is COCO's 1x."""
    lr_batch: int | None = None
    """Batch size that lr and min_lr are given for: they are scaled to the batch of this run. Null takes them as is."""
    loss: Literal["cross_entropy", "bce"] = "cross_entropy"
    """Cross-entropy over the classes, or binary cross-entropy of each class against the rest."""
    bce_threshold: float | None = None
    """With bce: targets above it count as 1, others as 0, after mixing and smoothing; null leaves them soft."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced weighs an image by the rarity of its class in train, so that every class weighs the same, mean 1;
    a pixel by the median-frequency weight of its class."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    ema_decay: float = 0.0
    """Decay a step of the averaged weights that are evaluated and delivered; 0 is off."""
    choose_within: float = 0.0
    """Prefer a later epoch if its validation accuracy is at most this many standard errors below the highest."""


MASK_CODING = ("classes", "ignore_index", "reduce_zero_label", "palette")


@dataclass
class MasksConfig:
    """Segmentation (a model.head that labels pixels): its masks, its crops, its loss. The crop is data.image_size."""

    classes: list[str] | None = None
    """Names of the classes in the order of the values; null reads classes.txt, classes.json or
    objectInfo150.txt in data.root."""
    ignore_index: int = 255
    """Value, in the files, of pixels that are not scored."""
    reduce_zero_label: bool = False
    """ADE20K's rule: 0 is not scored either, and value k is class k - 1."""
    palette: list[list[int]] | None = None
    """Colors of RGB masks, red, green and blue from 0 to 255: a color's place in the list is its value."""
    short_side: int | None = None
    """Pixels that the shorter side of every image is resized to, when predicting too; null keeps its own size."""
    scale: list[float] = field(default_factory=lambda: [0.5, 2.0])
    """Lowest and highest random zoom of a training image."""
    most_of_one_class: float = 0.75
    """Greatest share of one class in a crop; up to ten crops are tried. 1 is off."""
    photometric: float = 0.5
    """Probability of each random change of brightness, contrast, saturation and hue."""
    auxiliary_weight: float = 0.4
    """Weight of the loss of a second head on the last stage but one; 0 builds none."""
    dice: float = 0.0
    """Weight of the Dice loss beside the cross-entropy."""
    hard_below: float = 0.0
    """Online hard example mining: only pixels whose class has less than this probability count; 0 is off."""
    hard_share: float = 0.1
    """With hard_below: at least this share of the scored pixels counts, the hardest."""

    @property
    def coding(self) -> dict[str, Any]:
        """How the values in the files are read, as `dsmixer.data.masks.folders.open_masks` takes it."""
        return {name: getattr(self, name) for name in MASK_CODING}


@dataclass
class BoxesConfig:
    """Detection (a model.head that finds objects): the sizes of its images."""

    short_sides: list[int] = field(default_factory=lambda: [800])
    """Pixels of the shorter side of a training image; one of these, at random."""
    longest: int = 1333
    """Most pixels of its longer side, when predicting too."""
    crop: list[int] | None = None
    """Least and longest side of a window that every second training image is cut to first, such as [384, 600]."""
    jitter: list[float] | None = None
    """Large-scale jitter instead: lowest and highest random zoom, such as [0.1, 2.0], about a square to cut out."""
    jitter_side: int = 1024
    """With jitter: side of the square, in pixels."""
    test_short_side: int = 800
    """Pixels of the shorter side of an image in which objects are to be found."""
    group_by_aspect: bool = True
    """Batches of images that are all wide, or all high: less padding."""


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
