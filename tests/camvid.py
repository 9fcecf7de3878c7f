"""Where CamVid lies, if it does, and its classes."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("DSMIXER_DATA", "../shared/data")) / "camvid"
CLASSES = [
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
]  # fmt: skip
VOID = 11
needs_camvid = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no CamVid at {ROOT}; set DSMIXER_DATA")
