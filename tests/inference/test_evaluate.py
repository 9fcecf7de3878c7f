"""`dsmixer evaluate` measures what training reported, class by class and by name, and leaves what it promised."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

import dsmixer
from dsmixer.cli import main
from dsmixer.data.bad import DataError
from dsmixer.data.splits import open_splits
from dsmixer.inference.origin import allows_outside, held_back

from ..data.crafted import class_folders
from ..engine.shrunken import SHRUNK, train
from .conftest import COLOR, write_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of one epoch."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert train(*SHRUNK, "--optim.epochs=1", f"--out={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated")
    assert main(["evaluate", str(run), f"--out={out}", "--sizes", "0.75", "16", "--precision=float32"]) == 0
    return out


def test_it_is_what_training_reported_and_what_predict_says(run, evaluated, tmp_path, capsys):
    result = json.loads((evaluated / "evaluation.json").read_text())
    reported = json.loads((run / "result.json").read_text())
    assert result["images"] == reported["test_images"] == 359
    assert result["top1"] == pytest.approx(reported["test"]["accuracy"], abs=1e-6)
    assert result["loss"] == pytest.approx(reported["test"]["loss"], rel=1e-5)
    test = open_splits("digits", None, 0.1).test
    for row in test.rows:
        test.source.image(int(row), "L").save(tmp_path / f"{row:04}.png")
    capsys.readouterr()
    assert main(["predict", str(tmp_path), f"--weights={run}", "--top-k=1", "--precision=float32"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    right = [int(line["top"][0]["class"]) == test.source.labels[int(Path(line["image"]).stem)] for line in lines]
    assert sum(right) / len(right) == result["top1"]


def test_from_python_it_is_the_same(run, evaluated):
    result = json.loads((evaluated / "evaluation.json").read_text())
    found = json.loads(json.dumps(dsmixer.load(run, precision="float32").evaluate("digits")))
    same = ("top1", "top1_interval", "top5", "per_class", "confusion", "calibration_error", "image_size")
    assert {name: found[name] for name in same} == {name: result[name] for name in same}


def test_from_python_a_split_is_carved_as_the_run_did_it(run, tmp_path):
    """Otherwise images that were trained on would be judged."""
    (tmp_path / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    alone = dsmixer.load(tmp_path / "model.safetensors")
    (tmp_path / "config.yaml").write_text("data: {val_fraction: 0.5}\n")
    beside = dsmixer.load(tmp_path / "model.safetensors")
    assert beside.evaluate("digits", split="val")["images"] == 719
    (tmp_path / "config.yaml").unlink()
    assert alone.evaluate("digits", split="val")["images"] == 143


@pytest.mark.parametrize("content", ["data: /some/path", "data: {}\ntrainer: {}", "- data", "a: !include b", "", "\0"])
def test_another_programs_configuration_is_not_taken_for_the_runs(weights, tmp_path, capsys, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights.read_bytes())
    (tmp_path / "config.yaml").write_text(content)
    assert (held_back(path), allows_outside(path)) == (0.1, False)
    assert main(["evaluate", str(path)]) == 2
    assert "does not say which images: give --data.root FOLDER or --data.name digits" in capsys.readouterr().err


def test_a_run_that_may_look_outside_is_evaluated_there_too(tmp_path, capsys):
    (tmp_path / "list").mkdir()
    lines = [f"../{name}/{name}-{number}.png,{name}" for name in ("ant", "moths") for number in range(4)]
    class_folders(tmp_path, {"ant": 4, "moths": 4})
    (tmp_path / "list" / "all.csv").write_text("path,label\n" + "\n".join(lines))
    root, weights = tmp_path / "list" / "all.csv", tmp_path / "m.safetensors"
    write_weights(weights, class_names=["ant", "moths"], **COLOR)
    asked = ["evaluate", str(weights), f"--out={tmp_path / 'out'}", "--overwrite"]
    assert main([*asked, f"--data.root={root}"]) == 1
    assert "leads outside" in capsys.readouterr().err
    assert main([*asked, f"--data.root={root}", "--data.allow_outside=true"]) == 0
    (tmp_path / "config.yaml").write_text(f"data: {{root: {root}, allow_outside: true}}\n")  # as a run leaves it
    assert main(asked) == 0
    assert dsmixer.load(weights).evaluate(root)["images"] == 2


def test_the_folder_holds_what_was_promised(evaluated):
    assert {path.name for path in evaluated.iterdir()} == {
        "evaluation.json", "per_class.csv", "confusion.png", "calibration.png", "predictions.png", "sizes.png",
    }  # fmt: skip
    for path in evaluated.glob("*.png"):
        with Image.open(path) as image:
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20
    result = json.loads((evaluated / "evaluation.json").read_text())
    rows = list(csv.DictReader((evaluated / "per_class.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == [str(digit) for digit in range(10)]
    assert sum(int(row["support"]) for row in rows) == 359
    assert [row["pixels"] for row in result["sizes"]] == [6, 16]
    assert result["speed"]["network_images_per_second"] > result["speed"]["images_per_second"] > 0
    assert result["conditions"]["batch_size"] == 64


def test_a_second_one_does_not_replace_the_first_unasked(run, evaluated, capsys):
    assert main(["evaluate", str(run), f"--out={evaluated}"]) == 2
    assert "holds an evaluation; choose another or add --overwrite" in capsys.readouterr().err
    assert main(["evaluate", str(run), f"--out={run}"]) == 2
    assert "is not empty, and holds no evaluation" in capsys.readouterr().err


def test_classes_are_matched_by_name_and_absent_ones_have_no_recall(folder, tmp_path):
    """The data names a, bb, ccc in this order, the weights in another, and one more; the test images lack bb."""
    path = write_weights(tmp_path / "m.safetensors", class_names=["d", "ccc", "a", "bb"], **COLOR)
    found = dsmixer.load(path).evaluate(folder)
    rows = {row["class"]: row for row in found["per_class"]}
    assert {name: row["support"] for name, row in rows.items()} == {"d": 0, "ccc": 2, "a": 2, "bb": 0}
    assert rows["d"]["recall"] is rows["bb"]["f1"] is None
    assert found["top5"] is None


def test_a_class_the_weights_do_not_know_is_named(folder, tmp_path):
    model = dsmixer.load(write_weights(tmp_path / "m.safetensors", class_names=["a", "bb"], **COLOR))
    with pytest.raises(ValueError, match="the images have the class 'ccc', which the weights do not know, only a, bb"):
        model.evaluate(folder)
    with pytest.raises(ValueError, match="split is 'half', expected train, val, test or all"):
        model.evaluate(folder, split="half")


def test_images_in_no_splits_are_evaluated_all(tmp_path_factory, folder, weights):
    flat = tmp_path_factory.mktemp("flat")
    model = dsmixer.load(write_weights(flat / "m.safetensors", class_names=["cat", "dog"], **COLOR))
    for name, count in (("cat", 5), ("dog", 4)):
        (flat / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (9, 9), (50 * number, 9, 9)).save(flat / name / f"{number}.png")
    assert [row["support"] for row in model.evaluate(flat, split="all")["per_class"]] == [5, 4]
    assert dsmixer.load(weights).evaluate("digits", split="all")["images"] == 1797
    with pytest.raises(ValueError, match="is split already; choose train, val or test"):
        model.evaluate(folder, split="all")


def test_what_only_training_needs_is_not_asked_for(tmp_path_factory):
    """One class, one image a class, no train: the weights know the classes."""
    root = tmp_path_factory.mktemp("few")
    model = dsmixer.load(write_weights(root / "m.safetensors", class_names=["ant", "bee", "moths"], **COLOR))
    one, few, only = (class_folders(root / name / part, counts) for name, part, counts in (
        ("one", "", {"bee": 4}), ("few", "", {"moths": 1, "ant": 1}), ("only", "val", {"moths": 2, "bee": 1})
    ))  # fmt: skip
    for folder, split, support in (
        (one, "all", [0, 4, 0]), (one, "test", [0, 1, 0]), (few, "all", [1, 0, 1]), (only.parent, "test", [0, 1, 2])
    ):  # fmt: skip
        assert [row["support"] for row in model.evaluate(folder, split=split)["per_class"]] == support
    with pytest.raises(ValueError, match="few has no val images; choose another split"):
        model.evaluate(few, split="val")
    with pytest.raises(ValueError, match="only has no train images; choose another split"):
        model.evaluate(only.parent, split="train")


def test_a_size_the_network_refuses_is_said_on_its_line(folder, tmp_path, capsys):
    vit = {"img_size": 16, "patch_size": 8, "depth": 1, "embed_dim": 24, "num_heads": 1}
    names = {"class_names": ["a", "bb", "ccc"], "image_size": 16, **COLOR}
    path = write_weights(tmp_path / "m.safetensors", architecture="vit_tiny_patch16_224", model_kwargs=vit, **names)
    asked = ["evaluate", str(path), f"--data.root={folder}", f"--out={tmp_path / 'out'}", "--sizes", "1", "24"]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "at 16 pixels: top-1" in shown
    assert "at 24 pixels: Input height (24) doesn't match model (16)" in shown
    rows = json.loads((tmp_path / "out" / "evaluation.json").read_text())["sizes"]
    assert [set(row) >= {"error"} for row in rows] == [False, True]
    assert "n/a" in (tmp_path / "out" / "per_class.csv").read_text()


def test_images_that_cannot_be_read_end_it_or_are_left_out(write, tmp_path, tmp_path_factory, capsys):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", ["a", "bb"], [0, 1, 0, 1], broken=[2] if split == "test" else [])
    path = write_weights(tmp_path / "m.safetensors", class_names=["a", "bb"], **COLOR)
    out = tmp_path_factory.mktemp("out") / "out"
    asked = ["evaluate", str(path), f"--data.root={tmp_path}", f"--out={out}"]
    assert main(asked) == 1
    assert "1 of 8 images cannot be read, more than data.max_bad 0.001 allows" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(DataError, match="row 2 of"):
        dsmixer.load(path).evaluate(tmp_path)
    assert main([*asked, "--data.max_bad=0.2"]) == 0
    assert capsys.readouterr().err.count("left out: ") == 1
    result = json.loads((out / "evaluation.json").read_text())
    assert (result["images"], result["unreadable"]) == (3, 1)
    assert "row 2 of" in (out / "bad_files.csv").read_text()


def test_every_evaluation_gets_a_folder_of_its_own_and_a_failed_one_leaves_none(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["evaluate", str(run), "--data.root=empty"]) == 2
    assert not (tmp_path / "runs").exists()
    for number in ("001", "002"):
        assert main(["evaluate", str(run), "--split=val", "--sizes", "--threads=1"]) == 0
        assert f"see runs/evaluation-{number}" in capsys.readouterr().out
    result = json.loads((tmp_path / "runs/evaluation-002/evaluation.json").read_text())
    assert (result["images"], result["sizes"], result["data"], result["split"]) == (143, [], "digits", "val")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "gone does not exist"),
        (["{}", "--data.image_size=9"], "--data.image_size is no option of dsmixer evaluate"),
        (["{}", "--optim.lr=9"], "--optim.lr is no option of dsmixer evaluate"),
        (["{}", "--sizes", "0"], "--sizes 0 is no size; give factors such as 0.75"),
        (["{}", "--split=half"], "invalid choice: 'half'"),
        (["{}/model.safetensors", "--data.name=mnist"], "data.name is 'mnist', expected one of"),
        (["{}", "--data.root=nowhere"], "nowhere does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *(argument.format(run) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_weights_alone_do_not_say_which_images(weights, capsys):
    assert main(["evaluate", str(weights)]) == 2
    assert "does not say which images: give --data.root FOLDER or --data.name digits" in capsys.readouterr().err
