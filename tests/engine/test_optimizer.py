"""Every layer has its rate, every parameter its decay; the averaged weights follow the formula."""

import json
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import nn

from dsmixer.engine.optimizer import AveragedWeights, make_optimizer, set_learning_rate
from dsmixer.engine.state import TrainState


@pytest.mark.parametrize("name", ["dsm_test", "convnext_atto"])
def test_layer_decay_gives_every_layer_less_than_the_one_above(name):
    """Stem below blocks below head, in ours and in a peer; the rate falls by the same factor from layer to layer."""
    import timm

    with torch.device("meta"):
        model = timm.create_model(name, num_classes=2)
    optimizer = make_optimizer(model, "adamw", 1.0, 0.1, layer_decay=0.5)
    set_learning_rate(optimizer, 2.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    rate = {key: rates[id(parameter)] for key, parameter in model.named_parameters()}
    assert len(rate) == sum(len(group["params"]) for group in optimizer.param_groups)
    assert rate["head.fc.weight"] == 2.0
    layers = [rate["stem.conv.weight" if name == "dsm_test" else "stem.0.weight"]]
    for stage in range(4):
        keys = [key for key in rate if key.startswith(f"stages.{stage}.")]
        layers += [min(rate[key] for key in keys), max(rate[key] for key in keys)]
    assert layers == sorted(layers)
    assert layers[0] < layers[3] < layers[5] < layers[7] < 2.0
    distinct = sorted(set(rate.values()))
    assert [high / low for low, high in pairwise(distinct)] == [2.0] * (len(distinct) - 1)


def test_by_stage_all_blocks_of_a_stage_have_one_rate():
    """As ConvNeXt's and BEiT's users decay: four stages below the head and above the stem, however many blocks."""
    import timm

    with torch.device("meta"):
        model = timm.create_model("dsm_test", depths=(2, 2, 9, 2), num_classes=2)
    optimizer = make_optimizer(model, "adamw", 1.0, 0.1, layer_decay=0.5, by_stage=True)
    scales = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        stage = int(name.split(".")[1]) if name.startswith("stages.") else -1 if name.startswith("stem") else 4
        assert scales[id(parameter)] == 0.5 ** (4 - stage), name


def test_vectors_and_what_is_named_are_not_decayed():
    import timm

    with torch.device("meta"):
        model = timm.create_model("dsm_test", num_classes=2)
    for layer_decay in (None, 0.5):
        optimizer = make_optimizer(model, "adamw", 1.0, 0.1, layer_decay, ["head.fc.weight", "*.band_weights"])
        decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in model.named_parameters():
            spared = parameter.ndim <= 1 or name == "head.fc.weight" or name.endswith(".band_weights")
            assert decay[id(parameter)] == (0.0 if spared else 0.1), name
    with pytest.raises(ValueError, match=r"optim.name is adamv, which timm does not have; try .*adam"):
        make_optimizer(model, "adamv", 1.0, 0.1, None)
    with pytest.raises(ValueError, match=r"optim.name is Adahessian, which needs second derivatives; .* try adamw"):
        make_optimizer(model, "Adahessian", 1.0, 0.1, None)
    with pytest.raises(ValueError, match=r"optim.name is bnbadam, which this machine does not offer \(.*\); try adamw"):
        make_optimizer(model, "bnbadam", 1.0, 0.1, None)
    with pytest.raises(ValueError, match=r"optim.no_decay has haed.fc.weight, which is no parameter; .*head.fc.weight"):
        make_optimizer(model, "adamw", 1.0, 0.1, None, ["haed.fc.weight"])


@pytest.mark.parametrize("name", ["adamw", "lamb", "sgd", "adan", "lion"])
def test_all_that_an_optimizer_remembers_is_packed(name):
    """Three steps, packed, unpacked elsewhere, three more: as six steps. LAMB counts its steps where others do not."""
    torch.manual_seed(0)
    start, images = nn.Linear(6, 2), torch.randn(6, 4, 6)

    def train(state, steps):
        for step in steps:
            state.model(images[step]).square().mean().backward()
            state.optimizer.step()
            state.optimizer.zero_grad()

    def fresh():
        model = deepcopy(start)
        return TrainState(model, make_optimizer(model, name, 0.1, 0.05, None), None)

    whole, first, second = fresh(), fresh(), fresh()
    train(whole, range(6))
    train(first, range(3))
    tensors, facts = first.pack()
    second.unpack({key: value.clone() for key, value in tensors.items()}, json.loads(json.dumps(facts)))
    train(second, range(3, 6))
    assert not torch.equal(whole.model.weight, start.weight)
    assert torch.equal(whole.model.weight, second.model.weight)


def test_what_an_optimizer_keeps_comes_back_in_the_memory_format_of_the_weights():
    def fresh():
        model = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
        return TrainState(model, make_optimizer(model, "adamw", 0.1, 0.05, None), None)

    first, second = fresh(), fresh()
    first.model(torch.ones(1, 4, 5, 5)).sum().backward()
    first.optimizer.step()
    tensors, facts = first.pack()
    second.unpack({key: value.contiguous() for key, value in tensors.items()}, facts)
    weight = second.model.weight
    moments = second.optimizer.state[weight]["exp_avg"]
    assert weight.stride() == moments.stride() != moments.contiguous().stride()
    assert torch.equal(moments, first.optimizer.state[first.model.weight]["exp_avg"])


def test_averaged_weights_follow_the_formula_buffers_included():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    averaged = AveragedWeights(model, 0.9)
    expected = model[0].weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            model[0].weight.add_(1.0)
            model[1].num_batches_tracked.add_(1)
        averaged.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(averaged.model[0].weight, expected)
    assert averaged.model[1].num_batches_tracked == 30
