"""Bytes of unknown origin become upright 8-bit pixels, or a sentence that names them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dsmixer.data.decode import decode

GRADIENT = np.linspace(0, 255, 32 * 24).reshape(24, 32).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and has next to no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_common_formats_in_both_modes(kind, mode):
    image = decode(encode(Image.fromarray(GRADIENT), kind), mode, "it")
    assert (image.mode, image.size) == (mode, (32, 24))
    assert np.abs(np.asarray(image.convert("L")).astype(int) - GRADIENT).mean() < 4


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    image = decode(encode(Image.fromarray(GRADIENT), "JPEG", quality=95, exif=exif), "L", "it")
    assert image.size == (24, 32)
    assert np.abs(np.asarray(image).astype(int) - np.rot90(GRADIENT, -1)).mean() < 3


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    image = decode(encode(Image.fromarray(values), "PNG"), "L", "it")
    assert np.asarray(image).tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "1", "LA"])
def test_other_color_modes_come_out_as_rgb(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert decode(encode(Image.fromarray(GRADIENT).convert("RGB").convert(mode), kind), "RGB", "it").mode == "RGB"


def test_a_palette_with_transparency_is_decoded_without_a_warning():
    image = Image.fromarray(GRADIENT).convert("P")
    assert decode(encode(image, "PNG", transparency=b"\x80" * 256), "RGB", "it").mode == "RGB"


def with_one_byte_changed(png: bytes) -> bytes:
    return png[:6000] + bytes([png[6000] ^ 255]) + png[6001:]


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
BROKEN = {
    "half a JPEG": encode(NOISE, "JPEG")[:3000],
    "half a PNG": encode(NOISE, "PNG")[:3000],
    "one byte of a PNG changed": with_one_byte_changed(encode(NOISE, "PNG")),
    "nothing": b"",
    "a web page": b"<!doctype html><html></html>",
    "floating point": encode(Image.fromarray(GRADIENT.astype(np.float32)), "TIFF"),
    "144 megapixels": png_header(12000, 12000),
    "900 megapixels": png_header(30000, 30000),
    "65 megapixels": png_header(6500, 10000),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_read_is_one_sentence_with_the_samples_name(what):
    with pytest.raises(ValueError, match=r"^row 7 of train: ") as caught:
        decode(BROKEN[what], "RGB", "row 7 of train")
    assert "megapixel" not in what or "megapixels; refused unread" in str(caught.value)
