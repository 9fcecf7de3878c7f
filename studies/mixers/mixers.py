"""Every row of the tables by name, and which rows answer which question.

`dsm` and `dsm-…` are what `dsm_*` builds and that with a part exchanged; `far-…` the former default of this study, a
spectrum without convolutions in a block with an MLP; `near-…` and `alone-…` that with convolutions beside the spectrum
or in its place; `whole-…` blocks of one branch with a gated MLP.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from dsmixer.layers import SpectrumBlock
from studies.mixers.designs import LocalAndGlobal, Trial, Whole, WithGatedMlp, gated_mlp
from studies.mixers.filters import TwoFilters
from studies.mixers.frame import Mixer, Place
from studies.mixers.peers import PEERS
from studies.mixers.peers.convolution import FilteredGateConv, GatedConv, NearConv
from studies.mixers.variants import Generated, exchanged


def _dsm(at: Place, block: Mapping[str, Any], **options: Any) -> nn.Module:
    default = SpectrumBlock(at.dim, **block)
    if not options:
        return WithGatedMlp(default.mixer, default.mlp)
    return WithGatedMlp(exchanged(TwoFilters(at.dim), at.side, **options), default.mlp)


def dsm(*, recipe: Mapping[str, Any] | None = None, block: Mapping[str, Any] | None = None, **options: Any) -> Mixer:
    """A row for what `dsm_*` builds, or for that with a part exchanged, with other options, or trained otherwise."""
    return Mixer(partial(_dsm, block=block or {}, **options), mlp="none", recipe=recipe or {})


def generated(**options: Any) -> Mixer:
    """A row for what `dsm_*` builds with gains that a layer generates for both filters, see `Generated`."""

    def make(at: Place) -> nn.Module:
        default = SpectrumBlock(at.dim)
        return WithGatedMlp(Generated(TwoFilters(at.dim), **options), default.mlp)

    return Mixer(make, mlp="none")


def far(*, divisor: int = 8, **options: Any) -> Mixer:
    """A row for the former default with other parts."""
    return Mixer(lambda at: Trial(at.dim, **options), divisor)


def alone(**options: Any) -> Mixer:
    """A row for values of a convolution under a gate of the spectrum, or the other way round."""
    return Mixer(lambda at: LocalAndGlobal(at.dim, **options))


def near(**options: Any) -> Mixer:
    """A row for the spectrum and a convolution of the mixer's input in the same values."""
    return alone(far_too=True, direct=True, **options)


def whole(**options: Any) -> Mixer:
    """A row for a block of one branch."""
    return Mixer(lambda at: Whole(at.dim, **options), mlp="none")


def at_rate(name: str, rate: float) -> str:
    """What a row is called at another learning rate than the recipe's."""
    return f"{name}-at-{rate}"


def rates(name: str) -> tuple[str, ...]:
    """A row at half and at twice the recipe's learning rate."""
    return at_rate(name, 1e-3), at_rate(name, 4e-3)


# 1. dynamic or static: gains by another rule, from another image, none; the gate of another image, or none
DYNAMIC = {
    "dsm-static": dsm(gains="none"),
    "dsm-emphasis": dsm(gains="emphasis"),
    "dsm-group-emphasis": dsm(gains="group emphasis"),
    "dsm-fast-group-emphasis": dsm(gains="fast group emphasis"),
    "dsm-batch": dsm(gains="batch"),
    "dsm-shuffled": dsm(content="other"),
    "dsm-other-gate": dsm(gate="other"),
    "dsm-no-gate": dsm(gate="none"),
    "dsm-context": dsm(gains="context"),
    "dsm-context-shuffled": dsm(gains="context", content="other"),
    "dsm-context-alone": dsm(gains="context alone"),
    "dsm-generated": generated(),
    "dsm-generated-shuffled": generated(of_other=True),
    "dsm-generated-emphasis": generated(octave=0.2),
    "dsm-generated-emphasis-shuffled": generated(octave=0.2, of_other=True),
}
# the same of the former default, and other weights made by the content
FAR_DYNAMIC = {
    "far-static": far(gains="none"),
    "far-shuffled": far(content="other"),
    "far-batch": far(gains="batch"),
    "far-batch-and-own": far(gains="batch and own"),
    "far-batch-and-own-0.25": far(gains="batch and own from 0.25"),
    "far-emphasis": far(gains="emphasis"),
    "far-strong-emphasis": far(gains="strong emphasis"),
    "far-constant-powers": far(gains="constant powers"),
    "far-values-only": far(weighed="values"),
    "far-gate-only": far(weighed="gate"),
    "far-one-ring": far(gains="one ring"),
    "far-3-rings": far(gains="3 rings"),
    "far-from-0": far(gains="from 0"),
    "far-from-0.25": far(gains="from 0.25"),
    "far-from-0.75": far(gains="from 0.75"),
    "far-from-1": far(gains="from 1"),
    "far-mean-too": far(gains="mean too"),
    "far-groups-of-8": far(gains="groups of 8", divisor=16),
    "far-cross": far(gains="cross"),
    "far-pairs": far(gains="pairs"),
    "far-frequency-gains": far(gains="frequencies"),
    "far-frequency-gains-32": far(gains="frequencies, 32 groups", divisor=16),
    "far-mlp-gains": far(gains="mlp"),
    "far-mixed-filters": far(gains="none", filters=2),
    "far-token-gains": far(gains="none", token_gains=True),
    "far-other-gate": far(gains="none", gate_of="other"),
    "far-no-gate": far(gains="none", gate="none"),
    "far-no-gate-dynamic": far(gate="none"),
    "far-no-gate-shuffled": far(gate="none", content="other"),
}
# 2. symmetric or not: how the values are synthesised, and filters along one axis
PARITY = {
    "dsm-mixed": dsm(values="mixed"),
    "dsm-all-bases": dsm(values="all"),
    "dsm-axes": dsm(response="axes"),
    "dsm-lines": dsm(filters="lines"),
}
FAR_PARITY = {
    "far-cosine": far(bases="cosine"),
    "far-all-bases": far(bases="all"),
    "far-axes": far(bases="axes"),
}
# 3. how locality enters
LOCALITY = {
    "dsm-kernel-1": dsm(block={"kernel_size": 1}),
    "dsm-kernel-5": dsm(block={"kernel_size": 5}),
    "dsm-kernel-7": dsm(block={"kernel_size": 7}),
    "dsm-windows": dsm(filters="windows"),
    "dsm-plain-gate": dsm(gate="plain"),
}
FAR_LOCALITY = {"far-local": far(local=True)}
# 3. a convolution in one factor of the product, the spectrum in the other; or in the same
NEAR = {
    "near": near(kernel=3, near_gate=3),
    "near-5": near(kernel=5, near_gate=5),
    "near-7": near(near_gate=7),
    "near-values": near(kernel=3),
    "near-values-7": near(),
    "near-values-projected": alone(kernel=3, far_too=True),
    "near-values-projected-7": alone(far_too=True),
    "alone-3": alone(kernel=3),
    "alone-7": alone(),
    "alone-7-direct": alone(direct=True),
    "alone-7-weighed-first": alone(weighed_first=True),
    "alone-7-static": alone(gains="none"),
    "alone-7-emphasis": alone(gains="emphasis"),
    "alone-7-gate": alone(local="gate"),
}
# 3. the block of one branch, by its parts
WHOLE = {
    "whole": whole(),
    "whole-far": Mixer(lambda at: WithGatedMlp(Trial(at.dim), gated_mlp(at.dim, 5 / 3)), mlp="none"),
    "whole-projected": whole(near="projection"),
    "whole-half": whole(mixed=0.5, hidden=13 / 6),
    "whole-half-projected": whole(mixed=0.5, hidden=13 / 6, near="projection"),
    "whole-3-4": whole(mixed=0.75, hidden=23 / 12),
    "whole-plain-gate": whole(far="values"),
    "whole-weighed-first": whole(weighed_first=True),
    "whole-weighed-first-half": whole(weighed_first=True, mixed=0.5, hidden=13 / 6),
    "whole-hidden-0.5": whole(hidden=0.5),
    "whole-hidden-1": whole(hidden=1.0),
    "whole-hidden-1-projected-7": whole(hidden=1.0, kernel=7, near="projection"),
}
WHOLE_PARITY = {
    "whole-hidden-1-cosine": whole(hidden=1.0, bases="cosine"),
    "whole-hidden-1-axes": whole(hidden=1.0, bases="axes"),
}
# 4. the static response
RESPONSE = {
    "dsm-bins": dsm(response="bins"),
    "dsm-bands": dsm(response="bands"),
    "dsm-polynomial": dsm(response="polynomial"),
    "dsm-terms-2": dsm(block={"num_terms": 2}),
    "dsm-terms-6": dsm(block={"num_terms": 6}),
    "dsm-std-0.05": dsm(response="std 0.05"),
    "dsm-std-0.3": dsm(response="std 0.3"),
}
FAR_RESPONSE = {"far-static-polynomial": far(bands=False, gains="none")}
# 5. the recipe for it
RECIPE = {
    "dsm-no-norm": dsm(norm=False),
    "dsm-wd-0": dsm(recipe={"weight_decay": 0.0}),
    "dsm-wd-0.2": dsm(recipe={"weight_decay": 0.2}),
    "dsm-clip-off": dsm(recipe={"clip": float("inf")}),
    "dsm-scale-0.1": dsm(recipe={"init_values": 0.1}),
    "dsm-scale-1": dsm(recipe={"init_values": 1.0}),
    "dsm-mlp-1": dsm(block={"mlp_ratio": 1.0}),
    "dsm-mlp-2": dsm(block={"mlp_ratio": 2.0}),
}
# 5. parts that learn so many times as fast as the others: the exponents of the gains, the response, the convolutions
SPEED = {
    "dsm-fast-gains": dsm(gains="fast 5"),
    "dsm-fast-response-3": dsm(response="fast 3"),
    "dsm-fast-response-10": dsm(response="fast 10"),
    "dsm-fast-3": dsm(gains="fast 3", response="fast 3"),
    "dsm-fast-5-3": dsm(gains="fast 5", response="fast 3"),
    "dsm-fast-5-3-values": dsm(gains="fast 5", response="fast 3", weighed="values"),
    "dsm-fast-5-3-gate": dsm(gains="fast 5", response="fast 3", weighed="gate"),
    "dsm-fast-all": dsm(gains="fast 5", response="fast 3", near_speed=3.0),
    "whole-conv7-fast": whole(far="none", kernel=7, near="projection", near_speed=3.0),
}
# Not peers: the parts that turned out to matter most, lent to convolutions. Is it the spectrum, or is it they?
CONTROLS: dict[str, Mixer] = {
    "gatedconv7-norm": Mixer(lambda at: GatedConv(at.dim, 7, norm=True)),
    "gatedconv7-filtered-gate": Mixer(lambda at: FilteredGateConv(at.dim, 7)),
    "near-conv3": Mixer(lambda at: NearConv(at.dim, 3)),
    "near-conv7": Mixer(lambda at: NearConv(at.dim, 7)),
    "whole-conv3": whole(far="none"),
    "whole-conv7": whole(far="none", kernel=7, near="projection"),
    "whole-hidden-1-conv7": whole(hidden=1.0, far="none", kernel=7, near="projection"),
}
OF_DSM = {"dsm": dsm()} | DYNAMIC | PARITY | LOCALITY | RESPONSE | RECIPE | SPEED
OF_FAR = {"far": far()} | FAR_DYNAMIC | FAR_PARITY | FAR_LOCALITY | FAR_RESPONSE
AT_ONE_RATE: dict[str, Mixer] = OF_DSM | OF_FAR | NEAR | WHOLE | WHOLE_PARITY | CONTROLS | PEERS
# The recipe's learning rate was set for ours: all of them at half of it, twice and four times.
RATES = {
    at_rate(name, rate): AT_ONE_RATE[name]._replace(recipe={"lr": rate})
    for name in ("dsm", "dsm-static", "dsm-shuffled", "dsm-fast-3", "dsm-fast-all", "whole-conv7", *PEERS)
    for rate in (1e-3, 4e-3, 8e-3)
}
MIXERS = AT_ONE_RATE | RATES


class Question(NamedTuple):
    """One page of the study: the rows that answer it, the first being what the others are compared with."""

    protocol: str
    mixers: tuple[str, ...]


FAR = ("far", "far-static", "far-emphasis", "far-batch", "far-shuffled")
GATE = ("far-other-gate", "far-no-gate", "far-no-gate-dynamic", "far-no-gate-shuffled")
GRID = ("dsm", "dsm-static", "whole-conv7", "mambaout", "gatedconv7", "attention")
RATED = ("dsm", "dsm-static", "dsm-shuffled", "whole-conv7", "mambaout", "spanetv2", "vheat", "gatedconv7")
LARGE = ("dsm", "dsm-static", "whole-conv7", "mambaout", "spanetv2", "vheat")
QUESTIONS: dict[str, Question] = {
    "peers": Question("final", ("dsm", "dsm-static", "whole-conv7", "far", *PEERS)),
    "1-dynamic": Question("final", ("dsm", *DYNAMIC)),
    "1-dynamic-rate": Question("final", ("dsm-at-0.004", "dsm-shuffled-at-0.004", "dsm-static-at-0.004")),
    "1-dynamic-varied": Question("varied", ("dsm", *DYNAMIC, "whole-conv7", "mambaout")),
    "1-dynamic-far": Question("final", FAR),
    "1-dynamic-gate": Question("final", ("far", "far-static", *GATE)),
    "1-dynamic-final": Question("final", ("far", *FAR_DYNAMIC)),
    "1-dynamic-screen": Question("screen", ("far", *FAR_DYNAMIC)),
    "2-symmetric": Question("final", ("dsm", *PARITY)),
    "2-symmetric-far": Question("screen", ("far", *FAR_PARITY)),
    "2-symmetric-whole": Question("final", ("whole-hidden-1", *WHOLE_PARITY)),
    "3-locality": Question("final", ("dsm", *LOCALITY, "whole-conv3", "whole-conv7")),
    "3-package": Question("final", ("far", "far-static", "gatedconv7", "gatedconv7-norm", "gatedconv7-filtered-gate")),
    "3-near-and-far": Question("final", ("far", "far-local", "mambaout", *CONTROLS, *NEAR, "whole", "whole-far")),
    "3-whole": Question("final", (*WHOLE, "mambaout", "whole-conv3", "whole-conv7", "whole-hidden-1-conv7")),
    "4-response": Question("final", ("dsm", *RESPONSE, "gfnet")),
    "5-recipe": Question("final", ("dsm", *RECIPE)),
    "5-speed": Question(
        "final", ("dsm", "dsm-at-0.004", *SPEED, "dsm-fast-3-at-0.004", "dsm-fast-all-at-0.004", "whole-conv7")
    ),
    "5-rates": Question("final", ("dsm", "dsm-at-0.008", *(row for name in RATED for row in (name, *rates(name))))),
    "5-rates-all": Question("final", ("dsm", *rates("dsm"), *(row for name in PEERS for row in (name, *rates(name))))),
    "6-frequencies": Question("final", ("dsm", "dsm-static", "whole-conv7", "mambaout", "attention", "gfnet")),
    "7-grid-8": Question("grid-8", GRID),
    "7-grid-16": Question("screen", GRID),
    "7-grid-32": Question("grid-32", (*GRID, "far", "gatedconv7-filtered-gate", "near-values-projected-7")),
    "7-grid-64": Question("grid-64", GRID[:-1]),
    "8-large": Question("large", LARGE),
    "8-full": Question("full", LARGE),
}
