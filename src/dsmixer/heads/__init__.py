"""Features in, raw predictions out: what is put on a backbone, and what is exported."""

from dsmixer.heads.segmenter import SegmentationLogits, Segmenter
from dsmixer.heads.semantic_fpn import SemanticFpnHead
from dsmixer.heads.upernet import UperNetHead

__all__ = ["SegmentationLogits", "Segmenter", "SemanticFpnHead", "UperNetHead"]
