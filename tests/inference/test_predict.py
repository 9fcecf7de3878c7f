"""`dsmixer predict`: a line for each image in order, whatever happens to the others; nothing written unasked."""

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys

import pytest
from PIL import Image

from dsmixer.cli import main

from .conftest import ABOUT


@pytest.fixture
def here(digits, tmp_path, monkeypatch):
    """A folder with two digits, a damaged file, and one of an odd name beside it."""
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    monkeypatch.setenv("DSMIXER_WEIGHTS", str(tmp_path))  # as if none came with the package
    for name, number in (("a.png", "00"), ("b.png", "01"), ('../a;$(touch x) ü,"b.png', "02")):
        (tmp_path / "in" / name).write_bytes((digits / f"{number}.png").read_bytes())
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_json_lines_in_the_order_of_the_images(here, weights, capsys):
    before, odd = tree(here), '../a;$(touch x) ü,"b.png'
    asked = ["predict", odd, "b.png", "bad.png", "gone.png", "a.png", f"--weights={weights}", "--top-k=2"]
    assert main([*asked, "--batch-size=2"]) == 1
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["image"] for line in lines] == [odd, "b.png", "bad.png", "gone.png", "a.png"]
    assert ["error" in line for line in lines] == [False, False, True, True, False]
    assert all(len(line["top"]) == 2 for line in lines if "top" in line)
    assert lines[0]["top"][0]["class"] in ABOUT["class_names"]
    assert "5 images, 2 failed" in shown.err
    assert tree(here) == before


def test_csv_says_the_same(here, weights, capsys):
    assert main(["predict", "..", f"--weights={weights}"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main(["predict", "..", f"--weights={weights}", "--out=../out.csv"]) == 1
    assert capsys.readouterr().out == ""
    rows = list(csv.DictReader((here / "out.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 4
    for row, line in zip(rows, lines, strict=True):
        assert row["image"] == line["image"]
        assert row["error"] == line.get("error", "")
        for place, top in enumerate(line.get("top", []), 1):
            assert row[f"class_{place}"] == top["class"]
            assert float(row[f"probability_{place}"]) == top["probability"]


def test_the_sheet_and_what_is_not_overwritten(here, weights, capsys):
    asked = ["predict", "a.png", "bad.png", f"--weights={weights}", "--out=../o.jsonl", "--sheet=../s.png"]
    assert main(asked) == 1
    with Image.open(here / "s.png") as sheet:
        assert sheet.size == (992, 152)
        assert sheet.getpixel((130, 20)) == (0xCC, 0xCC, 0xCC)  # the second could not be read
    assert main(asked) == 2
    assert "--out ../o.jsonl exists; choose another or add --overwrite" in capsys.readouterr().err
    assert main([*asked, "--overwrite"]) == 1


def test_standard_input(here, weights, capsys, monkeypatch):
    def given(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
        code = main(["predict", "-", f"--weights={weights}", "--top-k=1"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    code, lines = given(b"b.png\nbad.png\na.png\n")
    assert (code, [line["image"] for line in lines]) == (1, ["b.png", "bad.png", "a.png"])
    code, (line,) = given((here / "in" / "a.png").read_bytes())
    assert (code, line["top"]) == (0, lines[2]["top"])
    assert given(b"") == (0, [])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_name_that_is_no_unicode(here, weights, capsys):
    odd = os.fsdecode(b"caf\xe9.png")
    (here / "in" / "a.png").rename(here / "in" / odd)
    assert main(["predict", odd, f"--weights={weights}", "--out=../o.csv", "--sheet=../s.png"]) == 0
    assert "caf\\udce9.png" in (here / "o.csv").read_text()


@pytest.mark.parametrize(
    ("encoding", "name", "shown"),
    [("utf-8", b"caf\xe9.png", r"caf\udce9.png"), ("ascii", "é.png".encode(), r"\xe9.png")],
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_standard_output_takes_a_name_that_its_encoding_lacks(here, weights, monkeypatch, encoding, name, shown):
    odd, out = os.fsdecode(name), io.TextIOWrapper(io.BytesIO(), encoding, "strict")
    (here / "in" / "b.png").rename(here / "in" / odd)
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["predict", "a.png", odd, "a.png", f"--weights={weights}", "--format=csv", "--top-k=1"]) == 0
    lines = out.buffer.getvalue().decode(encoding).splitlines()
    assert [line.partition(",")[0] for line in lines] == ["image", "a.png", shown, "a.png"]


def test_without_standard_output_lines_need_a_file(here, weights, capsys, monkeypatch):
    asked = ["predict", "a.png", f"--weights={weights}"]
    monkeypatch.setattr(sys, "stdout", None)  # as Python has it where the shell closed it, by >&-
    assert main(asked) == 2
    assert capsys.readouterr().err == "dsmixer: error: standard output is closed; say where the lines go: --out FILE\n"
    assert main([*asked, "--out=../o.jsonl"]) == 0


STOPPED = """
import signal, sys
from dsmixer import cli
from dsmixer.cli import predict
from dsmixer.data.ahead import ahead
from dsmixer.inference.inputs import fetch

def without_a_network(addresses):
    print("what was said before")
    list(ahead(fetch, addresses, 1, 1))

signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
predict.main = without_a_network
sys.exit(cli.main())
"""


def test_ctrl_c_does_not_wait_for_a_slow_address():
    """The server takes the question and does not answer, for which ``fetch`` has 20 seconds."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", STOPPED, "predict", f"http://127.0.0.1:{server.getsockname()[1]}/"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        server.settimeout(60)
        with subprocess.Popen(command, text=True, env=environment, **pipes) as asked, server.accept()[0] as slow:
            try:
                slow.recv(1)
                asked.send_signal(signal.SIGINT)
                said = asked.communicate(timeout=10)
            finally:
                asked.kill()
    assert (asked.returncode, *said) == (130, "what was said before\n", "stopped\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to predict"),
        (["a.png"], "which DSMIXER_WEIGHTS names; name a run folder or a .safetensors file (with --weights)"),
        (["a.png", "--weights=gone"], "gone does not exist; give a run folder"),
        (["list.txt"], "list.txt is no image; if it names images, one a line: dsmixer predict - < list.txt"),
        (["a.png", "-", "--weights={}"], "- (standard input) goes alone"),
        (["a.png", "--weights={}", "--top-k=0"], "--top-k is 0, but it must be at least 1"),
        (["a.png", "--weights={}", "--top-k=x"], "invalid int value: 'x'"),
        (["a.png", "--weights={}", "--threads=-1"], "--threads is -1, but it must be at least 0"),
        (["a.png", "--weights={}", "--format=xml"], "invalid choice: 'xml'"),
        (["a.png", "--weights={}", "--sheet=s.jpg"], "must end in .png"),
        (
            ["a.png", "--weights={}", "--out=no/such.csv"],
            "--out no/such.csv: the folder no does not exist; make it first",
        ),
        (["a.png", "--weights={}", "--out=."], "is a folder"),
        (["a.png", "--weights={}", "--device=cuda:77"], "--device is cuda:77, which this machine does not offer"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(here, weights, capsys, arguments, message):
    before = tree(here)
    assert main(["predict", *(argument.format(weights) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert tree(here) == before
