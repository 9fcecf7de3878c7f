"""A backbone with a head that labels every pixel."""

from typing import Any, Literal, NamedTuple

import timm
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dsmixer.heads.semantic_fpn import SemanticFpnHead
from dsmixer.heads.upernet import UperNetHead

STAGES = (-4, -3, -2, -1)  # a ResNet's features begin with its stem, at stride 2, which no head of the papers reads
HEADS = {"upernet": UperNetHead, "semantic_fpn": SemanticFpnHead}


class SegmentationLogits(NamedTuple):
    """What training compares with the mask, both (B, classes, H, W) at the size of the images."""

    main: Tensor
    auxiliary: Tensor | None


class Segmenter(nn.Module):
    """Images of any size to a score a class and pixel.

    Args:
        backbone: a timm model with ``forward_intermediates``; ours, or a peer.
        num_classes: channels of the logits.
        head: ``"upernet"`` or ``"semantic_fpn"``.
        auxiliary: a second, small head on the last stage but one, for training alone, as UPerNet's users have it.
        head_kwargs: further options of the head.
        backbone_kwargs: of the backbone, such as ``pretrained=True``, ``drop_path_rate`` or ``stem_stride``.

    Raises:
        ValueError: for an unknown backbone or head.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        *,
        head: Literal["upernet", "semantic_fpn"] = "upernet",
        auxiliary: bool = True,
        head_kwargs: dict[str, Any] | None = None,
        backbone_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"head {head!r} is unknown; use {' or '.join(map(repr, HEADS))}")
        if not timm.is_model(backbone.split(".", maxsplit=1)[0]):
            raise ValueError(f"backbone {backbone!r} is not in timm's registry")
        self.num_classes = num_classes
        made: Any = timm.create_model(
            backbone, features_only=True, feature_cls="getter", out_indices=STAGES, **(backbone_kwargs or {})
        )
        self.backbone = made
        dims = made.feature_info.channels()
        self.head = HEADS[head](dims, num_classes, **(head_kwargs or {}))
        self.auxiliary = None
        if auxiliary:
            norm = (head_kwargs or {}).get("norm", nn.BatchNorm2d)
            self.auxiliary = nn.Sequential(
                ConvNormAct(dims[-2], 256, 3, norm_layer=norm), nn.Dropout2d(0.1), nn.Conv2d(256, num_classes, 1)
            )

    def forward(self, images: Tensor) -> Tensor | SegmentationLogits:
        """Logits (B, classes, H, W) of images (B, C, H, W); while training, those of the auxiliary head as well."""
        features = self.backbone(images)
        logits = _at_size(self.head(features), images)
        if not self.training:
            return logits
        auxiliary = None if self.auxiliary is None else _at_size(self.auxiliary(features[-2]), images)
        return SegmentationLogits(logits, auxiliary)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers of the backbone for layer-wise learning rate decay; the heads are the last, at the full rate."""
        model: Any = self.backbone.model
        inner = model.group_matcher(coarse=coarse)
        return {name: _below_backbone(patterns) for name, patterns in inner.items()}

    def no_weight_decay(self) -> set[str]:
        """What the backbone spares."""
        inner = getattr(self.backbone.model, "no_weight_decay", set)()
        return {f"backbone.model.{name}" for name in inner}


def _at_size(logits: Tensor, images: Tensor) -> Tensor:
    return interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)


def _below_backbone(patterns: Any) -> Any:
    """timm's patterns, one or a list of (pattern, order), anchored at the backbone's place."""
    if isinstance(patterns, str):
        return rf"^backbone\.model\.(?:{patterns.replace('^', '')})"  # the pattern may be an alternative
    return [(_below_backbone(pattern), order) for pattern, order in patterns]
