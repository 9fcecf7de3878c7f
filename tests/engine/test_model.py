"""Weights to start from: other channels, other classes, frozen, from timm."""

import json
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from dsmixer.engine.model import build_model, freeze_backbone, load_weights
from dsmixer.engine.optimizer import make_optimizer


def build(name="dsm_test", classes=3, chans=3, seed=0, **options):
    kwargs = {"drop_path_rate": 0.0, "image_size": 32, "seed": seed, **options}
    return build_model(name, {}, num_classes=classes, in_chans=chans, **kwargs)


def saved(model, path, **metadata):
    save_file(model.state_dict(), path, {"architecture": "dsm_test", **metadata})
    return path


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (1, 3)])
def test_a_gray_image_means_the_same_to_weights_of_other_channels(theirs, ours, tmp_path):
    trained, model = build(chans=theirs), build(chans=ours, seed=1)
    news = load_weights(model, "dsm_test", saved(trained, tmp_path / "w.safetensors"), ["a", "b", "c"])
    assert "drawn afresh" not in news
    gray = torch.rand(2, 1, 32, 32)
    seen = [net.eval()(gray.expand(-1, chans, -1, -1)) for net, chans in ((trained, theirs), (model, ours))]
    torch.testing.assert_close(*seen)


@pytest.mark.parametrize("ours", [["a", "b", "c", "d", "e"], ["a", "b", "x"], ["a", "c", "b"]], ids="/".join)
def test_a_head_for_other_classes_stays_as_drawn_and_everything_else_is_taken(ours, tmp_path):
    trained, model = build(), build(classes=len(ours), seed=1)
    drawn = {key: value.clone() for key, value in model.state_dict().items()}
    path = saved(trained, tmp_path / "w.safetensors", class_names=json.dumps(["a", "b", "c"]))
    news = load_weights(model, "dsm_test", path, ours)
    assert news.endswith("drawn afresh: head.fc.weight, head.fc.bias")
    for key, value in model.state_dict().items():
        assert torch.equal(value, drawn[key] if key.startswith("head.fc.") else trained.state_dict()[key])


def test_a_head_for_the_same_classes_is_kept(tmp_path):
    trained, model = build(), build(seed=1)
    path = saved(trained, tmp_path / "w.safetensors", class_names=json.dumps(["a", "b", "c"]))
    assert load_weights(model, "dsm_test", path, ["a", "b", "c"]) == f"started from {path}"
    assert torch.equal(model.head.fc.weight, trained.head.fc.weight)


def test_a_frozen_backbone_leaves_the_classifier_to_learn():
    model = build()
    assert freeze_backbone(model, "dsm_test").startswith("frozen but for head.fc: 195 parameters")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for layer_decay in (None, 0.8):
        optimizer = make_optimizer(model, "adamw", 0.1, 0.05, layer_decay)
        assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 3 * 64 + 3
        model.train()(torch.rand(2, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"head.fc.weight", "head.fc.bias"}


def test_a_backbone_that_would_change_though_frozen_is_refused():
    with pytest.raises(ValueError, match="the batch norms of resnet18 would go on averaging"):
        freeze_backbone(timm.create_model("resnet18"), "resnet18")


def test_what_timm_has_is_taken_with_a_head_for_our_classes(tmp_path, monkeypatch):
    from timm.models import _registry

    trained = build()
    cfg = timm.get_pretrained_cfg("dsm_test")
    cfg = replace(cfg, file=str(saved(trained, tmp_path / "w.safetensors")), num_classes=3)
    monkeypatch.setitem(_registry._model_pretrained_cfgs, "dsm_test", cfg)
    model = build(classes=5, seed=1, pretrained=True)
    assert torch.equal(model.stem.conv.weight, trained.stem.conv.weight)
    assert model.head.fc.out_features == 5
    with pytest.raises(ValueError, match=r"model\.weights is timm, but for dsm_atto it says: No pretrained weights"):
        build("dsm_atto", pretrained=True)
