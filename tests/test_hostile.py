"""Files made to harm: none is unpickled, none gets more than one line of answer."""

import io
import json
import os
import pickle
import re
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

import dsmixer
from dsmixer.cli import main
from dsmixer.engine.checkpoint import _digest


class Canary:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return os.mkdir, ("canary",)


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def zipped():
    """A torch archive whose directory lies about sizes."""
    data = bytearray(saved({"w": torch.ones(4)}))
    place = data.rfind(b"PK\x01\x02")
    data[place + 24 : place + 28] = b"\xff\xff\xff\x7f"
    return bytes(data)


def legacy():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        body = pickle.dumps(Canary())
        member = tarfile.TarInfo("pickle")
        member.size = len(body)
        tar.addfile(member, io.BytesIO(body))
    return file.getvalue()


def script():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Canary()))
        archive.writestr("archive/code/__torch__.py", "import os")
        archive.writestr("archive/version", "3")
    return file.getvalue()


def entry(begin, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


NAMED = {"__metadata__": {"architecture": "dsm_test"}}
WEIGHTS = {
    "a pickle": pickle.dumps(Canary()),
    "a pickle in averaged weights": saved({"model": {"w": torch.ones(2)}, "averaged": Canary()}),
    "a legacy tar": legacy(),
    "a TorchScript archive": script(),
    "a zip with wrong sizes": zipped(),
    "a header of 100 MB that is not there": safetensors(b"{}", length=100_000_000),
    "a header beyond all memory": safetensors(b"{}", length=2**63),
    "a header of brackets": safetensors(b"[" * 100_000),
    "a list": safetensors(b"[1, 2]"),
    "negative offsets": safetensors({**NAMED, "stem.0.weight": entry(-8, 0)}, bytes(8)),
    "offsets beyond the end": safetensors({**NAMED, "stem.0.weight": entry(0, 2**40, (2**38,))}, bytes(8)),
    "overlapping tensors": safetensors({**NAMED, "a": entry(0, 8), "b": entry(4, 12)}, bytes(12)),
    "a name twice": safetensors(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        bytes(8),
    ),
    "an unknown type": safetensors({**NAMED, "a": entry(0, 8, dtype="PICKLE")}, bytes(8)),
    "metadata that is a number": safetensors({"__metadata__": 3, "a": entry(0, 8)}, bytes(8)),
    "nothing": b"",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "canary").exists()


def test_the_canary_would_sing(tmp_path):
    pickle.loads(WEIGHTS["a pickle"])
    (tmp_path / "canary").rmdir()


def assert_one_line(capsys, arguments, code):
    assert main(["train", *arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith("dsmixer: error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name, tmp_path, capsys):
    (tmp_path / "w.safetensors").write_bytes(WEIGHTS[name])
    assert "w.safetensors" in assert_one_line(capsys, ["--recipe=digits", "--model.weights=w.safetensors"], 2)


CONFIGS = {
    "a Python object": "model: !!python/object/apply:os.mkdir [canary]",
    "a Python name": "model: {name: !!python/name:os.system }",
    "a target": "model: {_target_: os.mkdir, _args_: [canary]}",
    "a class path": "optim: {name: {class_path: os.mkdir, init_args: {path: canary}}}",
    "a bomb of aliases": "a: &a [x, x]\nb: &b [*a, *a]\nmodel: {kwargs: *b}",
    "keyword arguments with a class path": "model: {kwargs: {class_path: os.mkdir, init_args: {path: canary}}}",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations(name, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    for path in (tmp_path / "recipe.yaml", tmp_path / "run" / "config.yaml"):
        path.write_text(CONFIGS[name])
    assert_one_line(capsys, ["--recipe=recipe.yaml"], 2)
    assert_one_line(capsys, ["--resume=run"], 2)


def checkpoint(tensors, state, **changes):
    """The two files as they would be if ``tensors`` and ``state`` were ours, digests and all."""
    import hashlib

    body = {"step": 5, "bytes": len(tensors), "sha256": hashlib.sha256(tensors).hexdigest(), "state": state, **changes}
    return tensors, json.dumps({"sha256": _digest(body), "checkpoint": body}).encode()


GOOD = safetensors({"model/w": entry(0, 8)}, bytes(8))
CHECKPOINTS = {
    "a pickle as tensors": (*checkpoint(WEIGHTS["a pickle"], {"step": 5}), ".safetensors is not ours: "),
    "negative offsets": (*checkpoint(WEIGHTS["negative offsets"], {"step": 5}), ".safetensors is not ours: "),
    "a pickle as JSON": (GOOD, pickle.dumps(Canary()), ".json is damaged"),
    "deep JSON": (GOOD, b"[" * 100_000, ".json is damaged"),
    "no state": (*checkpoint(GOOD, {}), ".json is damaged"),
    "a state without its parts": (*checkpoint(GOOD, {"step": 5}), "does not fit this version (KeyError"),
    "a state of another kind": (*checkpoint(GOOD, [1, 2]), ".json is damaged"),
    "a size that is text": (*checkpoint(GOOD, {"step": 5}, bytes="many"), ".safetensors is damaged"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(name, tmp_path, capsys):
    tensors, facts, reason = CHECKPOINTS[name]
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text(
        "model: {name: dsm_test}\ndata: {name: digits, image_size: 8, in_chans: 1, mean: [0.3], std: [0.4]}\n"
    )
    (tmp_path / "run" / "checkpoints" / "step-00000005.safetensors").write_bytes(tensors)
    (tmp_path / "run" / "checkpoints" / "step-00000005.json").write_bytes(facts)
    assert main(["train", "--resume=run"]) == 1
    told = capsys.readouterr().err
    assert told.splitlines()[-1].startswith("dsmixer: error: ")
    assert reason in told


FORBIDDEN = re.compile(
    r"\b(?:import|from) (?:pickle|marshal|shelve)\b|\bpickle\.|torch\.load\(|weights_only=False|"
    r"\beval\((?!\))|\bexec\(|"
    r"yaml\.(?:unsafe_|full_)?load\(|shell=True|os\.system|allow_pickle=True|(?:gather|scatter|broadcast)_object"
)


def test_the_package_holds_no_call_that_runs_what_a_file_says():
    lines = [
        f"{path.name}: {line.strip()}"
        for path in Path(dsmixer.__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if FORBIDDEN.search(line) and not line.lstrip().startswith("#")
    ]
    assert lines == []
    calls = ["pickle.load(f)", "torch.load(p, weights_only=False)", "eval(text)", "yaml.load(t)", "run(c, shell=True)"]
    assert all(FORBIDDEN.search(call) for call in calls)
    assert not FORBIDDEN.search("model.eval()")
