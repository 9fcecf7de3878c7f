"""Every row of the tables by name, and which rows answer which question."""

from functools import partial
from typing import Any, NamedTuple

from dsmixer.layers.mixer import SpectrumMixer
from studies.mixers.frame import Mixer
from studies.mixers.peers import PEERS
from studies.mixers.variants import VARIANTS, Trial


def _dsm(dim: int, side: int, index: int, **options: Any) -> SpectrumMixer:
    """What `dsm_*` builds, which needs no side."""
    return SpectrumMixer(dim, **options)


def _trial(dim: int, side: int, index: int, **options: Any) -> Trial:
    return Trial(dim, **options)


MIXERS: dict[str, Mixer] = {
    "dsm": Mixer(_dsm),
    **{name: Mixer(partial(_trial, **options)) for name, options in VARIANTS.items()},
    **PEERS,
}


class Question(NamedTuple):
    """One page of the study."""

    protocol: str
    mixers: tuple[str, ...]


QUESTIONS: dict[str, Question] = {}
