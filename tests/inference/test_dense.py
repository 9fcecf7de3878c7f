"""Segmenters and detectors answer at the image's own size, draw what they say, and survive bad files."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import dsmixer
from dsmixer.cli import main
from dsmixer.data.boxes.instance_masks import decode_mask
from dsmixer.engine.dense import build_dense
from dsmixer.engine.model import save_weights

HEADS = {
    "semantic_fpn": {"pyramid_dim": 8, "dim": 8},
    "upernet": {"dim": 8},
    "fcos": {"fpn_channels": 64, "min_size": 48, "max_size": 64},
    "maskrcnn": {"fpn_channels": 16, "min_size": 48, "max_size": 64},
}
PIXELS, OBJECTS = ("semantic_fpn", "upernet"), ("fcos", "maskrcnn")
ABOUT = {
    "architecture": "dsm_test",
    "model_kwargs": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
    "class_names": ["ground", "square", "stripe"],
    "image_size": 32,
    "in_chans": 3,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}


def write_weights(path, head, **changes):
    about = {**ABOUT, "head": head, "head_kwargs": HEADS[head], **changes}
    shared = {"num_classes": len(about["class_names"]), "in_chans": 3, "mean": [0.5] * 3, "std": [0.25] * 3, "seed": 0}
    auxiliary = head in PIXELS  # as training saves it
    network = build_dense(head, HEADS[head], "dsm_test", ABOUT["model_kwargs"], auxiliary=auxiliary, **shared)
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        if name.rpartition(".")[0].endswith(("classifier", "cls_logits", "bbox_reg", "cls_score")):
            torch.nn.init.normal_(parameter, std=0.5)  # answers that are not all alike
    save_weights(path, network.state_dict(), about)
    return path


@pytest.fixture(scope="module", params=HEADS)
def head(request):
    return request.param


@pytest.fixture(scope="module")
def weights(head, tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp(head) / "model.safetensors", head)


@pytest.fixture
def photos(tmp_path):
    """Three of different sizes, two of one name, and one that is none."""
    random = np.random.default_rng(0)
    for name, size in (("a/one.png", (50, 70)), ("b/one.png", (97, 33)), ("b/two.jpg", (40, 40))):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(path)
    (tmp_path / "photos/b/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "photos"


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_image_too_large_for_memory_is_reported_and_costs_no_other(weights, photos):
    model = dsmixer.load(weights)
    before = model.network.forward

    def forward(images):
        if max(images[0].shape) == 97:
            raise RuntimeError("memory is out\nby far")
        return before(images)

    model.network.forward = forward
    small, large = model.stream([photos / "b/two.jpg", photos / "b/one.png"])
    assert (small.error, large.error) == (None, "the network fails at 97x33 pixels: memory is out")


@pytest.mark.parametrize("head", ["semantic_fpn", "fcos"], indirect=True)
def test_an_image_that_pillow_cannot_read_or_that_is_empty_costs_no_other(weights, photos):
    """Pillow has seen no more than the header."""
    half = Image.open(io.BytesIO((photos / "a/one.png").read_bytes()[:5000]))
    found = list(dsmixer.load(weights).stream([photos / "b/two.jpg", half, Image.new("RGB", (0, 10)), photos / "a"]))
    assert [bool(answer.error) for answer in found] == [False, True, True, False]


@pytest.mark.parametrize("kind", OBJECTS)
def test_what_is_less_certain_than_ap_asks_for_is_found_where_wanted(kind, photos, tmp_path):
    model, path = dsmixer.load(write_weights(tmp_path / "model.safetensors", kind)), photos / "a/one.png"
    name = "cls_score" if kind == "maskrcnn" else "cls_logits"
    layer = next(module for key, module in model.network.named_modules() if key.endswith(name))
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(-6.0)
        layer.bias[0] += 5.0 if kind == "maskrcnn" else 0.0  # the background
    if kind == "maskrcnn":
        model.network.network.roi_heads.detections_per_img = 3
    counts = [len(model.predict(path, min_score=score)[0].found.scores) for score in (0.05, 0.0, 0.05)]
    assert counts[0] == counts[2] < counts[1]  # AP is measured as before


def test_three_lines_of_python(head, weights, photos):
    model = dsmixer.load(weights)
    path = photos / "a/one.png"
    (answer,) = model.predict(path) if head in PIXELS else model.predict(path, min_score=0.0)
    with Image.open(path) as image:
        drawn = answer.draw(image)
        assert drawn.size == image.size == (50, 70)
        if head in PIXELS:
            assert answer.mask.shape == (70, 50)
            assert sum(answer.shares.values()) == pytest.approx(1)
            for label, name in enumerate(model.classes):
                assert answer.shares.get(name, 0) == pytest.approx((answer.mask == label).mean())
            assert np.array_equal(np.asarray(answer.index_image()), answer.mask)
        else:
            assert len(answer.found.boxes)
            assert answer.found.boxes.max() <= 70
            assert set(answer.found.labels) <= {0, 1, 2}
            assert not np.array_equal(np.asarray(drawn), np.asarray(image))
    with pytest.raises(ValueError, match=r"bad\.png: "):
        model.predict(photos)


def test_a_line_an_image_and_pictures_beside(head, weights, photos, tmp_path, capsys):
    asked = ["predict", str(photos), f"--weights={weights}", f"--draw={tmp_path / 'drawn'}"]
    asked += [f"--masks={tmp_path / 'masks'}"] if head in PIXELS else ["--min-score=0"]
    assert main(asked) == 1
    found = lines(capsys)
    assert [line["image"] for line in found] == [
        str(photos / name) for name in ("a/one.png", "b/bad.png", "b/one.png", "b/two.jpg")
    ]
    assert ["error" in line for line in found] == [False, True, False, False]
    sizes = {}
    for path in (tmp_path / "drawn").iterdir():
        with Image.open(path) as image:
            sizes[path.name] = image.size
    assert sizes == {"one.png": (50, 70), "one-2.png": (97, 33), "two.png": (40, 40)}
    if head in PIXELS:
        with Image.open(tmp_path / "masks/one-2.png") as mask:
            assert (mask.mode, mask.size) == ("P", (97, 33))
            values = np.asarray(mask)
        shares = {ABOUT["class_names"][label]: (values == label).mean() for label in np.unique(values)}
        assert found[2]["classes"] == pytest.approx(shares, abs=1e-5)
    else:
        (first, *_) = found[0]["objects"]
        assert first["class"] in ABOUT["class_names"]
        assert len(first["box"]) == 4
        if head == "maskrcnn":
            assert decode_mask(first["mask"], 50, 70, "one").shape == (70, 50)
    assert main([*asked[:3], asked[3]]) == 2
    assert "is not empty; choose another or add --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("head", PIXELS, indirect=True)
def test_windows_scales_and_mirror_images_are_other_views_of_the_same(head, weights):
    model, images = dsmixer.load(weights), torch.randn(1, 3, 70, 50)
    whole = model.logits(images, model.views())
    assert torch.equal(whole, model.logits(images, model.views(window=1000, stride=700)))  # one window holds it all
    for views in ({"window": 32, "stride": 16}, {"scales": (0.5, 1.5)}, {"flip": True}):
        other = model.logits(images, model.views(**views))
        assert other.shape == whole.shape
        assert (other.softmax(1) - whole.softmax(1)).abs().max() > 1e-5


def test_a_segmenter_keeps_to_the_side_it_was_trained_for(tmp_path):
    """An image of that side is looked at as it is; another is resized to it, and its answer back."""
    model = dsmixer.load(write_weights(tmp_path / "model.safetensors", "upernet", short_side=40))
    own = dsmixer.load(write_weights(tmp_path / "own.safetensors", "upernet"))
    for size, same in (((40, 40), True), ((70, 50), False)):
        images = torch.randn(1, 3, *size)
        one, other = (each.logits(images, each.views()) for each in (model, own))
        assert one.shape == other.shape == (1, 3, *size)
        assert torch.equal(one, other) == same


def test_nothing_found_is_an_answer(tmp_path, photos, capsys):
    weights = write_weights(tmp_path / "model.safetensors", "fcos")
    assert (
        main(["predict", str(photos / "a"), f"--weights={weights}", "--min-score=1", f"--draw={tmp_path / 'd'}"]) == 0
    )
    assert lines(capsys) == [{"image": str(photos / "a/one.png"), "objects": []}]
    with Image.open(photos / "a/one.png") as before, Image.open(tmp_path / "d/one.png") as after:
        assert np.array_equal(np.asarray(before), np.asarray(after))


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (1, 1), (150, 3)])
def test_any_shape_gets_an_answer_or_a_reason(head, weights, size):
    (answer,) = dsmixer.load(weights).stream(Image.new("RGB", size))
    if head in OBJECTS and 300 in size:
        assert answer.error == f"{size[0]}x{size[1]} is too thin: more than 50 to 1"
    else:
        assert answer.error is None
        assert answer.draw(Image.new("RGB", size)).size == size


def test_originals_are_never_written_over(tmp_path, photos, capsys):
    weights = write_weights(tmp_path / "model.safetensors", "upernet")
    before = (photos / "a/one.png").read_bytes()
    asked = ["predict", f"--weights={weights}", "--overwrite"]
    for option in ("--draw", "--masks"):
        assert main([*asked, str(photos), f"{option}={photos / 'a'}"]) == 2
        assert "holds images to predict, which could be overwritten" in capsys.readouterr().err
    assert main([*asked, str(photos), f"--draw={tmp_path / 'x'}", f"--masks={tmp_path}/./x"]) == 2
    assert "give two folders" in capsys.readouterr().err
    assert main([*asked, "-", f"--draw={photos / 'a'}"]) == 2
    assert "without --overwrite, please" in capsys.readouterr().err
    assert (photos / "a/one.png").read_bytes() == before


def test_weights_that_are_not_finite_are_refused(head, weights, tmp_path):
    tensors = load_file(weights)
    key = next(name for name in tensors if name.endswith("out_proj.weight"))
    tensors[key][0] = float("nan")
    save_weights(tmp_path / "model.safetensors", tensors, {**ABOUT, "head": head, "head_kwargs": HEADS[head]})
    with pytest.raises(ValueError, match=f"holds numbers that are not finite, in {key}"):
        dsmixer.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        ("fcos", ["--top-k=3"], "--top-k is 3, but fcos"),
        ("fcos", ["--window=64"], "--window is 64, but fcos"),
        ("fcos", ["--masks=out"], "--masks is for classes of pixels"),
        ("fcos", ["--sheet=out.png"], "--sheet is for classes; try --draw"),
        ("upernet", ["--min-score=0.3"], "--min-score is 0.3, but upernet"),
        ("upernet", ["--format=csv"], "does not fit a table; try --format jsonl"),
        ("upernet", ["--window=64", "--stride=65"], "the stride no more than the window"),
        ("upernet", ["--scales", "0"], "must be factors above 0"),
        ("fcos", ["--min-score=2"], "must be from 0 to 1"),
    ],
)
def test_what_does_not_fit_the_weights_is_refused(head, options, message, tmp_path, capsys):
    weights = write_weights(tmp_path / "model.safetensors", head)
    assert main(["predict", "photo.png", f"--weights={weights}", *options]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_weights_that_lie_about_their_head_are_found_out(tmp_path):
    about = {**ABOUT, "head": "upernet", "head_kwargs": {"dim": 16}}
    save_weights(tmp_path / "model.safetensors", {"head.x": torch.zeros(1)}, about)
    with pytest.raises(ValueError, match="does not hold the weights its header promises"):
        dsmixer.load(tmp_path / "model.safetensors")
