"""`dsmixer models` counts exactly, and our variants cost what the ConvNeXt of the same name costs."""

import csv
import io
from contextlib import nullcontext

import pytest
import torch

from dsmixer.cli import main
from dsmixer.cli.models import cost

SIZES = ("zepto", "atto", "femto", "pico", "nano", "tiny", "small", "base", "large")
CONVNEXT = {"zepto": "zepto_rms"}  # there is no convnext_zepto


@pytest.mark.parametrize("size", SIZES)
def test_within_ten_percent_of_the_convnext_of_the_same_name(size):
    ours, theirs = cost(f"dsm_{size}", 224, 224), cost(f"convnext_{CONVNEXT.get(size, size)}", 224, 224)
    assert ours.parameters == pytest.approx(theirs.parameters, rel=0.1)
    assert ours.macs == pytest.approx(theirs.macs, rel=0.1)


def test_known_costs_are_found():
    """ResNet-50 has 25.557 M parameters and 4.09 G multiply-accumulates at 224, as torchvision's documentation says."""
    found = cost("resnet50", 224, 224)
    assert found.parameters == 25_557_032
    assert found.macs == pytest.approx(4.09e9, rel=0.01)


def test_kept_activations_are_what_autograd_keeps():
    """Counted on the meta device, equal to the bytes counted in a real forward pass."""
    import timm

    torch.manual_seed(0)
    model, storages, alive = timm.create_model("dsm_test").train(), {}, []

    def keep(tensor):
        alive.append(tensor)
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.randn(1, 3, 64, 96))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    real = sum(size for pointer, size in storages.items() if pointer not in weights)
    assert cost("dsm_test", 64, 96).activations == pytest.approx(real, rel=0.02)


def test_macs_grow_with_the_area():
    small, large = (cost("dsm_tiny", n, n).macs for n in (128, 256))
    assert 4 <= large / small < 4.4  # the matrices of the DCT grow a little faster


def test_the_table(capsys):
    assert main(["models", "dsm_t*"]) == 0
    shown = capsys.readouterr().out
    assert "dsm_test" in shown
    assert "dsm_tiny" in shown
    assert main(["models", "resnet18", "--all", "--csv", "--size", "64x32"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows] == ["resnet18"]
    assert int(rows[0]["parameters"]) == 11_689_512


def test_a_model_that_refuses_the_size_takes_no_other_along(capsys):
    reason = "Input height (64) doesn't match model (160)."
    asked = ["models", "test_vit[23]", "--all", "--size=64"]  # timm's: the first takes any size
    assert main([*asked, "--csv"]) == 0
    one, other = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (one["name"], int(one["parameters"]) > 0, one["error"]) == ("test_vit2", True, "")
    assert (other["name"], other["parameters"], other["error"]) == ("test_vit3", "", reason)
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "test_vit2" in shown
    assert shown.endswith(f"test_vit3: {reason}\n")


def test_what_is_known_is_shown_at_once(capsys, monkeypatch):
    from dsmixer.cli import models

    def counted(name, height, width):
        shown.append(capsys.readouterr().out)
        return models.Cost(name, 1, 1, 1)

    shown, moved = [], []
    monkeypatch.setattr(models, "cost", counted)
    assert main(["models", "dsm_t*", "--csv"]) == 0
    assert shown == [
        "name,parameters,macs,activation_bytes,training_bytes,packaged_weights,error\n",
        "dsm_test,1,1,1,17,,\n",
    ]
    monkeypatch.setattr(models, "bar", lambda total: nullcontext(lambda done: moved.append((done, total))))
    assert main(["models", "dsm_t*"]) == 0
    assert moved == [(1, 2), (1, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "no model matches 'nope'"),
        (["--size", "1x"], "'1x' is not a size; write 224 or 480x640"),
        (["--size", "0"], "'0' is not a size"),
        (["--sise", "64"], "unrecognized arguments: --sise"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, capsys):
    assert main(["models", *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
