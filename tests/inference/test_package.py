"""Weights in half precision are what timm and `dsmixer.load` take by name, without a network."""

import json
import re
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import dsmixer
from dsmixer.backbones.pretrained import read_packaged
from dsmixer.cli import main
from dsmixer.engine.checkpoint import CheckpointError
from dsmixer.inference.package import public
from dsmixer.weights import default, packaged, read_about

from ..engine.test_checkpoint import files_limited_to
from .conftest import ABOUT, COLOR, write_header, write_weights

CHECKS = """
import json, timm, torch, dsmixer
name = "dsm_test.tiny_digits"
image = torch.linspace(0, 1, 192).view(1, 3, 8, 8)
model = timm.create_model(name, pretrained=True).eval()
cfg = model.pretrained_cfg
seven = timm.create_model(name, pretrained=True, num_classes=7).eval()
gray = timm.create_model(name, pretrained=True, in_chans=1).eval()
maps = timm.create_model(name, pretrained=True, features_only=True, out_indices=(0, 1)).eval()
try:
    timm.create_model("dsm_test", pretrained=True)
except RuntimeError as error:
    complaint = str(error)
with torch.inference_mode():
    trunk = model.forward_intermediates(image, intermediates_only=True)
    found = {
        "pretrained": timm.list_models("dsm_*", pretrained=True),
        "models": len(timm.list_models("dsm_*")),
        "dtype": str(next(model.parameters()).dtype),
        "logits": model(image)[0].tolist(),
        "loaded": dsmixer.load(name).logits(image)[0].tolist(),
        "default": dsmixer.load().about.architecture,
        "cfg": {key: cfg[key] for key in ("num_classes", "input_size", "mean", "std", "label_names", "pool_size")},
        "grid": list(trunk[-1].shape[-2:]),
        "seven": list(seven(image).shape),
        "same trunk": bool(torch.equal(seven.forward_features(image), trunk[-1])),
        "maps": [bool(torch.equal(a, b)) for a, b in zip(maps(image), trunk)],
        "gray": bool(torch.allclose(gray(image[:, :1]), model(image[:, :1].repeat(1, 3, 1, 1)), atol=1e-3)),
        "untagged": [timm.create_model("dsm_test").num_classes, timm.create_model("dsm_test").stem.conv.stride[0]],
        "untrained tag": timm.create_model(name).stem.conv.stride[0],
        "complaint": complaint,
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("color") / "model.safetensors", **COLOR)


@pytest.fixture(scope="module")
def shipped(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    assert main(["weights", str(weights), "--tag=tiny_digits", f"--out={folder}"]) == 0
    return folder


def test_timm_takes_them_by_name(weights, shipped, monkeypatch):
    monkeypatch.setenv("DSMIXER_WEIGHTS", str(shipped))
    command = [sys.executable, "-W", "error", "-c", CHECKS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    image = torch.linspace(0, 1, 192).view(1, 3, 8, 8)
    expected = dsmixer.load(weights, precision="float32").logits(image)[0].tolist()
    assert found["logits"] == pytest.approx(expected, abs=2e-3)  # float16 keeps 11 bits
    assert found["logits"] != expected
    assert found["loaded"] == pytest.approx(found["logits"], abs=1e-6)
    assert found["cfg"] == {
        "num_classes": 10,
        "input_size": [3, 8, 8],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "label_names": ABOUT["class_names"],
        "pool_size": found["grid"],
    }
    assert found["pretrained"] == ["dsm_test.tiny_digits"]
    assert (found["models"], found["default"], found["dtype"]) == (10, "dsm_test", "torch.float32")
    assert (found["seven"], found["same trunk"], found["maps"], found["gray"]) == ([1, 7], True, [True, True], True)
    # timm adds the three channels of the stem in float16, hence 1e-3 there
    assert (found["untagged"], found["untrained tag"]) == ([1000, 4], 2)
    assert found["complaint"] == "No pretrained weights exist for dsm_test alone. Ask for dsm_test.tiny_digits."


def test_the_file_is_half_as_large_and_says_the_same(weights, shipped):
    file = shipped / "dsm_test.tiny_digits.safetensors"
    assert read_about(file) == read_about(weights)
    before, after = load_file(weights), load_file(file)
    assert {tensor.dtype for tensor in after.values()} == {torch.float16}
    assert all(torch.equal(after[key], before[key].half()) for key in before)
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["format"] == "pt"
    card = (shipped / "dsm_test.tiny_digits.md").read_text()
    assert 'timm.create_model("dsm_test.tiny_digits", pretrained=True)' in card
    assert "10 classes, input 3x8x8" in card


def test_the_card_shows_nothing_of_the_machine():
    command = "dsmixer train --recipe finetune --data.root /home/me/data --out=/tmp/x --overwrite --model.weights /w"
    assert public(command) == "dsmixer train --recipe finetune --data.root FOLDER --model.weights WEIGHTS"
    assert (
        public("dsmixer train --recipe=/home/me/my.yaml --run.seed 3") == "dsmixer train --recipe my.yaml --run.seed 3"
    )
    quoted = "dsmixer train --resume /tmp/x --model.kwargs '{dims: [8, 16]}' --run.seed=3"
    assert public(quoted) == "dsmixer train --model.kwargs '{dims: [8, 16]}' --run.seed 3"


def test_a_network_with_a_head_ships_beside_classifiers_and_is_never_the_default(shipped, tmp_path, monkeypatch):
    from .test_dense import write_weights as write_dense

    monkeypatch.setenv("DSMIXER_WEIGHTS", str(tmp_path))
    dense = write_dense(tmp_path / "run.safetensors", "upernet")
    assert main(["weights", str(dense), "--tag=made_up", f"--out={tmp_path}"]) == 0
    file = tmp_path / "dsm_test-upernet.made_up.safetensors"
    assert not any(key.startswith("auxiliary.") for key in load_file(file))
    assert repr(dsmixer.load("dsm_test-upernet.made_up")) == "<dsm_test with upernet, 3 classes a pixel>"
    assert "timm.create_model" not in file.with_suffix(".md").read_text()
    assert read_packaged({"dsm_test": None}) == {}
    with pytest.raises(ValueError, match=r"no weights of a classifier lie in .*, which DSMIXER_WEIGHTS names; name a"):
        default()


def test_mistakes(weights, shipped, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert main(["weights", str(weights), "--tag=a", f"--out={tmp_path / 'file'}"]) == 2
    assert "is a file; give a folder" in capsys.readouterr().err
    again = ["weights", str(weights), "--tag=tiny_digits", f"--out={shipped}"]
    assert main(again) == 2
    assert "exists; remove it first" in capsys.readouterr().err
    assert main(["weights", str(weights), "--tag=../x", f"--out={tmp_path}"]) == 2
    assert "--tag is '../x', but it must be letters, digits and _" in capsys.readouterr().err
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:-8])
    assert main(["weights", str(tmp_path / "cut.safetensors"), "--tag=a", f"--out={tmp_path}"]) == 2
    assert "cut.safetensors is not a readable .safetensors file of weights" in capsys.readouterr().err
    huge = write_weights(tmp_path / "huge.safetensors")
    from dsmixer.engine.model import save_weights

    save_weights(huge, {key: tensor + 7e4 for key, tensor in load_file(huge).items()}, read_about(huge).to_dict())
    assert main(["weights", str(huge), "--tag=huge", f"--out={tmp_path / 'out'}"]) == 2
    assert "values that half precision cannot hold" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(weights, tmp_path, capsys):
    with files_limited_to(1000):
        assert main(["weights", str(weights), "--tag=x", f"--out={tmp_path}"]) == 1
    said = rf"dsmixer: error: no room to save {tmp_path}/dsm_test\.x\.safetensors: it needs .* are free \(.*\)\n"
    assert re.fullmatch(said, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [CheckpointError("no room"), OSError(5, "no room")], ids=repr)
def test_weights_whose_card_cannot_be_written_leave_too(error, weights, tmp_path, monkeypatch, capsys):
    def refuse(path, data):
        raise error

    monkeypatch.setattr("dsmixer.inference.package.write_atomically", refuse)
    assert main(["weights", str(weights), "--tag=x", f"--out={tmp_path}"]) == 1
    assert "no room" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_default_knows_the_most_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("DSMIXER_WEIGHTS", str(tmp_path))
    write_weights(tmp_path / "dsm_test.letters.safetensors", class_names=list("abcdefghijklm"))
    write_weights(tmp_path / "dsm_test.digits.safetensors")
    write_weights(tmp_path / "no_tag.safetensors", class_names=list("abcdefghijklmnopqr"))
    assert sorted(packaged()) == ["dsm_test.digits", "dsm_test.letters"]
    assert default().stem == "dsm_test.letters"
    assert dsmixer.load("dsm_test.digits").classes == ABOUT["class_names"]
    listed = r"give .* a packaged name \(one of dsm_test.digits, dsm_test.letters\)"
    with pytest.raises(ValueError, match=rf"dsm_test.letter does not exist; did you mean dsm_test.letters\? {listed}"):
        dsmixer.load("dsm_test.letter")
    with pytest.raises(ValueError, match=rf"nothing like it does not exist; {listed}"):
        dsmixer.load("nothing like it")
    with pytest.raises(ValueError, match=r"^dsm_test needs a tag, .*: dsm_test.digits or dsm_test.letters$"):
        dsmixer.load("dsm_test")


def test_another_folder_of_weights_that_is_none_is_named(tmp_path, monkeypatch):
    nowhere = f"lie in {tmp_path / 'nowhere'}, which DSMIXER_WEIGHTS names, but which is no folder"
    monkeypatch.setenv("DSMIXER_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=f"^no weights of a classifier {nowhere}; name a run folder"):
        default()
    with pytest.raises(ValueError, match=rf"^dsm_test.letters does not exist; .* \(none of which {nowhere}\)$"):
        dsmixer.load("dsm_test.letters")


def test_models_say_which_have_weights(shipped, tmp_path, monkeypatch, capsys):
    for folder, tags in ((shipped, "tiny_digits"), (tmp_path, "")):
        monkeypatch.setenv("DSMIXER_WEIGHTS", str(folder))
        assert main(["models", "dsm_test", "--csv", "--size=8"]) == 0
        heading, row = (line.split(",") for line in capsys.readouterr().out.splitlines())
        assert row[heading.index("packaged_weights")] == tags


def test_files_that_timm_cannot_know_are_left_out_and_those_that_mislead_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("DSMIXER_WEIGHTS", str(tmp_path))
    write_header(tmp_path / "dsm_test.digits.safetensors")
    write_header(tmp_path / "convnext_atto.digits.safetensors", architecture="convnext_atto.d2_in1k")
    assert list(read_packaged({"dsm_test": None})) == ["dsm_test.digits"]
    write_header(tmp_path / "dsm_atto.digits.safetensors")
    (tmp_path / "model.fp16.safetensors").write_bytes(b"junk")
    with pytest.warns(UserWarning, match="not registered with timm") as told:
        assert list(read_packaged({"dsm_test": None, "dsm_atto": None})) == ["dsm_test.digits"]
    assert [str(each.message).partition(f"{tmp_path}/")[2] for each in told] == [
        "dsm_atto.digits.safetensors holds weights of dsm_test; its name must begin with that",
        "model.fp16.safetensors is not a readable .safetensors file of weights",
    ]


@pytest.mark.parametrize("architecture", ["dsm_zepto.cifar10", "convnext_atto.d2_in1k"])
def test_a_tag_takes_the_place_of_another(architecture, tmp_path, monkeypatch):
    weights = write_header(tmp_path / "model.safetensors", architecture=architecture)
    assert main(["weights", str(weights), "--tag=mine", f"--out={tmp_path / 'out'}"]) == 0
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {f"{architecture.partition('.')[0]}.mine"}
    monkeypatch.setenv("DSMIXER_WEIGHTS", str(tmp_path / "out"))
    assert read_packaged({"dsm_zepto": None}) == {}
