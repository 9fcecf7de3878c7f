"""The names of timm that its packages do not export; pinned and tested in one place."""

from timm.models._features import feature_take_indices

__all__ = ["feature_take_indices"]
