"""A mistake is answered in one sentence with exit code 2, before anything slow is imported."""

import errno
import json
import os
import shlex
import subprocess
import sys

import pytest

from dsmixer.cli import main

from ..inference.conftest import write_header

DIGITS = ["train", "--recipe", "digits"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with one of everything that can be wrong."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("data: {name: digits}\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "bad.yaml").write_text("model: {name: [}")
    (tmp_path / "evil.yaml").write_text("model: !!python/object/apply:os.system ['touch canary']")
    (tmp_path / "latin.yaml").write_bytes("model: {name: é}".encode("latin-1"))
    (tmp_path / "list.yaml").write_text("- model")
    (tmp_path / "section.yaml").write_text("modle: {name: dsm_test}")
    (tmp_path / "key.yaml").write_text("optim: {epoch: 3}")
    (tmp_path / "type.yaml").write_text("optim: {epochs: many}")
    (tmp_path / "target.yaml").write_text("model: {_target_: os.system, name: dsm_test}")
    header = json.dumps({"__metadata__": {"architecture": "dsm_atto"}}).encode()
    (tmp_path / "atto.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    write_header(tmp_path / "whole.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 20)
    (tmp_path / "pickled.pth").write_bytes(b"\x80\x04")
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    (tmp_path / "coco" / "annotations" / "instances_train2017.json").write_text("{}")
    return tmp_path


TABLE = [
    (["trian"], "did you mean train"),
    (["explain"], "unknown command 'explain'"),
    (["predict"], "say what to predict: files, folders"),
    (["predict", "a.png", "--weights", "run"], "the run run is not finished"),
    (["predict", "a.png", "--weights", "atto.safetensors"], "does not say its model_kwargs, class_names"),
    (["predict", "a.png", "--weights", "pickled.pth"], "is no .safetensors file"),
    (["predict", "a.png", "--weihts", "run"], "unrecognized arguments: --weihts run; did you mean --weights?"),
    (["predict", "a.png", "--topk=3"], "unrecognized arguments: --topk=3; did you mean --top-k?"),
    (["check", "full", "--ot", "x.csv"], "did you mean --out?"),
    (
        ["evaluate", "whole.safetensors", "--data.rot", "full"],
        "--data.rot is no option of dsmixer evaluate; did you mean",
    ),
    (["evaluate", "whole.safetensors", "--splits=val"], "no option of dsmixer evaluate; did you mean --split?"),
    (["train", "digits"], "did you mean --recipe digits? say what to train: --recipe ade20k_fpn | "),
    (["evaluate"], "the following arguments are required: WEIGHTS"),
    (["evaluate", "full"], "full is not the folder of a run"),
    (["weights", "run"], "the following arguments are required: --tag"),
    (["weights", "broken.safetensors", "--tag=x"], "not a readable .safetensors"),
    (["train"], "say what to train: --recipe ade20k_fpn | "),
    (["train", "--recipe", "digit"], "did you mean digits"),
    (["train", "--recipe", "no/such.yaml"], "does not exist"),
    (["train", "--recipe"], "expected one argument"),
    (["train", "--recipe", "bad.yaml"], "not valid YAML"),
    (["train", "--recipe", "evil.yaml"], "not valid YAML"),
    (
        ["train", "--recipe", "latin.yaml"],
        "latin.yaml is not UTF-8 (invalid continuation byte at byte 14); save it as UTF-8",
    ),
    (["train", "--recipe", "list.yaml"], "expected the sections model, data, optim, run"),
    (["train", "--recipe", "section.yaml"], "did you mean model"),
    (["train", "--recipe", "key.yaml"], "did you mean optim.epochs"),
    (["train", "--recipe", "type.yaml"], "optim.epochs is 'many', expected a value of type int"),
    (["train", "--recipe", "target.yaml"], "'model._target_' is no setting"),
    (["train", "--recipe", "cifar10"], "data.root is not set"),
    (["train", "--recipe", "cifar10", "--data.root", "nowhere"], "nowhere does not exist"),
    (["train", "--recipe", "cifar10", "--data.root", "full", "--data.name=parquet"], "no parquet file"),
    (["train", "--recipe", "cifar10", "--data.root", "full", "--data.name=auto"], "neither images nor folders"),
    ([*DIGITS, "--data.root", "full"], "data.name is digits, which come without data.root"),
    (["check"], "the following arguments are required: DATA"),
    (["check", "nowhere"], "nowhere does not exist"),
    (["check", "full"], "neither images nor folders"),
    (["check", "full", "--name=mnist"], "invalid choice: 'mnist'"),
    (["check", "full", "--workers=0"], "--workers is 0, but it must be at least 1"),
    (["check", "full", "--out", "bad.yaml"], "--out bad.yaml exists"),
    (["pack", "nowhere", "new"], "nowhere does not exist"),
    (["pack", "full", "run"], "run exists; give a folder that does not, or is empty"),
    (["pack", "full", "new", "--shard-size=0"], "--shard-size is 0"),
    (["pack", "full", "new", "--resize=-3"], "--resize is -3"),
    ([*DIGITS, "--optim.lrr=1"], "did you mean optim.lr"),
    ([*DIGITS, "--lr=1"], "'lr' is no setting; did you mean optim.lr?"),
    ([*DIGITS, "--optim.learning_rate=1"], "did you mean optim.lr?"),
    ([*DIGITS, "--wd=1"], "did you mean optim.weight_decay?"),
    ([*DIGITS, "--batch-size=1"], "did you mean data.batch_size?"),
    ([*DIGITS, "--model", "dsm_test"], "did you mean model.name?"),
    ([*DIGITS, "--img_size=8"], "did you mean data.image_size?"),
    ([*DIGITS, "--epoch=8"], "did you mean optim.epochs?"),
    ([*DIGITS, "--name=auto"], "did you mean model.name or data.name or optim.name?"),
    ([*DIGITS, "--data.nam=auto"], "did you mean data.name?"),
    ([*DIGITS, "--overwrit"], "did you mean overwrite?"),
    ([*DIGITS, "--optim.lr=fast"], "optim.lr is 'fast', expected a value of type float"),
    ([*DIGITS, "--optim.clip_grad=none"], "optim.clip_grad is 'none', expected a value of type float or null"),
    ([*DIGITS, "--data.name=mnist"], "data.name is 'mnist', expected one of 'auto', 'folder', 'parquet'"),
    ([*DIGITS, "--optim.epochs=0"], "optim.epochs is 0, but it must be at least 1"),
    ([*DIGITS, "--data.mean=[0.5,0.5]"], "data.mean has 2 values, but data.in_chans is 1"),
    ([*DIGITS, "--data.rand_augment=rand-m9"], "data.rand_augment works on color"),
    ([*DIGITS, "--data.mixup=0.1", "--data.batch_size=33"], "data.batch_size is 33"),
    ([*DIGITS, "--overwrite"], "--overwrite needs --out"),
    ([*DIGITS, "surplus"], "surplus"),
    ([*DIGITS, "--out", "full"], "full is not empty, and not the folder of a run"),
    ([*DIGITS, "--out", "full", "--overwrite"], "full is not empty, and not the folder of a run"),
    ([*DIGITS, "--out", "run"], "--resume run"),
    ([*DIGITS, "--out", "bad.yaml"], "--out bad.yaml is a file"),
    ([*DIGITS, "--out", "bad.yaml/run"], "--out bad.yaml/run lies in bad.yaml, which is a file; give a folder"),
    (["evaluate", "whole.safetensors", "--data.name=digits", "--out", "bad.yaml/x/y"], "lies in bad.yaml, which is a"),
    ([*DIGITS, "--model.weights=gone.safetensors"], "model.weights: gone.safetensors does not exist"),
    ([*DIGITS, "--model.weights=pickled.pth"], "model.weights: pickled.pth is no .safetensors file"),
    (["train", "--recipe", "finetune", "--data.root", "full"], "or the weights to take the name from, such as"),
    (
        ["train", "--recipe", "finetune", "--data.root", "full", "--model.weights", "timm"],
        "model.weights is timm: name the model, such as --model.name convnext_atto",
    ),
    ([*DIGITS, "--model.freeze=backbone"], "model.weights is null: only weights that were trained are worth keeping"),
    ([*DIGITS, "--data.mix_epochs=5"], "neither data.mixup nor data.cutmix is on"),
    ([*DIGITS, "--optim.bce_threshold=0.5"], "optim.loss is cross_entropy, not bce"),
    ([*DIGITS, "--model.weights=broken.safetensors"], "not a readable .safetensors"),
    ([*DIGITS, "--model.weights=atto.safetensors"], "holds weights of dsm_atto, but model.name is dsm_test"),
    (
        ["train", "--recipe", "finetune", "--data.root=coco", "--model.weights=x"],
        "is annotated with boxes, from which no classifier learns",
    ),
    (["train", "--recipe", "bccd", "--data.root", "coco"], "nor coco/images/train2017 is a folder of images"),
    (["train", "--recipe", "bccd", "--data.root", "full"], "full holds thesis.txt; boxes are expected"),
    (["train", "--recipe", "camvid", "--data.root", "full"], "full holds thesis.txt; masks are expected"),
    (["train", "--resume", "nowhere"], "nowhere is not a folder"),
    (["train", "--resume", "full"], "not the folder of a run"),
    (["train", "--resume", "run", "--optim.lr=2"], "may not change optim.lr"),
    (["train", "--resume", "run", "--out", "other"], "neither --recipe nor --out"),
]


@pytest.mark.parametrize(("arguments", "message"), TABLE, ids=[" ".join(row[0]) for row in TABLE])
def test_a_mistake_is_one_sentence_and_exit_code_2(here, capsys, arguments, message):
    before = sorted(here.rglob("*"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dsmixer: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert sorted(here.rglob("*")) == before


SLOW = [
    ([*DIGITS, "--model.name=dsm_tset"], "try dsm_test"),
    ([*DIGITS, "--model.name=dsm_zepto.cifar"], "dsm_zepto.cifar, but timm has no tag 'cifar'; try dsm_zepto, dsm_"),
    ([*DIGITS, "--model.kwargs.width=3"], "dsm_test does not take model.kwargs"),
    ([*DIGITS, "--model.kwargs.global_pool=foo"], "dsm_test does not take model.kwargs"),
    ([*DIGITS, "--model.kwargs.dims=[-1, 16]"], "dsm_test does not take model.kwargs"),
    ([*DIGITS, "--model.kwargs.mixer={num_terms: 0}"], "dsm_test does not take model.kwargs"),
    ([*DIGITS, "--model.name=convnext_atto", "--model.kwargs={}"], "convnext_atto cannot take images of 1x8x8"),
    ([*DIGITS, "--data.batch_size=5000"], "training images: give --data.batch_size 1295 or less"),
    ([*DIGITS, "--data.batch_size=9", "--optim.accumulate=150", "--data.mixup=0"], "give --data.batch_size 8 or less"),
    (
        [*DIGITS, "--data.in_chans=3", "--data.mean=[0,0,0]", "--data.std=[1,1,1]", "--data.rand_augment=x"],
        "'x'; try rand",
    ),
    ([*DIGITS, "--optim.name=adamv"], "optim.name is adamv, which timm does not have"),
    ([*DIGITS, "--optim.no_decay=[head.fc.wieght]"], "optim.no_decay has head.fc.wieght, which is no parameter; there"),
    ([*DIGITS, "--model.weights=timm"], "model.weights is timm, but for dsm_test it says: No pretrained weights exist"),
    ([*DIGITS, "--run.device=cuda:77"], "run.device is cuda:77, which this machine does not offer"),
    ([*DIGITS, "--run.device=vulkan"], "arguments from the 'Vulkan' backend); try auto or cpu"),
    (
        [*DIGITS, "--run.device=hpu"],
        "run.device is hpu, which this machine does not offer (No module named",
    ),
    ([*DIGITS, "--run.device=meta"], "run.device is meta, which this machine does not offer (Cannot copy out of meta"),
]


@pytest.mark.parametrize(("arguments", "message"), SLOW, ids=[" ".join(row[0][3:]) for row in SLOW])
def test_mistakes_that_only_the_libraries_can_find(here, capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (here / "runs").exists()


@pytest.mark.parametrize("verb", [DIGITS, ["evaluate", "whole.safetensors", "--data.name=digits"]])
def test_a_place_that_cannot_be_written_is_said_before_anything_is_built(here, capsys, monkeypatch, verb):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # to root, all are open
    assert main([*verb, "--out=full/new"]) == 2
    assert capsys.readouterr().err.endswith("there is no permission to write in full\n")
    (here / "runs").write_text("in the way")
    assert main(verb) == 2
    assert "-001 cannot be made (Not a directory); give a folder with --out DIR" in capsys.readouterr().err


def test_what_the_system_refuses_later_is_one_sentence_too(here, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    monkeypatch.setattr("dsmixer.cli.train.empty_folder", full)
    assert main([*DIGITS, "--out=new"]) == 1
    assert capsys.readouterr().err == "dsmixer: error: somewhere: No space left on device\n"


def test_no_mistake_above_and_no_help_imports_torch(here):
    code = (
        "import json, sys; from dsmixer.cli import main; codes = [main(a) for a in json.loads(sys.argv[1])]; "
        "print(sorted(set(codes)), {'torch', 'timm', 'torchvision', 'sklearn'} & set(sys.modules))"
    )
    asked = [*(row[0] for row in TABLE), ["--help"], ["--version"], ["train", "--help"], []]
    result = subprocess.run([sys.executable, "-c", code, json.dumps(asked)], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[0, 2] set()"
    assert "Traceback" not in result.stderr


def test_help_explains_every_setting_with_its_default(capsys):
    from dsmixer.cli.options import flat
    from dsmixer.config import Config

    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for name in flat(Config()):
        assert f"--{name}" in text
    assert "default: 0.001" in text
    assert main(["--help"]) == 0
    assert "models" in capsys.readouterr().out


def test_the_command_line_wins_over_the_recipe_in_any_order():
    from dsmixer.cli.options import read_recipe, resolve

    content = read_recipe("digits")[1]
    config = resolve(content, ["--model.kwargs.depths=[1, 1]", "--optim.lr=1e-4"])
    assert config.optim.lr == 1e-4
    assert config.data.in_chans == 1
    assert config.model.kwargs == {**content["model"]["kwargs"], "depths": [1, 1]}


@pytest.mark.parametrize("recipe", ["finetune", "coco_retinanet_1x"])
def test_one_epoch_works_with_what_its_complaint_says(recipe):
    from dsmixer.cli.options import read_recipe, resolve

    content = read_recipe(recipe)[1]
    arguments = ["--data.root=full", "--model.name=dsm_test", "--optim.epochs=1"]
    with pytest.raises(ValueError, match=r"only 1: .*--optim.|1 epochs; .*--optim.") as caught:
        resolve(content, arguments)
    advice = shlex.split(str(caught.value))
    first = next(place for place, word in enumerate(advice) if word.startswith("--"))
    resolve(content, [*arguments, *advice[first:]])


def test_debugging_shows_the_traceback(here, capsys, monkeypatch):
    monkeypatch.setitem(os.environ, "DSMIXER_DEBUG", "1")
    assert main(["train", "--recipe", "digit"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_run_folders_are_numbered_and_overwriting_keeps_what_is_not_ours(here):
    from dsmixer.engine.folder import empty_folder, new_folder

    assert str(new_folder(None, "digits", False)) == "runs/digits-001"
    (here / "runs" / "digits-007").mkdir(parents=True)
    assert str(new_folder(None, "digits", False)) == "runs/digits-008"
    with pytest.raises(ValueError, match="is not UTF-8, and safetensors would not read the weights in it"):
        new_folder(os.fsdecode(b"caf\xe9"), "digits", False)
    (here / "run" / "notes.txt").write_text("mine")
    empty_folder(new_folder("run", "digits", True))
    assert [path.name for path in (here / "run").iterdir()] == ["notes.txt"]


def test_two_runs_that_start_together_do_not_share_a_folder(here):
    from dsmixer.engine.folder import claim, give_back, new_folder

    first, second = new_folder(None, "digits", False), new_folder(None, "digits", False)
    assert first == second
    first, second = claim(first), claim(second)
    assert [str(first), str(second)] == ["runs/digits-001", "runs/digits-002"]
    (first / "config.yaml").touch()
    give_back(first)
    give_back(second)
    assert [path.name for path in (here / "runs").iterdir()] == ["digits-001"]
