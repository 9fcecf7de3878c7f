"""torchvision's detectors on the pyramid of any timm backbone.

Everything but `Pyramid` is torchvision's, with its own anchors and losses: Faster R-CNN (Ren et al. 2015) and
Mask R-CNN (He et al. 2017) on strides 4 to 32 and one pooled level, RetinaNet (Lin et al. 2017) and FCOS (Tian et al.
2019) on strides 8 to 32 and two further levels by convolution: of the backbone's last features and of the pyramid's, as
published.
"""

import math
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn
from torchvision.models import detection
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)
from torchvision.ops.poolers import initLevelMapper

from dsmixer.heads.backbone import OnBackbone, features


class Kind(NamedTuple):
    """How torchvision writes one of its detectors."""

    build: type[nn.Module]
    strides: tuple[int, ...]
    further: Literal["pool", "C5", "P5"]  # coarser levels: P5 pooled, or by convolution of C5 or P5
    background: int  # 1 where class 0 is the background, so that labels begin at 1
    limits: str  # what the names of its output limits begin with
    masks: bool = False


KINDS = {
    "fasterrcnn": Kind(detection.FasterRCNN, (4, 8, 16, 32), "pool", 1, "box_"),
    "maskrcnn": Kind(detection.MaskRCNN, (4, 8, 16, 32), "pool", 1, "box_", masks=True),
    "retinanet": Kind(detection.RetinaNet, (8, 16, 32), "C5", 0, ""),
    "fcos": Kind(detection.FCOS, (8, 16, 32), "P5", 0, ""),
}
# whose answers are coordinates, or are compared with them
ANSWERS = ("head", "rpn.head", "roi_heads.box_predictor", "roi_heads.mask_predictor")
# whose outputs are classes
CLASSIFIERS = (
    "head.classification_head.cls_logits",
    "roi_heads.box_predictor",
    "roi_heads.mask_predictor.mask_fcn_logits",
)


class Pyramid(nn.Module):
    """Features of the wanted strides, through torchvision's feature pyramid.

    torchvision's own ``BackboneWithFPN`` finds layers by name; timm knows the strides of its features instead, which
    serves networks whose layers have other names, and those that put the channels last.
    """

    def __init__(self, body: nn.Module, strides: tuple[int, ...], out_channels: int, further: str) -> None:
        super().__init__()
        info: Any = body.feature_info
        reductions, channels = info.reduction(), info.channels()
        lacking = [stride for stride in strides if stride not in reductions]
        if lacking:
            raise ValueError(f"the backbone has strides {reductions}; this detector also needs {lacking}")
        self.body, self.out_channels = body, out_channels
        self.taken = [reductions.index(stride) for stride in strides]
        widths = [channels[index] for index in self.taken]
        self.fpn = FeaturePyramidNetwork(widths, out_channels, _further(further, widths[-1], out_channels))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to maps (B, out_channels, h, w) by name, from fine to coarse; float32, as anchors are."""
        levels = self.body(x)
        maps = self.fpn({str(level): levels[index] for level, index in enumerate(self.taken)})
        return {name: level.float() for name, level in maps.items()}


def _further(kind: str, in_channels: int, out_channels: int) -> ExtraFPNBlock:
    """The levels that are coarser than the backbone's."""
    if kind == "pool":
        return LastLevelMaxPool()
    block = LastLevelP6P7(in_channels if kind == "C5" else out_channels, out_channels)
    block.use_P5 = kind == "P5"  # torchvision guesses it from the channels
    return block


class Detector(OnBackbone):
    """One of torchvision's detectors on the timm model ``backbone``; see KINDS.

    Images come as (3, H, W) from 0 to 1, and are normalized here. Training images are taken at their size; at
    prediction the short side becomes ``min_size`` pixels, the long side at most ``max_size``, and the answer is in
    pixels of the image that was given.

    Args:
        kind: "fasterrcnn", "retinanet", "fcos" or "maskrcnn".
        backbone: a timm model with features at the strides of the detector.
        num_classes: the background not counted.
        mean: of the normalization, a channel; None for the backbone's own.
        std: the same.
        fpn_channels: width of the pyramid; for FCOS a multiple of 32 from 64 (its group norm has 32 groups).
        score_threshold: what is less certain is not returned; 0.05 is the custom for measuring AP.
        detections: most objects returned of an image.
        backbone_kwargs: further arguments of the timm model, such as ``pretrained``.
        kwargs: further arguments of torchvision's detector.

    Raises:
        ValueError: for an unknown detector or backbone, or a backbone without the strides.
    """

    body = "network.backbone.body"
    classifier = tuple(f"network.{layer}" for layer in CLASSIFIERS)

    def __init__(
        self,
        kind: str,
        backbone: str,
        num_classes: int,
        *,
        min_size: int = 800,
        max_size: int = 1333,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        fpn_channels: int = 256,
        score_threshold: float = 0.05,
        detections: int = 100,
        backbone_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"detector is {kind!r}; choose {', '.join(KINDS)}")
        if kind == "fcos" and (fpn_channels % 32 or fpn_channels < 64):
            raise ValueError(f"fpn_channels is {fpn_channels}, but FCOS needs a multiple of 32 from 64")
        body: Any = features(backbone, backbone_kwargs or {})
        build, strides, further, background, limits, _ = KINDS[kind]
        settings = body.model.pretrained_cfg
        self.network = build(
            Pyramid(body, strides, fpn_channels, further),
            num_classes=num_classes + background,
            min_size=min_size,
            max_size=max_size,
            image_mean=mean or list(settings["mean"]),
            image_std=std or list(settings["std"]),
            _skip_resize=True,  # in training only: there the transforms of the data have chosen a size
            **{f"{limits}score_thresh": score_threshold, f"{limits}detections_per_img": detections},
            **kwargs,
        )
        for name, module in self.network.named_modules():
            if isinstance(module, MultiScaleRoIAlign):
                _know_scales(module, strides)
            if name in ANSWERS:  # in bfloat16, a coordinate of 301 pixels would be 300 or 302
                module.register_forward_hook(_answer_in_float32)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """While training the losses by name, a dict of scalars; otherwise a dict of ``boxes`` … an image."""
        return self.network(images, targets)


def _know_scales(pool: MultiScaleRoIAlign, strides: tuple[int, ...]) -> None:
    """Otherwise it guesses from the first batch it sees: wrongly if that is small, and anew after a resume."""
    pool.scales = [1 / stride for stride in strides]
    levels = [int(math.log2(stride)) for stride in strides]
    pool.map_levels = initLevelMapper(levels[0], levels[-1], pool.canonical_scale, pool.canonical_level)


def _answer_in_float32(_module: nn.Module, _inputs: Any, answer: Any) -> Any:
    return in_float32(answer)  # a hook that can be pickled


def in_float32(answer: Any) -> Any:
    """A head's tensors, in the dict, tuple or list that holds them."""
    if isinstance(answer, Tensor):
        return answer.float()
    if isinstance(answer, dict):
        return {name: in_float32(part) for name, part in answer.items()}
    return type(answer)(in_float32(part) for part in answer)
