"""The files of every kind that people have, made here: each with what must become of it."""

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image

from .crafted import encoded

GRADIENT = Image.fromarray(np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8))
PHOTO = Image.fromarray(
    np.stack([np.asarray(GRADIENT), np.asarray(GRADIENT)[::-1], np.asarray(GRADIENT)[:, ::-1]], 2).copy()
)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))


def png_of_zeros(width: int, height: int) -> bytes:
    """A whole one-bit PNG: a hundred kilobytes that unpack to gigabytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, row = zlib.compressobj(1), bytes(1 + -(-width // 8)) * 1000
    pixels = b"".join(packer.compress(row) for _ in range(-(-height // 1000))) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def changed(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


def scribbled(data: bytes) -> bytes:
    """40 random bytes, none of them a marker, amid the pixels of a JPEG."""
    noise = bytes(random.Random(0).choices(range(1, 255), k=40))
    middle = len(data) // 2
    return data[:middle] + noise + data[middle + 40 :]


def with_orientation(image: Image.Image, value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(image, "JPEG", quality=95, exif=exif)


def with_damaged_exif(image: Image.Image) -> bytes:
    return encoded(image, "JPEG", quality=95, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")


def animated(kind: str) -> bytes:
    file = io.BytesIO()
    few = PHOTO.convert("P", palette=Image.Palette.ADAPTIVE)
    frames = [few if kind == "GIF" else PHOTO, NOISE.resize((64, 48))]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=50, lossless=True)
    return file.getvalue()


SIXTEEN = Image.fromarray(np.asarray(GRADIENT).astype(np.uint16) * 257)
CLOSE, ROUGH = 3, 12  # mean difference of gray levels: after a good encoder; after few colors or strong compression

# name: (bytes, the picture it shows and how closely, or a word of the reason why it is none)
FILES = {
    "plain.jpg": (encoded(PHOTO, "JPEG", quality=95), (PHOTO, CLOSE)),
    "progressive.jpg": (encoded(PHOTO, "JPEG", quality=95, progressive=True), (PHOTO, CLOSE)),
    "gray.jpg": (encoded(GRADIENT, "JPEG", quality=95), (GRADIENT, CLOSE)),
    "cmyk.jpg": (encoded(PHOTO.convert("CMYK"), "JPEG", quality=95), (PHOTO, ROUGH)),
    "rotated.jpg": (with_orientation(PHOTO, 6), (PHOTO.transpose(Image.Transpose.ROTATE_270), CLOSE)),
    "mirrored.jpg": (with_orientation(PHOTO, 2), (PHOTO.transpose(Image.Transpose.FLIP_LEFT_RIGHT), CLOSE)),
    "damaged-exif.jpg": (with_damaged_exif(PHOTO), (PHOTO, CLOSE)),
    "png-inside.jpg": (encoded(PHOTO), (PHOTO, 0)),
    "scribbled.jpg": (scribbled(encoded(NOISE, "JPEG", quality=95)), (NOISE, 255)),  # no decoder can notice
    "gray-16.png": (encoded(SIXTEEN), (GRADIENT, 0.01)),
    "gray-16.tif": (encoded(SIXTEEN, "TIFF"), (GRADIENT, 0.01)),
    "palette.png": (encoded(PHOTO.convert("P", palette=Image.Palette.ADAPTIVE)), (PHOTO, ROUGH)),
    "palette-alpha.png": (
        encoded(PHOTO.convert("P", palette=Image.Palette.ADAPTIVE), transparency=b"\x80" * 256), (PHOTO, ROUGH)
    ),
    "alpha.png": (encoded(PHOTO.convert("RGBA")), (PHOTO, 0)),
    "gray-alpha.png": (encoded(GRADIENT.convert("LA")), (GRADIENT, 0)),
    "one-bit.png": (encoded(GRADIENT.point(lambda v: 255 * (v > 127)).convert("1")), (GRADIENT.point(
        lambda v: 255 * (v > 127)), 0)),
    "animated.gif": (animated("GIF"), (PHOTO, ROUGH)),
    "animated.webp": (animated("WEBP"), (PHOTO, 0)),
    "animated.png": (animated("PNG"), (PHOTO, 0)),
    "one-pixel.png": (encoded(Image.new("RGB", (1, 1), (9, 9, 9))), (Image.new("RGB", (1, 1), (9, 9, 9)), 0)),
    "30000-by-20.png": (encoded(Image.new("L", (30000, 20), 77)), (Image.new("L", (30000, 20), 77), 0)),
    "half.jpg": (encoded(NOISE, "JPEG")[:1500], "truncated"),
    "no-end.jpg": (encoded(PHOTO, "JPEG")[:-2], "truncated"),
    "half.png": (encoded(NOISE)[:3000], "unpack|truncated"),
    "one-byte-changed.png": (changed(encoded(NOISE), 6000), "broken PNG|broken data|checksum|unpack|damaged"),
    "half.webp": (encoded(NOISE, "WEBP", lossless=True)[:3000], "not an image|damaged"),
    "half.gif": (encoded(NOISE, "GIF")[:2000], "truncated"),
    "empty.jpg": (b"", "empty"),
    "zeros.jpg": (bytes(4096), "not an image"),
    "web-page.jpg": (b"<!doctype html><html></html>", "not an image .*3c 21 64 6f"),
    "text.png": (b"version https://git-lfs.github.com/spec/v1\n", "not an image .*76 65 72 73"),
    "vector.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image .*3c 73 76 67"),
    "float.tif": (encoded(Image.fromarray(np.asarray(GRADIENT).astype(np.float32)), "TIFF"), "floating-point"),
    "large.png": (png_of_zeros(12000, 12000), "more than 64 megapixels; refused unread .12000x12000"),
    "bomb.png": (png_of_zeros(30000, 30000), "more than 64 megapixels; refused unread"),
}  # fmt: skip
BAD = [name for name, (_, expected) in FILES.items() if isinstance(expected, str)]
