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
from studies.mixers.designs import LocalAndGlobal, Trial, Whole, WithGatedMlp, exchanged, gated_mlp
from studies.mixers.frame import Mixer, Place
from studies.mixers.peers import PEERS
from studies.mixers.peers.convolution import FilteredGateConv, GatedConv, NearConv


def _dsm(at: Place, **options: Any) -> nn.Module:
    block = SpectrumBlock(at.dim)
    return WithGatedMlp(exchanged(block.mixer, **options), block.mlp)


def dsm(**options: Any) -> Mixer:
    """A row for what `dsm_*` builds, or for that with a part exchanged."""
    return Mixer(partial(_dsm, **options), mlp="none")


def far(*, recipe: Mapping[str, Any] | None = None, divisor: int = 8, **options: Any) -> Mixer:
    """A row for the former default with other parts, or trained by another recipe."""
    return Mixer(lambda at: Trial(at.dim, at.side, **options), divisor, recipe=recipe or {})


def alone(**options: Any) -> Mixer:
    """A row for values of a convolution under a gate of the spectrum, or the other way round."""
    return Mixer(lambda at: LocalAndGlobal(at.dim, **options))


def near(**options: Any) -> Mixer:
    """A row for the spectrum and a convolution of the mixer's input in the same values."""
    return alone(far_too=True, direct=True, **options)


def whole(**options: Any) -> Mixer:
    """A row for a block of one branch."""
    return Mixer(lambda at: Whole(at.dim, **options), mlp="none")


# 1. dynamic or static: gains by another rule, from another image, none; the gate of another image
DYNAMIC = {
    "dsm-static": dsm(gains="none"),
    "dsm-emphasis": dsm(gains="emphasis"),
    "dsm-batch": dsm(gains="batch"),
    "dsm-shuffled": dsm(content="other"),
    "dsm-other-gate": dsm(gate="other"),
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
# 2. symmetric or not: how the values are synthesised
PARITY = {
    "far-cosine": far(bases="cosine"),
    "far-all-bases": far(bases="all"),
    "far-axes": far(bases="axes"),
}
# 3. how locality enters
LOCALITY = {
    "far-plain-gate": far(gate="plain", gains="none"),
    "far-local": far(local=True),
    "far-windows": far(window=4),
    "far-position": far(position=True),
}
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
    "whole-far": Mixer(lambda at: WithGatedMlp(Trial(at.dim, at.side), gated_mlp(at.dim, 5 / 3)), mlp="none"),
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
    "far-response-bins": far(response="bins"),
    "far-response-bands": far(response="bands"),
    "far-response-polynomial": far(response="polynomial"),
    "far-static-polynomial": far(response="polynomial", gains="none"),
    "far-terms-2": far(num_terms=2),
    "far-terms-6": far(num_terms=6),
    "far-std-0.05": far(std=0.05),
    "far-std-0.3": far(std=0.3),
}
# 5. the recipe for it
RECIPE = {
    "far-no-norm": far(norm=False),
    "far-wide": far(expand=1.5, divisor=16),
    "far-wd-0": far(recipe={"weight_decay": 0.0}),
    "far-wd-0.2": far(recipe={"weight_decay": 0.2}),
    "far-clip-off": far(recipe={"clip": float("inf")}),
    "far-scale-0.1": far(recipe={"init_values": 0.1}),
    "far-scale-1": far(recipe={"init_values": 1.0}),
    "far-mlp-1": far(recipe={"mlp_ratio": 1.0}),
    "far-mlp-3": far(recipe={"mlp_ratio": 3.0}),
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
DESIGNS = DYNAMIC | {"far": far()} | FAR_DYNAMIC | PARITY | LOCALITY | NEAR | WHOLE | WHOLE_PARITY | RESPONSE | RECIPE
AT_ONE_RATE: dict[str, Mixer] = {"dsm": dsm(), **DESIGNS, **CONTROLS, **PEERS}
# The recipe's learning rate was set for ours: the others at half and twice of it.
RATES = {
    f"{name}-at-{rate}": AT_ONE_RATE[name]._replace(recipe={"lr": rate})
    for name in ("dsm", "dsm-static", "whole-conv7", *PEERS)
    for rate in (1e-3, 4e-3)
}
MIXERS = AT_ONE_RATE | RATES


class Question(NamedTuple):
    """One page of the study: the rows that answer it, the first being what the others are compared with."""

    protocol: str
    mixers: tuple[str, ...]


FAR = ("far", "far-static", "far-emphasis", "far-batch", "far-shuffled")
GATE = ("far-other-gate", "far-no-gate", "far-no-gate-dynamic", "far-no-gate-shuffled")
GRID = ("dsm", "dsm-static", "whole-conv7", "mambaout", "gatedconv7", "attention")
LARGE = ("dsm", "dsm-static", "whole-conv7", "mambaout", "spanetv2", "vheat")
QUESTIONS: dict[str, Question] = {
    "peers": Question("final", ("dsm", "dsm-static", "whole-conv7", "far", *PEERS)),
    "1-dynamic": Question("final", ("dsm", *DYNAMIC)),
    "1-dynamic-varied": Question("varied", ("dsm", *DYNAMIC, "whole-conv7", "mambaout")),
    "1-dynamic-far": Question("final", FAR),
    "1-dynamic-gate": Question("final", ("far", "far-static", *GATE)),
    "1-dynamic-final": Question("final", ("far", *FAR_DYNAMIC)),
    "1-dynamic-screen": Question("screen", ("far", *FAR_DYNAMIC)),
    "2-symmetric": Question("screen", ("far", *PARITY)),
    "2-symmetric-whole": Question("final", ("whole-hidden-1", *WHOLE_PARITY)),
    "3-locality": Question("screen", ("far", *LOCALITY, *CONTROLS)),
    "3-package": Question("final", ("far", "far-static", "gatedconv7", "gatedconv7-norm", "gatedconv7-filtered-gate")),
    "3-near-and-far": Question("final", ("far", "far-local", "mambaout", *CONTROLS, *NEAR, "whole", "whole-far")),
    "3-whole": Question("final", (*WHOLE, "mambaout", "whole-conv3", "whole-conv7", "whole-hidden-1-conv7")),
    "4-response": Question("screen", ("far", *RESPONSE, "gfnet")),
    "5-recipe": Question("screen", ("far", *RECIPE)),
    "5-rates": Question("final", tuple(RATES)),
    "6-frequencies": Question("final", ("far", "far-static", "far-emphasis", "gatedconv7", "attention", "gfnet")),
    "7-grid-8": Question("grid-8", GRID),
    "7-grid-16": Question("screen", GRID),
    "7-grid-32": Question("grid-32", (*GRID, "far", "gatedconv7-filtered-gate", "near-values-projected-7")),
    "7-grid-64": Question("grid-64", GRID[:-1]),
    "8-large": Question("large", LARGE),
    "8-full": Question("full", LARGE),
}
