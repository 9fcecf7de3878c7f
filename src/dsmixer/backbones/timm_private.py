"""The names of timm that its packages do not export; pinned and tested in one place."""

from timm.models._features import feature_take_indices
from timm.models._manipulate import checkpoint_seq

__all__ = ["checkpoint_seq", "feature_take_indices"]
