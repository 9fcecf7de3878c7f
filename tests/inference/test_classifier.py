"""A trained model in three lines of Python, and one sentence for everything that is none."""

import io
import json
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import dsmixer
from dsmixer.data.splits import open_splits
from dsmixer.data.transforms import eval_transform

from .conftest import ABOUT, write_header, write_weights


def test_the_probabilities_are_the_networks(weights, digits):
    model = dsmixer.load(weights)
    test, transform = open_splits("digits", None, 0.1).test, eval_transform(8, ABOUT["mean"], ABOUT["std"])
    images = torch.stack([transform(test.source.image(int(row), "L")) for row in test.rows[:40]])
    with torch.inference_mode():
        expected = model.network(images).softmax(1)
    found = model.predict(sorted(digits.iterdir()), top_k=10, batch_size=7)
    assert [prediction.name for prediction in found] == [str(path) for path in sorted(digits.iterdir())]
    for prediction, row in zip(found, expected, strict=True):
        assert dict(prediction.top) == pytest.approx(
            dict(zip(ABOUT["class_names"], row.tolist(), strict=True)), abs=1e-5
        )
        shares = [share for _, share in prediction.top]
        assert shares == sorted(shares, reverse=True)


def test_every_form_of_an_image_gives_the_same(weights, digits):
    model, path = dsmixer.load(weights), next(iter(sorted(digits.iterdir())))
    image = Image.open(path)
    array = np.asarray(image)
    forms = [str(path), path, path.read_bytes(), image, array, np.repeat(array[..., None], 3, 2)]
    together = model.predict(forms, top_k=3)
    assert all(prediction.top == together[0].top for prediction in together)
    alone = [model.predict(form, top_k=3) for form in forms]
    assert all(len(predictions) == 1 and predictions[0].top == alone[0][0].top for predictions in alone)
    assert [name for name, _ in alone[0][0].top] == [name for name, _ in together[0].top]
    assert len(together[0].top) == 3
    assert len(model.predict(path, top_k=99)[0].top) == 10


def test_one_that_cannot_be_read_is_named_and_the_others_are_done(weights, digits, tmp_path):
    model, good = dsmixer.load(weights), next(iter(sorted(digits.iterdir())))
    (tmp_path / "bad.jpg").write_text("no")
    images = [good, tmp_path / "bad.jpg", "gone.png", good]
    found = list(model.stream(images, batch_size=2))
    assert [bool(prediction.error) for prediction in found] == [False, True, True, False]
    assert found[0].top == found[3].top
    assert found[1].to_dict() == {"image": str(tmp_path / "bad.jpg"), "error": found[1].error}
    with pytest.raises(ValueError, match=r"bad\.jpg: not an image \(2 bytes"):
        model.predict(images)
    half = Image.open(io.BytesIO(good.read_bytes()[:-30]))
    found = list(model.stream([good, half, Image.new("L", (0, 10)), good]))
    assert [bool(prediction.error) for prediction in found] == [False, True, True, False]


@pytest.mark.parametrize("options", [{"top_k": 0}, {"batch_size": 0}, {"workers": 0}])
def test_counts_begin_at_one(weights, photo, options):
    with pytest.raises(ValueError, match="must be at least 1"):
        dsmixer.load(weights).predict(photo, **options)


def test_a_network_that_has_lost_its_mind_says_so(tmp_path, photo):
    model = dsmixer.load(write_weights(tmp_path / "model.safetensors"))
    with torch.no_grad():
        model.network.head.fc.bias.fill_(float("nan"))
    (prediction,) = model.stream(photo)
    assert prediction.error == "the network answers with numbers that are not finite"


def test_a_network_that_fails_is_reported_for_the_images_it_was_shown(weights, photo, monkeypatch):
    model = dsmixer.load(weights)

    def fail(images):
        raise RuntimeError("memory is out\nby far")

    monkeypatch.setattr(model, "logits", fail)
    unread, seen = model.stream([b"no image", photo])
    assert "memory" not in unread.error
    assert seen.error == "the network fails at a batch of 1: memory is out"


def test_a_thousand_images_take_the_memory_of_two_batches(weights):
    """Of the images given and the tensors made of them, those alive at any time do not grow with their number."""
    model, alive = dsmixer.load(weights), {"given": [], "made": []}
    transform = model.transform

    def keep(kind, thing):
        alive[kind].append(weakref.ref(thing))
        return thing

    def pictures():
        for shade in range(1000):
            yield keep("given", np.full((64, 64), shade % 256, np.uint8))

    model.transform = lambda image: keep("made", transform(image))
    count, most = 0, {"given": 0, "made": 0}
    for count, prediction in enumerate(model.stream(pictures(), batch_size=16), 1):
        assert prediction.error is None
        if count % 10 == 0:
            most = {kind: max(most[kind], sum(thing() is not None for thing in alive[kind])) for kind in most}
    assert count == len(alive["made"]) == 1000
    assert max(most.values()) <= 3 * 16
    assert min(most.values()) > 0


def test_loading_leaves_the_random_generators_alone(weights):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    dsmixer.load(weights)
    assert torch.rand(1) == expected


@pytest.fixture
def here(tmp_path, monkeypatch):
    """One of everything that is no finished model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DSMIXER_WEIGHTS", raising=False)
    for name in ("begun", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("model: {}")
    (tmp_path / "model.pth").write_bytes(b"\x80\x04")
    (tmp_path / "pickled.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.")
    save_file({"fc.weight": torch.zeros(2, 2)}, tmp_path / "foreign.safetensors")
    write_header(tmp_path / "nameless.safetensors", class_names=None)
    write_header(tmp_path / "six.safetensors", in_chans=6)
    write_header(tmp_path / "means.safetensors", mean=[0.5, 0.5, 0.5])
    write_header(tmp_path / "flat.safetensors", std=[0.0])
    write_header(tmp_path / "number.safetensors", class_names=5)
    write_header(tmp_path / "hollow.safetensors")
    write_header(tmp_path / "hub.safetensors", architecture="hf-hub:someone/something")
    write_header(tmp_path / "path.safetensors", model_kwargs={"checkpoint_path": "model.pth"})
    write_header(tmp_path / "cfg.safetensors", model_kwargs={"pretrained_cfg": {"file": "model.pth"}})
    write_header(tmp_path / "wide.safetensors", model_kwargs={"width": 3})
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "gone does not exist; give a run folder, a .safetensors file or a packaged name"),
        ("begun", "the run begun is not finished; go on with it: dsmixer train --resume begun"),
        ("empty", "empty is not the folder of a run"),
        ("model.pth", r"model\.pth is no \.safetensors file; nothing else is read"),
        ("pickled.safetensors", r"is not a readable \.safetensors file"),
        ("foreign.safetensors", "does not say its architecture, model_kwargs, class_names"),
        ("nameless.safetensors", "does not say its class_names: only weights that `dsmixer train` wrote"),
        ("six.safetensors", "metadata that cannot be right: in_chans is 6"),
        ("means.safetensors", r"mean is \[0\.5, 0\.5, 0\.5\]"),
        ("flat.safetensors", r"std is \[0\.0\]"),
        ("number.safetensors", "class_names is 5"),
        ("hollow.safetensors", "does not hold the weights its header promises"),
        ("hub.safetensors", "hf-hub:someone/something, which is not registered"),
        ("path.safetensors", "model_kwargs is {'checkpoint_path'"),
        ("cfg.safetensors", "model_kwargs is {'pretrained_cfg'"),
        ("wide.safetensors", r"dsm_test does not take model\.kwargs"),
    ],
)
def test_what_is_no_model_is_said_in_one_sentence(here, name, message):
    before = sorted(here.rglob("*"))
    with pytest.raises(ValueError, match=message) as caught:
        dsmixer.load(name)
    assert "\n" not in str(caught.value)
    assert sorted(here.rglob("*")) == before


def test_an_absent_device_is_named(weights):
    with pytest.raises(ValueError, match="--device is cuda:77, which this machine does not offer"):
        dsmixer.load(weights, device="cuda:77")


def test_a_run_folder_is_its_weights(weights):
    assert dsmixer.load(weights.parent).path == weights
    assert repr(dsmixer.load(weights)) == "<dsm_test, 10 classes, 1x8x8>"
    assert json.loads(json.dumps(dsmixer.load(weights).about.to_dict())) == {
        **ABOUT,
        "num_classes": 10,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
    }
