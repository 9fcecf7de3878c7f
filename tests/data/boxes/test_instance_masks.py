"""Masks come back as they went, and are those of the reference implementation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as reference

from dsmixer.data.boxes.instance_masks import decode_mask, drawable, encode_mask

# pycocotools 2.0.11 warns of its own arrays under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_encoding_is_undone_by_decoding_and_is_the_references(pixels):
    height, width = pixels.shape
    encoded = encode_mask(pixels)
    assert drawable(encoded, width, height) == encoded
    assert np.array_equal(decode_mask(encoded, width, height, ""), pixels)
    theirs = reference.encode(np.asfortranarray(pixels.astype(np.uint8)))
    assert encoded == {"size": list(theirs["size"]), "counts": theirs["counts"].decode()}


@settings(max_examples=50)
@given(st.lists(st.floats(-10, 50), min_size=6, max_size=16).filter(lambda points: len(points) % 2 == 0))
def test_polygons_are_filled_as_the_reference_fills_them(polygon):
    square = [1.0, 1.0, 9.0, 1.0, 9.0, 9.0, 1.0, 9.0]
    assert drawable([polygon, square], 40, 30) == [polygon, square]
    theirs = reference.decode(reference.merge(reference.frPyObjects([polygon, square], 30, 40)))
    assert np.array_equal(decode_mask([polygon, square], 40, 30, ""), theirs)


@pytest.mark.parametrize("counts", [[3, 4], [100, 5], "000", "PPPP", "z" * 30, "", "é", "1"])
def test_run_lengths_that_do_not_fill_the_mask_are_refused(counts):
    segmentation = {"size": [4, 5], "counts": counts}
    assert drawable(segmentation, 5, 4) is None
    with pytest.raises(ValueError, match=r"^a\.png: the mask of an object cannot be drawn: "):
        decode_mask(segmentation, 5, 4, "a.png")


@pytest.mark.parametrize(
    "segmentation",
    [[], [[]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5]], [["1", "2", "3", "4", "5", "6"]], [1, 2, 3, 4, 5, 6],
     {"size": [4, 5]},
     {"size": [4, 5], "counts": [-3, 23]}, {"size": [4, 5], "counts": [10.0, 10.0]}, "text"],
)  # fmt: skip
def test_what_is_neither_polygon_nor_rle(segmentation):
    assert drawable(segmentation, 5, 4) is None


def test_of_several_parts_those_that_can_be_drawn_stay():
    square = [1.0, 1.0, 3.0, 1.0, 3.0, 3.0]
    assert drawable([[1, 2, 3, 4], square, [float("nan")] * 6], 5, 4) == [square]
