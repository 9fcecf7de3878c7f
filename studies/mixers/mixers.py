"""Every row of the tables by name, and which rows answer which question."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from dsmixer.layers import SpectrumMixer
from studies.mixers.designs import LocalAndGlobal, SelfFiltered, Trial, WithGatedMlp
from studies.mixers.frame import Mixer, Place
from studies.mixers.peers import PEERS
from studies.mixers.peers.convolution import FilteredGateConv, GatedConv, NearConv


def _dsm(at: Place) -> nn.Module:
    """What `dsm_*` builds, which needs no side."""
    return SpectrumMixer(at.dim)


def _trial(at: Place, **options: Any) -> nn.Module:
    return Trial(at.dim, at.side, **options)


def trial(*, recipe: Mapping[str, Any] | None = None, divisor: int = 8, **options: Any) -> Mixer:
    """A row for the default mixer with other parts, or trained by another recipe."""
    return Mixer(partial(_trial, **options), divisor, recipe=recipe or {})


def _near_and_far(at: Place, **options: Any) -> nn.Module:
    return LocalAndGlobal(at.dim, **{"local": "values"} | options)


def near_and_far(**options: Any) -> Mixer:
    """A row for values of a convolution under a gate of the spectrum, or the other way round."""
    return Mixer(partial(_near_and_far, **options))


def beside(**options: Any) -> Mixer:
    """A row for the spectrum and a convolution of the mixer's input in the same values."""
    return near_and_far(far_too=True, direct=True, **options)


# 1. dynamic or static: gains by another rule, from another image, none; and other weights made by the content
DYNAMIC = {
    "dsm-static": trial(gains="none"),
    "dsm-shuffled": trial(content="other"),
    "dsm-batch": trial(gains="batch"),
    "dsm-batch-and-own": trial(gains="batch and own"),
    "dsm-batch-and-own-0.25": trial(gains="batch and own from 0.25"),
    "dsm-emphasis": trial(gains="emphasis"),
    "dsm-strong-emphasis": trial(gains="strong emphasis"),
    "dsm-constant-powers": trial(gains="constant powers"),
    "dsm-values-only": trial(weighed="values"),
    "dsm-gate-only": trial(weighed="gate"),
    "dsm-one-ring": trial(gains="one ring"),
    "dsm-3-rings": trial(gains="3 rings"),
    "dsm-from-0": trial(gains="from 0"),
    "dsm-from-0.25": trial(gains="from 0.25"),
    "dsm-from-0.75": trial(gains="from 0.75"),
    "dsm-from-1": trial(gains="from 1"),
    "dsm-mean-too": trial(gains="mean too"),
    "dsm-groups-of-8": trial(gains="groups of 8", divisor=16),
    "dsm-cross": trial(gains="cross"),
    "dsm-pairs": trial(gains="pairs"),
    "dsm-frequency-gains": trial(gains="frequencies"),
    "dsm-frequency-gains-32": trial(gains="frequencies, 32 groups", divisor=16),
    "dsm-mlp-gains": trial(gains="mlp"),
    "dsm-mixed-filters": trial(gains="none", filters=2),
    "dsm-token-gains": trial(gains="none", token_gains=True),
    "dsm-other-gate": trial(gains="none", gate_of="other"),
    "dsm-no-gate": trial(gains="none", gate="none"),
    "dsm-no-gate-dynamic": trial(gate="none"),
    "dsm-no-gate-shuffled": trial(gate="none", content="other"),
}
# 2. symmetric or not: how the values are synthesised
PARITY = {
    "dsm-cosine": trial(bases="cosine"),
    "dsm-all-bases": trial(bases="all"),
    "dsm-axes": trial(bases="axes"),
}
# 3. how locality enters
LOCALITY = {
    "dsm-plain-gate": trial(gate="plain", gains="none"),
    "dsm-local": trial(local=True),
    "dsm-windows": trial(window=4),
    "dsm-position": trial(position=True),
}
# 3. a convolution in one factor of the product, the spectrum in the other; or in the same
NEAR_AND_FAR = {
    "dsm-near": Mixer(lambda at: SpectrumMixer(at.dim, kernel_size=3)),
    "dsm-near-5": Mixer(lambda at: SpectrumMixer(at.dim, kernel_size=5)),
    "dsm-near-7": Mixer(lambda at: SpectrumMixer(at.dim, kernel_size=7)),
    "dsm-near-static": beside(kernel=3, near_gate=3, gains="none"),
    "dsm-near-emphasis": beside(kernel=3, near_gate=3, gains="emphasis"),
    "dsm-near-batch": beside(kernel=3, near_gate=3, gains="batch"),
    "dsm-near-shuffled": beside(kernel=3, near_gate=3, content="other"),
    "dsm-near-values": beside(kernel=3),
    "dsm-near-values-7": beside(),
    "dsm-near-values-projected": near_and_far(kernel=3, far_too=True),
    "dsm-near-values-projected-7": near_and_far(far_too=True),
    "dsm-alone-3": near_and_far(kernel=3),
    "dsm-alone-7": near_and_far(),
    "dsm-alone-7-direct": near_and_far(direct=True),
    "dsm-alone-7-weighed-first": near_and_far(weighed_first=True),
    "dsm-alone-7-static": near_and_far(gains="none"),
    "dsm-alone-7-emphasis": near_and_far(gains="emphasis"),
    "dsm-alone-7-gate": near_and_far(local="gate"),
    "dsm-self-filtered": Mixer(lambda at: SelfFiltered(at.dim)),
    "dsm-whole": Mixer(lambda at: WithGatedMlp(at.dim, SpectrumMixer(at.dim)), mlp="none"),
    "dsm-near-whole": Mixer(lambda at: WithGatedMlp(at.dim, SpectrumMixer(at.dim, kernel_size=3)), mlp="none"),
}
# 4. the static response
RESPONSE = {
    "dsm-response-bins": trial(response="bins"),
    "dsm-response-bands": trial(response="bands"),
    "dsm-response-polynomial": trial(response="polynomial"),
    "dsm-static-polynomial": trial(response="polynomial", gains="none"),
    "dsm-terms-2": trial(num_terms=2),
    "dsm-terms-6": trial(num_terms=6),
    "dsm-std-0.05": trial(std=0.05),
    "dsm-std-0.3": trial(std=0.3),
}
# 5. the recipe for it
RECIPE = {
    "dsm-no-norm": trial(norm=False),
    "dsm-wide": trial(expand=1.5, divisor=16),
    "dsm-wd-0": trial(recipe={"weight_decay": 0.0}),
    "dsm-wd-0.2": trial(recipe={"weight_decay": 0.2}),
    "dsm-clip-off": trial(recipe={"clip": float("inf")}),
    "dsm-scale-0.1": trial(recipe={"init_values": 0.1}),
    "dsm-scale-1": trial(recipe={"init_values": 1.0}),
    "dsm-mlp-1": trial(recipe={"mlp_ratio": 1.0}),
    "dsm-mlp-3": trial(recipe={"mlp_ratio": 3.0}),
}
# The two parts that turned out to matter most, lent to the strongest peer: is it the spectrum, or is it they?
CONTROLS: dict[str, Mixer] = {
    "gatedconv7-norm": Mixer(lambda at: GatedConv(at.dim, 7, norm=True)),
    "near-conv3": Mixer(lambda at: NearConv(at.dim, 3)),
    "near-conv7": Mixer(lambda at: NearConv(at.dim, 7)),
    "gatedconv7-filtered-gate": Mixer(lambda at: FilteredGateConv(at.dim, 7)),
}
DESIGNS = DYNAMIC | PARITY | LOCALITY | NEAR_AND_FAR | RESPONSE | RECIPE
AT_ONE_RATE: dict[str, Mixer] = {"dsm": Mixer(_dsm), **DESIGNS, **CONTROLS, **PEERS}
# The recipe's learning rate was set for the default: the others at half and twice of it.
RATES = {
    f"{name}-at-{rate}": AT_ONE_RATE[name]._replace(recipe={"lr": rate})
    for name in ("dsm", "dsm-static", "dsm-emphasis", *CONTROLS, *PEERS)
    for rate in (1e-3, 4e-3)
}
MIXERS = AT_ONE_RATE | RATES


class Question(NamedTuple):
    """One page of the study: the rows that answer it, and the protocol that they are trained by."""

    protocol: str
    mixers: tuple[str, ...]


STATIC = ("dsm-static", "dsm-emphasis", "dsm-batch")
GATE = ("dsm-other-gate", "dsm-no-gate", "dsm-no-gate-dynamic", "dsm-no-gate-shuffled")
GRID = ("dsm", "dsm-near", "dsm-static", "gatedconv7", "gatedconv7-filtered-gate")
LARGE = ("dsm", "dsm-near", "dsm-near-static", "dsm-near-whole", "mambaout", "gatedconv7-filtered-gate", "vheat")
QUESTIONS: dict[str, Question] = {
    "peers": Question("final", ("dsm", "dsm-near", "dsm-static", *PEERS)),
    "1-dynamic": Question("final", ("dsm", *STATIC, "dsm-shuffled")),
    "1-dynamic-gate": Question("final", ("dsm", "dsm-static", *GATE)),
    "1-dynamic-varied": Question("varied", ("dsm", *STATIC, "dsm-shuffled", "gatedconv7", "gatedconv7-filtered-gate")),
    "1-dynamic-final": Question("final", ("dsm", *DYNAMIC)),
    "1-dynamic-screen": Question("screen", ("dsm", *DYNAMIC)),
    "2-symmetric": Question("screen", ("dsm", *PARITY)),
    "3-locality": Question("screen", ("dsm", *LOCALITY, *CONTROLS)),
    "3-package": Question("final", ("dsm", "dsm-static", "gatedconv7", "gatedconv7-norm", "gatedconv7-filtered-gate")),
    "3-near-and-far": Question("final", ("dsm", "dsm-local", "mambaout", *CONTROLS, *NEAR_AND_FAR)),
    "4-response": Question("screen", ("dsm", *RESPONSE, "gfnet")),
    "5-recipe": Question("screen", ("dsm", *RECIPE)),
    "5-rates": Question("final", tuple(RATES)),
    "6-frequencies": Question("final", ("dsm", "dsm-static", "dsm-emphasis", "gatedconv7", "attention", "gfnet")),
    "7-grid-8": Question("grid-8", (*GRID, "attention")),
    "7-grid-16": Question("screen", (*GRID, "attention")),
    "7-grid-32": Question("grid-32", (*GRID, "attention", "dsm-near-values-projected-7")),
    "7-grid-64": Question("grid-64", GRID),
    "8-large": Question("large", LARGE),
    "8-full": Question("full", LARGE),
}
