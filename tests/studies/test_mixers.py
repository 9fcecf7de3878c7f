"""The study's frame, its peers and its bookkeeping."""

import re
from concurrent.futures import Future
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from torch import nn

from dsmixer.backbones.dsm import DynamicSpectrumMixer
from dsmixer.layers import SpectrumBlock, SpectrumMixer
from dsmixer.spectral import dct2
from studies.mixers import capture, data, pages, run, table
from studies.mixers.designs import Trial, Whole, WithGatedMlp
from studies.mixers.filters import Filter, TwoFilters
from studies.mixers.frame import Mixer, Shape, build, grid_sides, num_macs, num_params
from studies.mixers.frequencies import feature_spectra
from studies.mixers.gains import Faster, NoGains, RingGains
from studies.mixers.mixers import AT_ONE_RATE, MIXERS, QUESTIONS
from studies.mixers.peers import attention, convolution, mlp, spectral
from studies.mixers.protocols import PROTOCOLS, Protocol
from studies.mixers.responses import COSINE, AxisResponse, Numbers, Response
from studies.mixers.shifts import SHIFTS, faded, filtered, resized
from studies.mixers.variants import Lines, Synthesised, exchanged, into_windows, out_of_windows

LOW_AND_HIGH = (slice(1, 4), slice(24, 32))
SCREEN = PROTOCOLS["screen"]


def tokens(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", AT_ONE_RATE)
def test_every_mixer_meets_the_budget_and_learns_with_all_its_parameters(name: str) -> None:
    mixer = MIXERS[name]
    protocol = SCREEN.changed(mixer.recipe)
    torch.manual_seed(0)
    model = build(mixer, protocol.shape, 10, protocol.budget["cifar10"])
    assert abs(num_params(model) / protocol.budget["cifar10"] - 1) <= 0.05
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(2):  # what starts at zero holds back the gradient of what lies before it, for one step
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(tokens(8, 3, 32, 32)), torch.arange(8))
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    without = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_the_frame_around_the_default_mixer_is_dsm() -> None:
    shape = Shape(widths=(16, 24, 32), depths=(1, 1, 2))
    frame = build(MIXERS["dsm"], shape, 5, None)
    model = DynamicSpectrumMixer(num_classes=5, depths=shape.depths, dims=shape.widths, stem_stride=2)
    assert num_params(frame) == num_params(model)
    # Both list stem, downsampling and blocks, norm and head; only the order of the downsamplings differs.
    ours = {key.replace("blocks.", ""): value for key, value in model.state_dict().items()}
    parts = {"norm": "norm1", "ls": "ls1", "mixer": "mixer.mixer", "mlp": "mixer.mlp"}
    block = re.compile(r"(stages\.\d\.\d\.)(\w+)")
    ours = {block.sub(lambda m: m[1] + parts[m[2]], key): value for key, value in ours.items()}
    for index in (1, 2):
        ours = {key.replace(f"stages.{index}.downsample", f"downsamples.{index}"): v for key, v in ours.items()}
    ours = {key.replace("head.norm", "norm").replace("head.fc", "head"): value for key, value in ours.items()}
    started = frame.state_dict()
    near = {key: value for key, value in ours.items() if key.endswith(("near_values.bias", "near_gate.bias"))}
    assert near
    assert not any(value.any() or started[key].any() for key, value in near.items())  # both start without
    frame.load_state_dict(ours)
    x = tokens(2, 3, 32, 32)
    torch.testing.assert_close(frame.eval()(x), model.eval()(x))


@torch.no_grad()
def test_two_filters_are_the_default_mixer() -> None:
    torch.manual_seed(0)
    mixer, design = SpectrumMixer(16), TwoFilters(16)
    for parameter in design.parameters():
        parameter.normal_(std=0.3)
    both = (design.values, design.gate)
    mixer.proj.weight.copy_(torch.cat([one.proj.weight for one in both]))
    for part in ("response.coefficients", "response.band_weights", "gains.exponents"):
        halves = [one.weights.get_parameter(part) for one in both]
        mixer.weights.get_parameter(part).copy_(torch.cat(halves, -1))
    for near, one in zip((mixer.near_values, mixer.near_gate), both, strict=True):
        near.load_state_dict(one.near.state_dict())
    mixer.norm.load_state_dict(design.norm.state_dict())
    mixer.out_proj.load_state_dict(design.out_proj.state_dict())
    x = tokens(2, 9, 6, 16)
    torch.testing.assert_close(design(x), mixer(x))


def test_two_filters_start_as_the_default_mixer_does() -> None:
    """The same numbers of the same distributions: small filters for the values, one plus those for the gate."""
    torch.manual_seed(0)
    mixer, design = SpectrumMixer(512), TwoFilters(512)
    assert num_params(mixer) == num_params(design)
    response = mixer.weights.response(8, 8)
    for half, one in zip(response.chunk(2, -1), (design.values, design.gate), strict=True):
        own = one.weights.response(8, 8)
        assert abs(half.mean() - own.mean()) < 0.05
        assert abs(half.std() / own.std() - 1) < 0.05


def test_the_block_by_its_parts_is_the_default_block() -> None:
    torch.manual_seed(0)
    block, design = SpectrumBlock(16), Whole(16, hidden=1.5, bases="cosine")
    default = WithGatedMlp(TwoFilters(16), block.mlp)
    values, gate, mlp_ = default.mixer.values, default.mixer.gate, default.mlp
    with torch.no_grad():
        for parameter in default.mixer.parameters():
            parameter.normal_(std=0.3)
        ups = (values.proj.weight, gate.proj.weight, mlp_.fc1_g.weight, mlp_.fc1_x.weight)
        design.up.weight.copy_(torch.cat(ups))
        design.up.bias.copy_(torch.cat([torch.zeros(32), mlp_.fc1_g.bias, mlp_.fc1_x.bias]))
        design.gains.exponents.copy_(torch.cat([one.weights.gains.exponents for one in (values, gate)], 1))
        for ours, one in ((design.values_response, values), (design.gate_response, gate)):
            ours.learned.copy_(one.weights.response.coefficients)
            ours.band_weights.copy_(one.weights.response.band_weights)
        for conv, one in zip(design.convs, (values, gate), strict=True):
            conv.module.load_state_dict(one.near.state_dict())
        design.norm.load_state_dict(default.mixer.norm.state_dict())
        design.down.weight.copy_(torch.cat([default.mixer.out_proj.weight, mlp_.fc2.weight], 1))
        design.down.bias.copy_(default.mixer.out_proj.bias + mlp_.fc2.bias)
        x = tokens(2, 8, 8, 16)
        torch.testing.assert_close(design(x), default(x))


@pytest.mark.parametrize("exchange", [{"gains": "none"}, {"content": "other"}, {"gate": "other"}], ids=str)
def test_an_exchanged_part_changes_what_it_should(exchange: dict[str, str]) -> None:
    torch.manual_seed(0)
    mixer, x = TwoFilters(16), tokens(2, 8, 8, 16)
    before = mixer(x)
    same = x[:1].expand(2, -1, -1, -1)
    alike = mixer(same)
    exchanged(mixer, **exchange)
    assert (mixer(x) - before).abs().max() > 1e-3
    if exchange != {"gains": "none"}:  # where all images are the same, the next one's is the own
        torch.testing.assert_close(mixer(same), alike)


FASTER = {
    "response": (lambda speed: Response(16, speed=speed), lambda response: response(8, 8)),
    "gains": (lambda speed: RingGains(16, speed=speed), lambda gains: gains(3 * tokens(2, 8, 8, 16)).log()),
    "convolution": (lambda speed: Faster(nn.Conv1d(16, 16, 3), speed), lambda conv: conv(tokens(2, 16, 8))),
}


@pytest.mark.parametrize("kind", FASTER)
def test_what_learns_faster_starts_the_same_and_takes_larger_steps(kind: str) -> None:
    make, apply = FASTER[kind]
    started, steps = [], []
    for speed in (1.0, 3.0):
        torch.manual_seed(0)
        layer = make(speed)
        optimizer = torch.optim.Adam(layer.parameters(), 1e-3)
        started.append(apply(layer).detach())
        (apply(layer) * tokens(*started[0].shape)).sum().backward()
        optimizer.step()
        steps.append(apply(layer).detach() - started[-1])
    torch.testing.assert_close(started[1], started[0])
    torch.testing.assert_close(steps[1], 3 * steps[0], rtol=1e-2, atol=1e-4)


def test_a_gate_that_is_not_there_leaves_the_normalised_values() -> None:
    torch.manual_seed(0)
    mixer, x = TwoFilters(16), tokens(2, 8, 8, 16)
    expected = mixer.out_proj(mixer.norm(mixer.values(x, dct2(x))))
    torch.testing.assert_close(exchanged(mixer, gate="none")(x), expected)


def test_cosines_are_one_of_the_bases_a_filter_can_be_synthesised_by() -> None:
    torch.manual_seed(0)
    default, x = Filter(16), tokens(2, 8, 8, 16)
    design = Synthesised(default, COSINE, everywhere=False)
    with torch.no_grad():
        design.responses[0].learned.copy_(default.weights.response.coefficients)
    torch.testing.assert_close(design(x, dct2(x)), default(x, dct2(x)))


def test_filters_along_a_line_leave_the_other_lines_alone() -> None:
    torch.manual_seed(0)
    lines = Lines(Filter(16))
    with torch.no_grad():
        lines.proj.weight.copy_(torch.eye(16))
        lines.near.weight.zero_()
    for weights in lines.weights:
        nn.init.normal_(weights.response.band_weights)
        weights.gains = NoGains()  # others gather the power of all lines
    x = tokens(1, 6, 8, 16)
    changed = x.clone()
    changed[:, 2, 3] += 1
    differs = (lines(x, x) - lines(changed, x)).abs() > 1e-6
    assert differs[0, :, 3, :8].all()
    assert differs[0, 2, :, 8:].all()
    assert differs.sum() == 6 * 8 + 8 * 8


def test_a_response_along_an_axis_is_constant_along_the_other() -> None:
    response = AxisResponse(8)(6, 5)
    torch.testing.assert_close(response[..., :4], response[:, :1, :4].expand(-1, 5, -1))
    torch.testing.assert_close(response[..., 4:], response[:1, :, 4:].expand(6, -1, -1))


def test_numbers_per_frequency_are_interpolated_on_another_grid() -> None:
    numbers = Numbers(3, 8)
    assert (numbers(8, 8) == numbers.learned).all()
    corners = (slice(None, None, 7), slice(None, None, 7))
    torch.testing.assert_close(numbers(15, 15)[::14, ::14], numbers.learned[corners])
    assert Numbers(3)(15, 15).shape == (15, 15, 3)


def test_windows_are_put_back_where_they_came_from() -> None:
    x = tokens(2, 8, 12, 3)
    windows = into_windows(x, 4)
    assert windows.shape == (12, 4, 4, 3)
    torch.testing.assert_close(windows[1], x[0, :4, 4:8])
    torch.testing.assert_close(out_of_windows(windows, x.shape, 4), x)


def test_shuffled_gains_come_from_another_image() -> None:
    torch.manual_seed(0)
    own, other = Trial(16), Trial(16, content="other")
    other.load_state_dict(own.state_dict())
    x = tokens(2, 8, 8, 16)
    same = x[:1].expand(2, -1, -1, -1)
    torch.testing.assert_close(own(same), other(same))
    assert (own(x) - other(x)).abs().max() > 1e-3


def test_macs_are_those_of_the_definition() -> None:
    shape = Shape(side=8, grid=4, depths=(1,), widths=(8,), mlp_ratio=2.0)
    model = build(MIXERS["identity"], shape, 3, None)
    stem, mlp_, head = 16 * 8 * 27, 16 * 2 * 8 * 16, 8 * 3
    assert num_macs(model, 8) == stem + mlp_ + head
    filtered_ = build(MIXERS["gfnet"], shape, 3, None)
    assert num_macs(filtered_, 8) == stem + mlp_ + head + 2 * 1.25 * 8 * 16 * 4


def test_a_budget_no_width_can_meet_is_an_error() -> None:
    with pytest.raises(ValueError, match="miss 100 parameters"):
        build(MIXERS["identity"], Shape(), 10, 100)


def test_the_grid_is_what_the_shape_says() -> None:
    assert grid_sides(Shape(side=32, grid=8)) == [8, 4, 2]
    with pytest.raises(ValueError, match="images of 32 pixels a side do not divide into 64 tokens"):
        grid_sides(PROTOCOLS["grid-64"].on("cifar10").shape)
    assert grid_sides(PROTOCOLS["grid-64"].on("tiny").shape) == [64, 32, 16]


def test_varied_images_keep_their_mean_and_lose_contrast_and_detail_each_by_its_own_measure() -> None:
    pixels = (128 + 30 * tokens(64, 3, 32, 32)).clamp(0, 255).byte()
    varied = data.vary(pixels, torch.Generator().manual_seed(0))
    assert varied.dtype == torch.uint8
    assert (varied.float().mean((2, 3)) - pixels.float().mean((2, 3))).abs().max() < 2
    before, after = (dct2(x.float().permute(0, 2, 3, 1)).square() for x in (pixels, varied))
    low, high = (after[:, part, part].mean((1, 2, 3)) / before[:, part, part].mean((1, 2, 3)) for part in LOW_AND_HIGH)
    assert low.max() / low.min() > 4  # the contrast
    assert (high / low).max() / (high / low).min() > 2  # the blur, but for the noise


# ---- peers: what each paper's definition implies -------------------------------------------------------------------


def test_pooling_of_a_constant_is_zero() -> None:
    pooled = convolution.ChannelsFirst(convolution.Pooling())(torch.full((1, 5, 6, 4), 3.0))
    torch.testing.assert_close(pooled, torch.zeros(1, 5, 6, 4))


def test_shifted_windows_keep_apart_what_only_the_roll_brought_together() -> None:
    mixer = attention.ShiftedWindowAttention(16, 8, shifted=True)
    mixer.attention.reset_parameters()
    x = tokens(1, 8, 8, 16)
    changed = x.clone()
    changed[:, 7, 7] += 1
    differs = (mixer(x) - mixer(changed)).abs().amax((0, 3)) > 1e-6
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[6:, 6:] = True
    assert (differs == expected).all()


def test_attention_sees_all_tokens_alike() -> None:
    mixer = attention.SelfAttention(32)
    x = tokens(1, 4, 5, 32)
    torch.testing.assert_close(mixer(x.flip(1)), mixer(x).flip(1))


def test_cycle_axis_shifts_channels_and_fills_with_zeros() -> None:
    mixer = mlp.CycleAxis(6, axis=2)
    with torch.no_grad():
        mixer.proj.weight.copy_(torch.eye(6))
        mixer.proj.bias.zero_()
    x = tokens(1, 2, 9, 6)
    y = mixer(x)
    for channel in (0, 3):
        torch.testing.assert_close(y[:, :, 1:, channel], x[:, :, :-1, channel])
        torch.testing.assert_close(y[..., channel + 1], x[..., channel + 1])
        torch.testing.assert_close(y[:, :, :-1, channel + 2], x[:, :, 1:, channel + 2])
        assert not y[:, :, 0, channel].any()


def test_a_gated_token_mlp_starts_without_mixing() -> None:
    mixer = mlp.GatedTokenMlp(8, 4)
    mixer.reset_parameters()
    x = tokens(1, 4, 4, 8)
    changed = x.clone()
    changed[:, 0, 0] += 1
    same = (mixer(x) - mixer(changed)).abs().amax(-1) < 1e-4
    assert same.sum() == 15


def test_a_global_filter_of_ones_is_the_identity_at_any_size() -> None:
    mixer = spectral.GlobalFilter(3, 8)
    with torch.no_grad():
        mixer.filter.copy_(torch.tensor([1.0, 0.0]).expand_as(mixer.filter))
    for side in (8, 12):
        x = tokens(2, side, side, 3)
        torch.testing.assert_close(mixer(x), x)


def test_heat_does_not_flow_without_conductivity_and_ends_in_the_mean() -> None:
    mixer = spectral.HeatConduction(4, 6)
    mixer.reset_parameters()
    mixer.local, mixer.in_proj, mixer.norm, mixer.out_proj = (nn.Identity() for _ in range(4))
    x = tokens(1, 6, 6, 8)
    v, gate = x.chunk(2, -1)
    for k, expected in ((0.0, v), (1e6, v.mean((1, 2), keepdim=True).expand_as(v))):
        mixer.to_k = nn.Sequential(nn.Linear(4, 4))
        nn.init.zeros_(mixer.to_k[0].weight)
        nn.init.constant_(mixer.to_k[0].bias, k)
        torch.testing.assert_close(mixer(x), expected * nn.functional.silu(gate), atol=1e-5, rtol=1e-4)


def test_the_blocks_of_a_stage_share_one_embedding_of_the_frequencies() -> None:
    first, second = (
        block.mixer for block in build(MIXERS["vheat"], Shape(widths=(8,), depths=(2,)), 3, None).stages[0]
    )
    x = tokens(1, 16, 16, 8)
    before = second(x)
    with torch.no_grad():
        first.embedding += 1
    assert second.embedding is None
    assert (second(x) - before).abs().max() > 1e-3


def test_a_recursive_gated_convolution_is_of_an_order_more_in_every_stage() -> None:
    model = build(MIXERS["hornet"], Shape(widths=(16, 32, 64), depths=(1, 1, 1)), 3, None)
    assert [stage[0].mixer.widths for stage in model.stages] == [[8, 16], [8, 16, 32], [8, 16, 32, 64]]


def test_heads_of_a_spectral_rescaling_meet_in_groups_of_a_channel_each() -> None:
    mixer = spectral.SpectralRescaling(8, 6)
    mixer.reset_parameters()
    expand, norm, *_ = mixer.to_context.module
    norm.forward = lambda x: x
    mixer.to_heads = nn.Identity()
    x = tokens(1, 6, 6, 8)
    changed = x.clone()
    changed[..., 0] += 1  # the first channel of the first head
    with torch.no_grad():
        groups = []
        expand.register_forward_hook(lambda module, inputs, output: groups.append(output))
        mixer(x), mixer(changed)
    differs = (groups[0] - groups[1]).abs().amax((0, 2, 3)) > 1e-4
    assert differs.tolist() == [True] * 8 + [False] * 8


def test_a_block_of_one_branch_is_the_whole_block_of_its_paper() -> None:
    shape = Shape(side=8, grid=8, widths=(8,), depths=(1,), init_values=1.0)
    x = tokens(1, 8, 8, 8)
    gfnet, mambaout = (build(MIXERS[name], shape, 3, None).stages[0][0] for name in ("gfnet", "mambaout"))
    torch.testing.assert_close(gfnet(x), x + gfnet.behind(gfnet.mixer(gfnet.norm1(x))))
    torch.testing.assert_close(mambaout(x), x + mambaout.mixer(mambaout.norm1(x)))
    assert len(mambaout.behind) == 0


def test_a_dynamic_filter_depends_on_the_image() -> None:
    torch.manual_seed(0)
    mixer = spectral.DynamicFilter(8, 6)
    nn.init.normal_(mixer.filters)
    x = tokens(2, 6, 6, 8)
    a, b = mixer(x), mixer(x + 1) - mixer(x)
    assert (a - b).abs().max() > 1e-3


# ---- data, runs, tables --------------------------------------------------------------------------------------------


@pytest.fixture
def small_set(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(0, 256, (60, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(data, "_decoded", lambda dataset, split: (pixels, torch.arange(60) % 3))


def test_subsets_are_balanced_and_always_the_same() -> None:
    labels = torch.arange(100) % 10
    rows = data.subset(labels, 50)
    assert len(set(rows.tolist())) == 50
    assert labels[rows].bincount().tolist() == [5] * 10
    assert (rows == data.subset(labels, 50)).all()


def test_batches_depend_on_seed_and_epoch_alone(small_set: None) -> None:
    images = data.Images("cifar10", "train", "cpu", 30)

    def epoch(seed: int, number: int) -> torch.Tensor:
        return torch.cat([x for x, _ in images.epoch(10, seed, number)])

    assert (epoch(0, 1) == epoch(0, 1)).all()
    assert (epoch(0, 1) != epoch(0, 2)).any()
    assert (epoch(0, 1) != epoch(1, 1)).any()


def test_crops_shift_and_mirror() -> None:
    pixels = torch.arange(64).reshape(1, 1, 8, 8).expand(3, 3, 8, 8)
    shift = torch.tensor([[1, 1, 0], [1, 1, 1]])
    still, mirrored, up = data._crop(pixels, shift, torch.tensor([False, True, False]), 1)
    assert (still == pixels[0]).all()
    assert (mirrored == pixels[0].flip(-1)).all()
    assert (up[:, 1:] == pixels[0, :, :-1]).all()
    assert (up[:, 0] == pixels[0, :, 1]).all()


@pytest.fixture
def short(small_set: None, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(side=16, grid=8, depths=(1, 1), widths=(16, 24))
    monkeypatch.setitem(PROTOCOLS, "short", Protocol(40, 2, shape, {"cifar10": None, "tiny": None}, batch_size=10))
    monkeypatch.setitem(data.CLASSES, "cifar10", 3)
    monkeypatch.setattr(run, "WEIGHTS", tmp_path)


def test_a_run_repeats_and_leaves_its_weights(short: None) -> None:
    job = ("short", "cifar10", "dsm", 3)
    first, second = (run.run([job], "cpu")[0] for _ in range(2))
    speed = "train_images_per_s"
    assert {k: v for k, v in first.items() if k != speed} == {k: v for k, v in second.items() if k != speed}
    assert set(first) == set(run.FIELDS)
    model = run.load("short", "cifar10", "dsm", 3)
    accuracy, loss = run.evaluate(model, data.Images("cifar10", "test", "cpu"))
    assert (round(accuracy, 2), round(loss, 4)) == (first["test_acc"], first["test_loss"])


def test_runs_that_are_there_are_skipped(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "results.csv"
    monkeypatch.setattr(run, "RESULTS", file)
    monkeypatch.setattr(run.rows, "__defaults__", (file,))
    row = dict.fromkeys(run.FIELDS, 1) | {"protocol": "screen", "dataset": "tiny", "mixer": "dsm", "seed": 0}
    row["device"] = "cpu, one thread"
    run.append(row, file)
    arguments = ["--protocol", "screen", "--mixers", "dsm", "pooling", "--datasets", "tiny", "--seeds", "0", "1"]
    todo = run.jobs(run.parser().parse_args(arguments))
    on_gpu = run.jobs(run.parser().parse_args([*arguments, "--device", "cuda"]))
    assert set(on_gpu) - set(todo) == {("screen", "tiny", "dsm", 0)}  # there is one of the CPU's alone
    assert todo == [("screen", "tiny", "pooling", 0), ("screen", "tiny", "dsm", 1), ("screen", "tiny", "pooling", 1)]
    with pytest.raises(SystemExit, match="unknown mixer 'nonsense'"):
        run.jobs(run.parser().parse_args(["--mixers", "nonsense"]))


def test_a_grid_that_the_images_do_not_divide_into_is_not_asked_for() -> None:
    arguments = ["--protocol", "grid-64", "--mixers", "dsm", "--seeds", "9"]
    assert run.jobs(run.parser().parse_args(arguments)) == [("grid-64", "tiny", "dsm", 9)]


def test_groups_share_protocol_and_data_set() -> None:
    todo = [("screen", dataset, mixer, 0) for dataset in ("cifar10", "tiny") for mixer in ("a", "b", "c")]
    assert run.groups(todo, 2) == [(todo[0], todo[1]), (todo[2],), (todo[3], todo[4]), (todo[5],)]


def test_a_run_that_fails_is_reported_and_the_others_are_kept(tmp_path, monkeypatch, capsys) -> None:
    file = tmp_path / "results.csv"
    for function in (run.append, run.rows):
        monkeypatch.setattr(function, "__defaults__", (file,))
    worker_died, ended = Future(), Future()
    worker_died.set_exception(ValueError("a worker died"))
    ended.set_result([ValueError("dim 80 does not divide"), dict.fromkeys(run.FIELDS, 1)])
    assert run.keep(worker_died, [("screen", "tiny", "dsm", 0), ("screen", "tiny", "dsm", 1)]) == 2
    assert run.keep(ended, [("screen", "tiny", "dsm", 2), ("screen", "tiny", "dsm", 3)]) == 1
    told = capsys.readouterr().out
    assert all(f"FAILED screen tiny dsm {seed}" in told for seed in range(3))
    assert "FAILED screen tiny dsm 3" not in told
    assert len(run.rows(file)) == 1


def test_a_step_that_is_replayed_does_what_a_step_does(short: None, monkeypatch) -> None:
    """All of a captured training but the capture, which needs a GPU: here a replay calls the step."""
    calls = iter(range(100))
    step = capture.CapturedTraining._step
    monkeypatch.setattr(capture.CapturedTraining, "_step", lambda self: next(calls) < capture.WARM_UP and step(self))
    monkeypatch.setattr(capture.CapturedTraining, "replay", step)
    for name in ("Stream", "current_stream", "stream", "synchronize", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())
    prepared = run.Run("short", "cifar10", "dsm-batch", 3, "cpu")
    captured = run.Captured(prepared)
    capture.interleaved([captured.training])
    eager = run.run([("short", "cifar10", "dsm-batch", 3)], "cpu")[0]
    assert isinstance(eager, dict)
    replayed = captured.finished(1.0)
    for key in ("train_loss", "test_loss", "test_acc"):
        assert replayed[key] == pytest.approx(eager[key], abs=2e-4)


def test_the_table_states_mean_deviation_and_the_difference_to_the_default() -> None:
    row = dict.fromkeys(run.FIELDS, "1") | {"protocol": "p", "dataset": "tiny", "mixer": "a"}
    results = [row | {"seed": str(seed), "test_acc": accuracy} for seed, accuracy in enumerate(("50", "52", "54") * 2)]
    results.append(row | {"mixer": "b", "seed": "7", "test_acc": "60"})
    results += [row | {"mixer": "dsm", "seed": str(seed), "test_acc": "58"} for seed in range(6)]
    found = table.summaries(results, "p")
    assert [s.mixer for s in found] == ["b", "dsm", "a"]
    assert "| a | 6 | 52.00 ± 1.79 | +6.00 ± 0.73 |" in table.markdown(found)
    few = [each for each in results if each["seed"] != "5"]  # too few pairs to say how they spread
    assert "| a | 5 | 51.60 ± 1.67 | +6.40 |" in table.markdown(table.summaries(few, "p"))
    assert "| b | 1 | 60.00 |  |" in table.markdown(found)  # its seed is not among the default's
    elsewhere = row | {"mixer": "dsm", "seed": "7", "test_acc": "70", "device": "another"}
    assert "| b | 1 | 60.00 |  |" in table.markdown(table.summaries([*results, elsewhere], "p"))  # nor is it a pair


def test_every_committed_result_belongs_to_a_row_of_the_registry() -> None:
    for row in run.rows():
        assert row["mixer"] in MIXERS
        assert row["protocol"] in PROTOCOLS
    for question in QUESTIONS.values():
        assert set(question.mixers) <= set(MIXERS)


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_the_tables_in_the_pages_are_those_of_the_results(page: Path) -> None:
    assert pages.with_tables(page.read_text()) == page.read_text()


def test_low_and_high_pass_add_up_to_the_image_and_its_mean() -> None:
    x = tokens(2, 3, 12, 10)
    both = filtered(x, "below", 0.1) + filtered(x, "above", 0.1)
    torch.testing.assert_close(both, x + x.mean((2, 3), keepdim=True))
    low = dct2(filtered(x, "below", 0.1).permute(0, 2, 3, 1))
    assert low[:, 4:].abs().max() < 1e-5  # row 4 of 12 is 1/6 cycles per pixel


def test_feature_spectra_are_shares() -> None:
    model = build(Mixer(lambda at: nn.Identity()), Shape(), 10, None)
    shares = torch.tensor(feature_spectra(model, tokens(2, 3, 32, 32)))
    assert shares.shape == (4, 4)
    torch.testing.assert_close(shares.sum(1), torch.ones(4))


def test_resizing_keeps_a_constant() -> None:
    torch.testing.assert_close(resized(torch.ones(1, 3, 8, 8), 1.5), torch.ones(1, 3, 12, 12))


def test_fading_keeps_the_mean_and_scales_the_deviation() -> None:
    x = tokens(2, 3, 8, 8)
    y = faded(x, 0.25)
    torch.testing.assert_close(y.mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close(y.std((2, 3)), x.std((2, 3)) / 4)


def test_every_shift_is_the_same_for_every_model() -> None:
    x = tokens(2, 3, 32, 32)
    for shift in SHIFTS.values():
        assert torch.equal(shift(x), shift(x))
