"""What can be named as images, and what is said of what cannot."""

import errno
import io
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from PIL import Image

from dsmixer.data.ahead import ahead
from dsmixer.inference import inputs
from dsmixer.inference.inputs import Input, expand, from_stream, image_of, in_ascii


def names(*items):
    return [given.name for given in expand(items)]


def errors(*items):
    found = []
    for given in expand(items):
        with pytest.raises(ValueError, match=r".") as caught:
            image_of(given, "RGB")
        found.append(str(caught.value))
    return found


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.JPG", "deep/c.webp", "deep/notes.txt", ".hidden/d.png", "wei[r]d/e.gif"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), 7).save(path, "PNG")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    return tmp_path


def test_folders_and_patterns_in_order(tree):
    assert names(".") == ["a.JPG", "b.png", "deep/c.webp", "wei[r]d/e.gif"]
    assert names("*.png", "a.JPG") == ["b.png", "a.JPG"]
    assert names("d**/*.webp") == ["deep/c.webp"]
    assert names("wei[r]d") == names("wei[r]d/e.gif") == ["wei[r]d/e.gif"]
    assert names(tree / "deep" / "notes.txt") == [str(tree / "deep" / "notes.txt")]  # named, so it is tried
    image = image_of(next(expand(["a.JPG"])), "RGB")
    assert (image.size, image.mode, image.getpixel((0, 0))) == ((4, 4), "RGB", (7, 7, 7))


def test_what_is_missing_is_an_error_of_its_own(tree):
    (tree / "empty").mkdir()
    assert errors("gone.png", "*.tiff", "empty") == [
        "cannot be read (No such file or directory)",
        "matches no image",
        "holds no image",
    ]
    (tree / "text.png").write_text("hello")
    assert "not an image (5 bytes" in errors("text.png")[0]
    assert not errors("text.png")[0].startswith("text.png")
    os.mkfifo(tree / "pipe.png")
    assert errors("pipe.png") == ["not a file"]


def test_a_name_that_no_file_can_have_is_an_error_of_its_own(tree):
    long = "a" * 300 + ".png"
    assert names("a.JPG", long, f"{long}*", "b.png") == ["a.JPG", long, f"{long}*", "b.png"]
    assert errors(long) == ["cannot be read (File name too long)"]
    assert errors("a\0b.png") == ["embedded null byte"]


def test_what_a_folder_names_but_does_not_show_is_an_error_of_its_own(tree, monkeypatch):
    """A closed folder, and a link that leads nowhere; the folder is closed to root, too, by a call that fails."""
    (tree / "deep" / "gone.png").symlink_to("nowhere.png")
    scandir = os.scandir

    def closed(folder):
        if os.path.basename(folder) == "wei[r]d":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    assert names(".") == ["a.JPG", "b.png", "deep/c.webp", "deep/gone.png", "wei[r]d"]
    assert errors("deep/gone.png", "wei[r]d") == [
        "cannot be read (No such file or directory)",
        "cannot be listed (Permission denied)",
    ]


def test_pixels_and_bytes():
    array = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for item in (array, Image.fromarray(array)):
        assert np.array_equal(np.asarray(image_of(Input("it", item), "RGB")), array)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.new("RGB", (8, 4))
    turned.save(file, "JPEG", exif=exif)
    assert image_of(Input("it", file.getvalue()), "L").size == (4, 8)
    assert image_of(Input("it", Image.open(io.BytesIO(file.getvalue()))), "L").size == (4, 8)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_damaged_image_that_pillow_has_not_read_yet(mode):
    noise = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert(mode).save(noise, "JPEG")
    half = Image.open(io.BytesIO(noise.getvalue()[:1500]))
    for message in errors(half, half):
        assert message.startswith("damaged image: ")


def test_one_image_that_pillow_has_not_read_yet_for_several_threads():
    class Slow(io.BytesIO):
        def read(self, *size):
            time.sleep(1e-3)
            return super().read(*size)

    file, pixels = io.BytesIO(), Image.effect_noise((300, 300), 50)
    pixels.save(file, "PNG")
    image = Image.open(Slow(file.getvalue()))
    for found in ahead(lambda given: image_of(given, "L"), [Input("it", image)] * 8, 4, 8):
        assert np.array_equal(np.asarray(found), np.asarray(pixels))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.zeros((4, 4, 3)), r"array \(4, 4, 3\) of float64; expected \(H, W\) or \(H, W, 3\) of uint8"),
        (np.zeros((4, 4, 4), np.uint8), r"array \(4, 4, 4\) of uint8"),
        (np.zeros((0, 4), np.uint8), r"array \(0, 4\)"),
        (Image.new("RGB", (0, 10)), r"^empty: 0x10 pixels$"),
        (Image.new("L", (10, 0)), r"^empty: 10x0 pixels$"),
        (7, "int is no image; expected a path, a URL"),
    ],
)
def test_what_is_no_image(item, message):
    with pytest.raises(ValueError, match=message):
        image_of(next(expand([item])), "RGB")


def test_standard_input_is_paths_or_an_image():
    def read(data):
        return list(from_stream(io.BufferedReader(io.BytesIO(data))))

    assert read(b"a.png\r\n\nBM w.png\nlast") == ["a.png", "BM w.png", "last"]
    assert read(b"") == []
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        file = io.BytesIO()
        Image.new("RGB", (300, 200), "red").save(file, kind)
        assert read(file.getvalue()) == [file.getvalue()]


@pytest.fixture
def server(monkeypatch):
    """Serves one picture at /a.png and /äö.png; /file leads to a local file, /long never ends."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    file = io.BytesIO()
    Image.new("RGB", (5, 3), "red").save(file, "PNG")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            known = {"/a.png": 200, "/%C3%A4%C3%B6%20.png?%C3%BC=1": 200, "/file": 302, "/ftp": 302, "/long": 200}
            self.send_response(known.get(self.path, 404))
            if known.get(self.path) == 302:
                self.send_header("Location", "file:///etc/hostname" if self.path == "/file" else "ftp://127.0.0.1/x")
            self.end_headers()
            if known.get(self.path) == 200:
                self.wfile.write(file.getvalue() + bytes(10_000 if self.path == "/long" else 0))

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_addresses(server, monkeypatch):
    assert image_of(next(expand([f"{server}/a.png"])), "RGB").size == (5, 3)
    for same in ("äö .png?ü=1", "%C3%A4%C3%B6%20.png?%C3%BC=1"):
        assert image_of(next(expand([f"{server}/{same}"])), "RGB").size == (5, 3)
    assert in_ascii("http://bücher.example:80/ü?a=b&c=%20#d") == "http://xn--bcher-kva.example:80/%C3%BC?a=b&c=%20#d"
    assert errors(f"{server}/gone.png") == ["the server answers 404 Not Found"]
    assert "file:///etc/hostname" in errors(f"{server}/file")[0]
    assert "unknown url type: ftp" in errors(f"{server}/ftp")[0]
    monkeypatch.setattr(inputs, "MAX_BYTES", 9_000)
    assert errors(f"{server}/long") == ["more than 0.009 MB"]
    monkeypatch.setattr(inputs, "DEADLINE", -1)
    assert errors(f"{server}/a.png") == ["not complete after -1 seconds"]


def test_without_a_network_one_sentence_says_so(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (message,) = errors("http://127.0.0.1:9/a.png")
    assert message.startswith("cannot be fetched (")
    assert message.endswith("is there a network?")
    assert errors("ftp://example.org/a.png") == ["ftp addresses are not fetched, only http and https"]
    assert errors("http://[bad/a.png") == ["Invalid IPv6 URL"]


def test_nobody_waits_for_what_is_no_longer_wanted():
    """What is being done may be a download that takes minutes."""
    begun, enough = threading.Event(), threading.Event()

    def work(item):
        if item == "slow":
            begun.set()
        (enough if item == "slow" else begun).wait(20)

    seen, begin = ahead(work, ["quick", "slow"], 2, 2), time.monotonic()
    next(seen)
    seen.close()
    assert time.monotonic() - begin < 10
    enough.set()
