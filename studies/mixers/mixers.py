"""Every row of the tables by name, and which rows answer which question."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from dsmixer.layers import SpectrumMixer
from studies.mixers.designs import Trial
from studies.mixers.frame import Mixer
from studies.mixers.peers import PEERS
from studies.mixers.peers.convolution import FilteredGateConv, GatedConv


def _dsm(dim: int, side: int, index: int) -> nn.Module:
    """What `dsm_*` builds, which needs no side."""
    return SpectrumMixer(dim)


def _trial(dim: int, side: int, index: int, **options: Any) -> nn.Module:
    return Trial(dim, side, **options)


def trial(*, recipe: Mapping[str, Any] | None = None, divisor: int = 8, **options: Any) -> Mixer:
    """A row for the default mixer with other parts, or trained by another recipe."""
    return Mixer(partial(_trial, **options), divisor, recipe=recipe or {})


DESIGNS: dict[str, Mixer] = {
    # 1. dynamic or static
    "dsm-static": trial(gains="none"),
    "dsm-shuffled": trial(content="other"),
    "dsm-32-groups": trial(gains="default, 4 times the groups", divisor=16),
    "dsm-mlp-gains": trial(gains="mlp"),
    "dsm-ring-gains": trial(gains="rings"),
    "dsm-ring-gains-from-0": trial(gains="rings from 0"),
    "dsm-band-gains": trial(gains="bands"),
    # 2. symmetric or not
    "dsm-cosine": trial(bases="cosine"),
    "dsm-all-bases": trial(bases="all"),
    "dsm-axes": trial(bases="axes"),
    # 3. locality
    "dsm-plain-gate": trial(gate="plain", gains="none"),
    "dsm-no-gate": trial(gate="none", gains="none"),
    "dsm-local": trial(local=True),
    "dsm-windows": trial(window=4),
    # 4. the static response
    "dsm-response-bins": trial(response="bins"),
    "dsm-response-bands": trial(response="bands"),
    "dsm-response-polynomial": trial(response="polynomial"),
    "dsm-terms-2": trial(num_terms=2),
    "dsm-terms-6": trial(num_terms=6),
    "dsm-std-0.05": trial(std=0.05),
    "dsm-std-0.3": trial(std=0.3),
    # 5. the recipe
    "dsm-no-norm": trial(norm=False),
    "dsm-lr-1e-3": trial(recipe={"lr": 1e-3}),
    "dsm-lr-4e-3": trial(recipe={"lr": 4e-3}),
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
    "gatedconv7-norm": Mixer(lambda dim, side, index: GatedConv(dim, 7, norm=True)),
    "gatedconv7-filtered-gate": Mixer(lambda dim, side, index: FilteredGateConv(dim, 7)),
}
MIXERS: dict[str, Mixer] = {"dsm": Mixer(_dsm), **DESIGNS, **CONTROLS, **PEERS}


class Question(NamedTuple):
    """One page of the study: the rows that answer it, and the protocol that they are trained by."""

    protocol: str
    mixers: tuple[str, ...]


QUESTIONS: dict[str, Question] = {
    "1-dynamic": Question("screen", ("dsm", *list(DESIGNS)[:7])),
    "2-symmetric": Question("screen", ("dsm", "dsm-cosine", "dsm-all-bases", "dsm-axes")),
    "3-locality": Question("screen", ("dsm", "dsm-plain-gate", "dsm-no-gate", "dsm-local", "dsm-windows", *CONTROLS)),
    "4-response": Question("screen", ("dsm", *list(DESIGNS)[14:21], "gfnet")),
    "5-recipe": Question("screen", ("dsm", *list(DESIGNS)[21:])),
}
