"""Masks of single objects: polygons and run lengths (RLE) as COCO writes them, to pixels and back.

By faster-coco-eval, not pycocotools: given run lengths that do not fill the mask, pycocotools 2.0.11 returns memory
that was never written, and can damage the heap. A test compares the two on what is valid.
"""

from typing import Any

import numpy as np


def drawable(segmentation: Any, width: int, height: int) -> Any:
    """What of a mask can be drawn: an RLE that fills exactly the image, polygons of three finite points near it; None
    where nothing can."""
    if isinstance(segmentation, dict):
        return segmentation if _is_rle(segmentation, width, height) else None
    if not isinstance(segmentation, list):
        return None
    return [polygon for polygon in segmentation if _is_polygon(polygon, max(width, height))] or None


def _is_rle(segmentation: dict[str, Any], width: int, height: int) -> bool:
    counts = segmentation.get("counts")
    if segmentation.get("size") != [height, width]:
        return False
    if isinstance(counts, list):
        return all(isinstance(run, int) and run >= 0 for run in counts) and sum(counts) == width * height
    try:
        decode_mask(segmentation, width, height, "")
    except ValueError:
        return False
    return True


def _is_polygon(polygon: Any, side: int) -> bool:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    if not all(isinstance(value, int | float) for value in polygon):
        return False
    # drawing takes memory by the length of the outline: one far away could take all of it; NaN compares false
    return all(-2 * side <= value <= 2 * side for value in polygon)


def decode_mask(segmentation: Any, width: int, height: int, name: str) -> np.ndarray:
    """Pixels (height, width) of an object, uint8, 1 inside; ``ValueError`` beginning with ``name`` for a broken one."""
    from faster_coco_eval.core import mask as rle

    try:
        if isinstance(segmentation, list):
            encoded: Any = rle.merge(rle.frPyObjects(segmentation, height, width))  # type: ignore[arg-type]
        elif isinstance(segmentation["counts"], list):
            encoded = rle.frPyObjects(segmentation, height, width)
        else:
            encoded = segmentation
        return rle.decode(encoded)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"{name}: the mask of an object cannot be drawn: {error}") from error


def encode_mask(pixels: np.ndarray) -> dict[str, Any]:
    """RLE of a mask (H, W), in the compressed form, ready for JSON."""
    from faster_coco_eval.core import mask as rle

    encoded = rle.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
