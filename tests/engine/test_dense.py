"""What holds for runs that tell classes holds for those that label pixels and find objects."""

import json
import shutil
import signal

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from dsmixer.engine.dense import build_dense, start_dense
from dsmixer.weights import read_about

from .dense import NETWORK, RUNS, SHORT, options, write
from .nursery import Child, together
from .shrunken import EAGER, sha, stop_after_step, train

EVERYTHING = [
    "--optim.ema_decay=0.9",
    "--optim.layer_decay=0.8",
    "--optim.accumulate=1",
    "--model.drop_path_rate=0.2",
]


@pytest.fixture(scope="module", params=RUNS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def data(kind, tmp_path_factory):
    return write(kind, tmp_path_factory.mktemp(kind))


@pytest.fixture(scope="module")
def finished(kind, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert train(*options(kind, data), *EVERYTHING, f"--out={folder}") == 0
    return folder


def test_a_run_leaves_scores_pictures_and_weights_that_say_what_they_are(kind, finished):
    result = json.loads((finished / "result.json").read_text())
    wanted = {"masks": {"mIoU", "aAcc", "mAcc", "boundary_IoU"}, "boxes": {"AP", "AP50", "AP75"}}[kind]
    assert wanted <= set(result["test"])
    assert (result["train_images"], result["val_images"], result["test_images"]) == (6, 6, 6)
    about = read_about(finished / "model.safetensors")
    assert about.head == {"masks": "semantic_fpn", "boxes": "retinanet"}[kind]
    assert about.class_names == {"masks": ["ground", "square", "stripe"], "boxes": ["cat", "dog"]}[kind]
    report = (finished / "report.md").read_text()
    for picture in ("curves.png", {"masks": "masks.png", "boxes": "predictions.png"}[kind]):
        assert f"]({picture})" in report
        assert (finished / picture).stat().st_size > 1000


def test_killed_and_resumed_gives_the_same_bytes(kind, data, finished, tmp_path):
    folder = tmp_path / "run"
    child = Child(*options(kind, data), *EVERYTHING, EAGER, f"--out={folder}", log=tmp_path / "log")
    code, _, err = stop_after_step(child, folder, 2, signal.SIGKILL)
    assert (code, err) == (-9, "")
    assert not (folder / "result.json").exists()
    assert train(f"--resume={folder}", "--data.workers=1") == 0
    assert sha(folder) == sha(finished)


@pytest.fixture(scope="module")
def alone(kind, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert train(*shared(kind, data), f"--out={folder}") == 0
    return folder


def shared(kind, data):
    # batches of both shapes: how two processes share one must not matter
    return [*options(kind, data), "--optim.epochs=1", *(["--boxes.group_by_aspect=false"] if kind == "boxes" else [])]


@pytest.mark.parametrize("strategy", ["ddp", "fully_shard"])
def test_two_processes_give_the_metrics_and_weights_of_one(kind, data, alone, tmp_path, strategy):
    both = tmp_path / "both"
    children = together(2, *shared(kind, data), f"--run.strategy={strategy}", f"--out={both}", logs=tmp_path)
    ends = [child.end() for child in children]
    assert [code for code, _, _ in ends] == [0, 0], ends
    scores, expected = (json.loads((folder / "result.json").read_text())["test"] for folder in (both, alone))
    assert scores == pytest.approx(expected, abs=1e-4)
    weights, expected = (load_file(folder / "model.safetensors") for folder in (both, alone))
    for name, tensor in weights.items():
        # AdamW's first steps divide a gradient by its own size: its last bits count where it is nearly zero
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4)


def test_shards_do_not_wait_for_a_process_that_looks_at_its_images_in_fewer_goes(tmp_path):
    """Where its two images are of one size, a process judges them together, and the other its own one by one."""
    root = write("masks", tmp_path / "data")
    for folder in ("images", "annotations"):
        for split in ("val", "test"):
            shutil.copy(root / folder / split / "0.png", root / folder / split / "1.png")
    run = [*options("masks", root), "--data.batch_size=4", "--optim.epochs=1", "--run.strategy=fully_shard"]
    children = together(2, *run, "--run.process_timeout=20", f"--out={tmp_path / 'run'}", logs=tmp_path)
    assert [child.end()[0] for child in children] == [0, 0]


# batch norm, FCOS's number of objects, and the anchors that Mask R-CNN draws are a process's own
OWN = {
    "upernet": ("masks", ["--model.head=upernet", "--model.head_kwargs={dim: 8}"]),
    "fcos": ("boxes", ["--model.head=fcos", "--model.head_kwargs={fpn_channels: 64}"]),
    "maskrcnn": (
        "boxes",
        ["--model.head=maskrcnn", "--model.head_kwargs={fpn_channels: 16, rpn_post_nms_top_n_train: 20}"],
    ),
}


@pytest.mark.parametrize("head", OWN)
def test_two_processes_train_heads_of_which_each_sees_its_own_part(head, tmp_path):
    kind, changed = OWN[head]
    run = [*options(kind, write(kind, tmp_path / "data")), *changed, "--data.batch_size=4", "--optim.epochs=1"]
    ends = [child.end() for child in together(2, *run, f"--out={tmp_path / 'run'}", logs=tmp_path)]
    assert [code for code, _, _ in ends] == [0, 0], ends
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert 0 <= result["test"][{"masks": "mIoU", "boxes": "AP"}[kind]] <= 1
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "run" / "model.safetensors").values())


def test_what_a_detector_draws_is_drawn_again_after_a_kill(tmp_path):
    kind, changed = OWN["maskrcnn"]
    run = [*options(kind, write(kind, tmp_path / "data")), *changed, "--optim.epochs=1"]
    assert train(*run, f"--out={tmp_path / 'whole'}") == 0
    child = Child(*run, EAGER, f"--out={tmp_path / 'killed'}", log=tmp_path / "log")
    code, _, err = stop_after_step(child, tmp_path / "killed", 1, signal.SIGKILL)
    assert (code, err) == (-9, "")
    assert train(f"--resume={tmp_path / 'killed'}") == 0
    assert sha(tmp_path / "killed") == sha(tmp_path / "whole")


def test_a_classifier_starts_the_backbone(kind, data, tmp_path, capsys):
    digits = ["--recipe=digits", *NETWORK, *SHORT, "--data.in_chans=3", "--data.mean=[0,0,0]", "--data.std=[1,1,1]"]
    assert train(*digits, "--data.batch_size=256", "--optim.epochs=1", f"--out={tmp_path / 'classes'}") == 0
    start = [*options(kind, data), "--optim.epochs=1", f"--model.weights={tmp_path / 'classes'}"]
    assert train(*start, f"--out={tmp_path / 'run'}") == 0
    assert f"started from the backbone of {tmp_path / 'classes'}" in capsys.readouterr().out


@pytest.mark.parametrize("classes", ["more", "as many", "the same"])
def test_weights_for_other_classes_leave_the_last_layers_as_drawn(kind, finished, classes):
    about, path = read_about(finished / "model.safetensors"), finished / "model.safetensors"
    shared = {"mean": about.mean, "std": about.std, "in_chans": 3, "seed": 0}
    number = {"more": 7, "as many": about.num_classes, "the same": about.num_classes}[classes]
    names = about.class_names if classes == "the same" else [f"other {place}" for place in range(number)]
    other = build_dense(about.head, about.head_kwargs, "dsm_test", about.model_kwargs, num_classes=number, **shared)
    news = start_dense(other, "dsm_test", path, names)
    theirs, mine = load_file(path), other.state_dict()
    afresh = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert news == f"started from {path}" + (f"; drawn afresh: {', '.join(afresh)}" if afresh else "")
    assert len(afresh) == (0 if classes == "the same" else 2)
    with pytest.raises(ValueError, match=f"dsm_test with model.head {about.head} does not take model.kwargs"):
        build_dense(about.head, about.head_kwargs, "dsm_test", {"dims": [-1, 8, 8, 8]}, num_classes=3, **shared)
    narrow = build_dense(about.head, about.head_kwargs, "dsm_test", {"dims": [4, 8, 8, 8]}, num_classes=3, **shared)
    with pytest.raises(ValueError, match="holds weights of another network than dsm_test as configured"):
        start_dense(narrow, "dsm_test", path, names)


def test_a_classifier_of_color_starts_a_backbone_for_gray_images(tmp_path):
    color = timm.create_model("dsm_test", num_classes=2)
    save_file(color.state_dict(), path := tmp_path / "model.safetensors")
    settings = {"num_classes": 2, "in_chans": 1, "mean": [0.5], "std": [0.5], "seed": 0}
    model = build_dense("semantic_fpn", {"pyramid_dim": 8, "dim": 8}, "dsm_test", {}, **settings)
    assert start_dense(model, "dsm_test", path, ["a", "b"]) == f"started from the backbone of {path}"
    gray = color.stem.conv.weight.sum(1, keepdim=True)
    torch.testing.assert_close(model.backbone.model.stem.conv.weight, gray)


def test_bfloat16_learns_too(kind, data, tmp_path):
    # Images of up to 64 pixels are one token on a detector's sixth level, and there PyTorch 2.15 leaves a part of the
    # seventh's gradient unwritten on processors that multiply bfloat16 (a 3 × 3 convolution of stride 2 on 1 × 1).
    larger = ["--boxes.short_sides=[80, 96]", "--boxes.longest=128"] if kind == "boxes" else []
    run = [*options(kind, data), *larger, "--run.precision=bfloat16", "--optim.epochs=1"]
    assert train(*run, f"--out={tmp_path / 'run'}") == 0


def test_a_bad_file_within_the_budget_is_listed_and_beyond_it_stops_the_run(kind, tmp_path, capsys):
    root = write(kind, tmp_path / "data")
    path = root / ("images/train" if kind == "masks" else "train") / "2.png"
    path.write_bytes(path.read_bytes()[:-30])
    run = [*options(kind, root), "--optim.epochs=1"]
    assert train(*run, f"--out={tmp_path / 'strict'}") == 1
    assert "2.png" in capsys.readouterr().err
    assert train(*run, "--data.max_bad=0.1", f"--out={tmp_path / 'lenient'}") == 0
    assert "2.png" in (tmp_path / "lenient" / "bad_files.csv").read_text()
