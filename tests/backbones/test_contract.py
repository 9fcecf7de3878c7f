"""The `dsm_*` models are timm models: what timm asserts of every model, asserted of ours.

Shapes and names of every variant are checked on the meta device, which costs no arithmetic; values on `dsm_test`.
"""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay

from .conftest import MODELS, SMALL, images

RESOLUTION = 64


def meta(name: str, **options):
    with torch.device("meta"):
        return timm.create_model(name, **options).eval()


def empty(*size: int, batch: int = 1) -> torch.Tensor:
    return torch.empty(batch, 3, *size, device="meta")


def test_all_variants_are_registered():
    sizes = ("zepto", "atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "test")
    assert sorted(MODELS) == sorted(f"dsm_{size}" for size in sizes)


@pytest.mark.parametrize("name", MODELS)
def test_default_cfg_is_true(name):
    model = meta(name)
    cfg, state = model.default_cfg, model.state_dict()
    assert tuple(model.forward_features(empty(*cfg["input_size"][1:])).shape[-2:]) == cfg["pool_size"]
    assert f"{cfg['first_conv']}.weight" in state
    assert f"{cfg['classifier']}.weight" in state
    assert model.get_classifier().out_features == cfg["num_classes"] == model.num_classes
    assert not cfg.get("fixed_input_size")


@pytest.mark.parametrize("name", MODELS)
def test_classifier_can_be_removed_and_replaced(name):
    model = meta(name)
    x = empty(RESOLUTION, RESOLUTION)
    model.reset_classifier(0)
    assert model(x).shape == (1, model.num_features)
    model.reset_classifier(0, "")
    assert model(x).shape == (1, model.num_features, 2, 2)
    model.reset_classifier(11, "avg")
    assert model(x).shape == (1, 11)
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (1, model.head_hidden_size)
    assert meta(name, num_classes=0, global_pool="")(x).shape == (1, model.num_features, 2, 2)


@pytest.mark.parametrize(
    ("name", "out_indices"),
    [(name, (0, 1, 2, 3)) for name in MODELS] + [(SMALL, i) for i in ((1, 3), (2,), (-1,), (-2, -1), (0,))],
)
def test_features_only(name, out_indices):
    model = meta(name, features_only=True, out_indices=out_indices)
    features = model(empty(RESOLUTION, 96))
    info = model.feature_info
    assert len(features) == len(out_indices) == len(info.channels())
    for feature, channels, reduction in zip(features, info.channels(), info.reduction(), strict=True):
        assert feature.shape == (1, channels, RESOLUTION // reduction, 96 // reduction)
    assert info.reduction() == [(4, 8, 16, 32)[index] for index in out_indices]


@pytest.mark.parametrize("feature_cls", ["list", "dict", "hook", "getter", "fx"])
def test_every_way_to_extract_features_gives_the_same(feature_cls):
    torch.manual_seed(0)
    reference = timm.create_model(SMALL).eval()
    model = timm.create_model(SMALL, features_only=True, feature_cls=feature_cls).eval()
    state = reference.state_dict()
    keys = model.state_dict()
    # timm's list and dict flatten `stages.0` to `stages_0`; the getter wraps the model.
    rename = {
        key: key.removeprefix("model.").removeprefix("graph_module.").replace("stages_", "stages.") for key in keys
    }
    model.load_state_dict({key: state[old] for key, old in rename.items()})
    x = images(40, 56)
    features = model(x)
    features = list(features.values()) if isinstance(features, dict) else features
    for feature, expected in zip(features, reference.forward_intermediates(x, intermediates_only=True), strict=True):
        assert torch.allclose(feature, expected, atol=1e-5)


def test_forward_intermediates(small):
    x = images(RESOLUTION, 96)
    last, intermediates = small.forward_intermediates(x)
    assert torch.equal(last, small.forward_features(x))
    assert torch.equal(intermediates[-1], last)
    for feature, info in zip(intermediates, small.feature_info, strict=True):
        size = (RESOLUTION // info["reduction"], 96 // info["reduction"])
        assert feature.shape == (2, info["num_chs"], *size)
    chosen = small.forward_intermediates(x, indices=[0, 2], intermediates_only=True, stop_early=True)
    assert [torch.equal(a, b) for a, b in zip(chosen, intermediates[::2], strict=True)] == [True, True]
    assert len(small.forward_intermediates(x, indices=2, intermediates_only=True)) == 2
    with pytest.raises(ValueError, match="'NLC' is not supported"):
        small.forward_intermediates(x, output_fmt="NLC")


@pytest.mark.parametrize("last", [1, 3])
def test_pruned_to_the_stages_asked_for(small, last):
    x = images(RESOLUTION, RESOLUTION)
    expected = small.forward_intermediates(x, indices=[last], intermediates_only=True)[0]
    assert small.prune_intermediate_layers([last]) == [last]
    assert len(small.stages) == last + 1
    assert torch.equal(small.forward_features(x), expected)
    assert torch.equal(small(x), expected)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride_is_honoured(output_stride):
    model = timm.create_model(SMALL, features_only=True, output_stride=output_stride)
    expected = [min(reduction, output_stride) for reduction in (4, 8, 16, 32)]
    assert model.feature_info.reduction() == expected
    assert [feature.shape[-1] for feature in model(images(64, 64))] == [64 // reduction for reduction in expected]


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
def test_stem_stride(stem_stride):
    model = timm.create_model(SMALL, features_only=True, stem_stride=stem_stride)
    expected = [stem_stride * 2**i for i in range(4)]
    assert model.feature_info.reduction() == expected
    assert [feature.shape[-1] for feature in model(images(32, 32))] == [32 // reduction for reduction in expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 4}, "output_stride 4 is not supported; use 8, 16 or 32"),
        ({"stem_stride": 3}, "stem_stride 3 is not supported; use 1, 2 or 4"),
        ({"dims": (8, 16)}, "differ in the number of stages"),
    ],
)
def test_options_are_honoured_or_refused(options, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model(SMALL, **options)


def test_pretrained_weights_do_not_exist_and_timm_says_so():
    with pytest.raises(RuntimeError, match=r"[Nn]o pretrained"):
        timm.create_model(SMALL, pretrained=True)


def test_training_step_reaches_every_parameter():
    model = timm.create_model(SMALL, num_classes=42, drop_path_rate=0.1).train()
    logits = model(images(RESOLUTION, RESOLUTION, batch=4))
    assert logits.shape == (4, 42)
    logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("name", MODELS)
def test_parameter_groups_cover_the_model(name):
    model = meta(name)
    depth = sum(len(stage.blocks) for stage in model.stages)
    by_layer = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.9)
    assert sum(len(group["params"]) for group in by_layer) == len(list(model.parameters()))
    scales = sorted({group["lr_scale"] for group in by_layer})
    assert len(scales) == depth + 2  # stem, every block, head
    assert scales[-1] == 1
    undecayed = next(g for g in param_groups_weight_decay(model, 0.05) if g["weight_decay"] == 0)
    assert all(parameter.ndim == 1 for parameter in undecayed["params"])
    assert model.no_weight_decay() == set()


def kept_for_backward(model, x) -> int:
    """Backward through ``model``; how many numbers the forward pass kept for it."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        loss = model(x).square().sum()
    loss.backward()
    return sum(kept)


def test_gradient_checkpointing_changes_memory_not_gradients(small):
    small.train()
    x = images(32, 48)
    gradients, kept = [], []
    for enable in (False, True):
        small.set_grad_checkpointing(enable)
        small.zero_grad()
        kept.append(kept_for_backward(small, x))
        gradients.append([parameter.grad.clone() for parameter in small.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.allclose(plain, checkpointed, atol=1e-5)
    assert kept[1] < kept[0] / 3


def test_drop_path_rises_linearly_from_zero():
    model = timm.create_model(SMALL, drop_path_rate=0.2)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.2)
    assert rates == sorted(rates)


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax"])
def test_global_pool(pool):
    model = timm.create_model(SMALL, global_pool=pool, num_classes=5)
    assert model(images(32, 32)).shape == (2, 5)


def test_in_chans():
    model = timm.create_model(SMALL, in_chans=5)
    assert model(images(32, 32, channels=5)).shape == (2, 1000)
    assert model.in_chans == 5


def test_device_and_dtype_are_options_as_for_timms_own_models():
    assert next(timm.create_model(SMALL, device="meta").parameters()).is_meta
    assert {p.dtype for p in timm.create_model(SMALL, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


def test_mixer_options_reach_every_block():
    model = timm.create_model(SMALL, mixer={"num_bands": 4})
    lengths = {(name.rpartition(".")[2], len(parameter)) for name, parameter in model.named_parameters()}
    assert {("band_weights", 4), ("exponents", 3)} <= lengths
    assert not {("band_weights", 6), ("exponents", 5)} & lengths


def test_initial_weights_do_not_depend_on_what_was_there():
    """A model built on the meta device and materialised, as timm documents it, has every parameter set."""
    materialised = timm.create_model(SMALL, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for parameter in materialised.parameters():
            parameter.fill_(torch.nan)
    states = []
    for model in (timm.create_model(SMALL), materialised):
        torch.manual_seed(0)
        model.init_weights()
        states.append(model.state_dict())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def test_symbolic_traces_give_the_same_at_every_size(small):
    from torchvision.models.feature_extraction import create_feature_extractor

    traced = torch.fx.symbolic_trace(small)
    extractor = create_feature_extractor(small, ["head.fc", "stages.1"])
    for size in ((40, 24), (33, 65)):
        x = images(*size)
        assert torch.equal(traced(x), small(x))
        features = extractor(x)
        assert torch.equal(features["head.fc"], small(x))
        assert torch.equal(features["stages.1"], small.forward_intermediates(x, [1], intermediates_only=True)[0])


def test_weights_survive_a_file(small, tmp_path):
    import safetensors.torch

    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(small.state_dict(), path)
    again = timm.create_model(SMALL, num_classes=7, checkpoint_path=str(path)).eval()
    x = images(32, 32)
    assert torch.equal(again(x), small(x))
