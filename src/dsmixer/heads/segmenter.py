"""A backbone with a head that labels every pixel."""

from typing import Any, Literal, NamedTuple

from timm.layers import ConvNormAct
from torch import Tensor, nn

from dsmixer.heads.backbone import OnBackbone, features
from dsmixer.heads.semantic_fpn import SemanticFpnHead
from dsmixer.heads.upernet import UperNetHead, resized

HEADS = {"upernet": UperNetHead, "semantic_fpn": SemanticFpnHead}


class SegmentationLogits(NamedTuple):
    """What training compares with the mask, both (B, classes, H, W) at the size of the images."""

    main: Tensor
    auxiliary: Tensor | None


class Segmenter(OnBackbone):
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

    classifier = ("head.classifier", "auxiliary.2")

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
        self.num_classes = num_classes
        made: Any = features(backbone, backbone_kwargs or {})
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
        levels = self.backbone(images)
        logits = resized(self.head(levels), images)
        if not self.training:
            return logits
        auxiliary = None if self.auxiliary is None else resized(self.auxiliary(levels[-2]), images)
        return SegmentationLogits(logits, auxiliary)
