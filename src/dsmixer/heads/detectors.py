"""torchvision's detectors on the pyramid of any timm backbone.

Everything but `Pyramid` is torchvision's, with its own anchors and losses: Faster R-CNN (Ren et al. 2015) and
Mask R-CNN (He et al. 2017) on strides 4 to 32 and one pooled level, RetinaNet (Lin et al. 2017) and FCOS (Tian et al.
2019) on strides 8 to 32 and two further levels by convolution, as published.
"""

from pathlib import Path
from typing import Any, NamedTuple

import timm
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.ops.feature_pyramid_network import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)


class Kind(NamedTuple):
    """How torchvision writes one of its detectors."""

    build: type[nn.Module]
    strides: tuple[int, ...]
    background: int  # 1 where class 0 is the background, so that labels begin at 1
    limits: str  # what the names of its output limits begin with
    masks: bool = False


KINDS = {
    "fasterrcnn": Kind(detection.FasterRCNN, (4, 8, 16, 32), 1, "box_"),
    "maskrcnn": Kind(detection.MaskRCNN, (4, 8, 16, 32), 1, "box_", masks=True),
    "retinanet": Kind(detection.RetinaNet, (8, 16, 32), 0, ""),
    "fcos": Kind(detection.FCOS, (8, 16, 32), 0, ""),
}


class Pyramid(nn.Module):
    """Features of the wanted strides, through torchvision's feature pyramid.

    torchvision's own ``BackboneWithFPN`` finds layers by name; timm knows the strides of its features instead, which
    serves networks whose layers have other names, and those that put the channels last.
    """

    def __init__(self, body: nn.Module, strides: tuple[int, ...], out_channels: int, extra: str) -> None:
        super().__init__()
        info: Any = body.feature_info
        reductions, channels = info.reduction(), info.channels()
        lacking = [stride for stride in strides if stride not in reductions]
        if lacking:
            raise ValueError(f"the backbone has strides {reductions}; this detector also needs {lacking}")
        self.body, self.out_channels = body, out_channels
        self.taken = [reductions.index(stride) for stride in strides]
        self.channels_last = "NHWC" in str(getattr(body, "output_fmt", "NCHW"))
        widths = [channels[index] for index in self.taken]
        further: ExtraFPNBlock = LastLevelMaxPool() if extra == "pool" else LastLevelP6P7(widths[-1], out_channels)
        self.fpn = FeaturePyramidNetwork(widths, out_channels, further)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to maps (B, out_channels, h, w) by name, from fine to coarse."""
        features = self.body(x)
        taken = [features[index] for index in self.taken]
        if self.channels_last:
            taken = [feature.permute(0, 3, 1, 2) for feature in taken]
        return self.fpn({str(level): feature for level, feature in enumerate(taken)})


def build_detector(
    kind: str,
    backbone: str,
    num_classes: int,
    *,
    min_size: int = 800,
    max_size: int = 1333,
    fpn_channels: int = 256,
    score_threshold: float = 0.05,
    detections: int = 100,
    weights: Path | None = None,
    **kwargs: Any,
) -> nn.Module:
    """A detector of ``num_classes`` classes, the background not counted, on the timm model ``backbone``.

    Training images are taken at their size; at prediction the short side becomes ``min_size`` pixels, the long side at
    most ``max_size``, and the answer is in pixels of the image that was given. Images are normalized here, as the
    backbone's configuration says, so they come as (3, H, W) from 0 to 1.

    Args:
        kind: "fasterrcnn", "retinanet", "fcos" or "maskrcnn".
        fpn_channels: width of the pyramid; for FCOS a multiple of 32 from 64 (its group norm has 32 groups).
        score_threshold: what is less certain is not returned; 0.05 is the custom for measuring AP.
        detections: most objects returned of an image.
        weights: a .safetensors file of the same backbone, such as a classifier's; its head is left out.
        kwargs: further arguments of the timm model, such as ``pretrained``.

    Raises:
        ValueError: for an unknown detector or backbone, a backbone without the strides, weights that do not fit.
    """
    if kind not in KINDS:
        raise ValueError(f"detector is {kind!r}; choose {', '.join(KINDS)}")
    if not timm.is_model(backbone):
        raise ValueError(f"backbone is {backbone!r}, which is not registered with timm; dsm_tiny is")
    if kind == "fcos" and (fpn_channels % 32 or fpn_channels < 64):
        raise ValueError(f"fpn_channels is {fpn_channels}, but FCOS needs a multiple of 32 from 64")
    body = timm.create_model(backbone, features_only=True, **kwargs)
    if weights:
        load_body(body, weights)
    build, strides, background, limits, _ = KINDS[kind]
    settings: Any = body.pretrained_cfg
    return build(
        Pyramid(body, strides, fpn_channels, "pool" if 4 in strides else "convolutions"),
        num_classes=num_classes + background,
        min_size=min_size,
        max_size=max_size,
        image_mean=list(settings["mean"]),
        image_std=list(settings["std"]),
        _skip_resize=True,  # in training only: there the transforms of the data have chosen a size
        **{f"{limits}score_thresh": score_threshold, f"{limits}detections_per_img": detections},
    )


def load_body(body: nn.Module, path: Path) -> None:
    """Load a whole model's weights into its features, for which timm writes ``stages_0`` instead of ``stages.0``."""
    from safetensors.torch import load_file

    theirs = {key.replace(".", "_"): tensor for key, tensor in load_file(path).items()}
    mine = body.state_dict()
    for key, tensor in mine.items():
        found = theirs.get(key.replace(".", "_"))
        if found is None or found.shape != tensor.shape:
            there = "missing" if found is None else f"of shape {tuple(found.shape)}"
            raise ValueError(f"{path} does not fit this backbone: {key}, of shape {tuple(tensor.shape)}, is {there}")
    body.load_state_dict({key: theirs[key.replace(".", "_")] for key in mine})
