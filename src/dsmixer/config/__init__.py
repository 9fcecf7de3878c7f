"""The whole run as one tree of plain values.

One default, one place: a recipe changes a value, the command line changes it again, nothing else repeats it. The text
beneath each field is what ``dsmixer train --help`` prints. This room imports nothing of ours and no torch, so that a
wrong value is reported before anything slow is loaded.
"""

import ast
import inspect
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from dsmixer.config.checks import FIND_OBJECTS, LABEL_PIXELS, READS, check
from dsmixer.config.inference import EvaluateConfig, InferenceConfig, PredictConfig, ViewsConfig
from dsmixer.config.sections import (
    MASK_CODING,
    BoxesConfig,
    DataConfig,
    MasksConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
)

__all__ = [
    "FIND_OBJECTS",
    "LABEL_PIXELS",
    "MASK_CODING",
    "READS",
    "SECTIONS",
    "BoxesConfig",
    "Config",
    "DataConfig",
    "EvaluateConfig",
    "InferenceConfig",
    "MasksConfig",
    "ModelConfig",
    "OptimConfig",
    "PredictConfig",
    "RunConfig",
    "ViewsConfig",
    "field_docs",
]

SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "data": DataConfig,
    "optim": OptimConfig,
    "run": RunConfig,
    "masks": MasksConfig,
    "boxes": BoxesConfig,
}


@dataclass
class Config:
    """One run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)
    masks: MasksConfig = field(default_factory=MasksConfig)
    boxes: BoxesConfig = field(default_factory=BoxesConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """As nested plain values, ready for YAML and JSON."""
        return asdict(self)

    def check(self) -> None:
        """Raise ``ValueError``, naming the field, what it got and what would work."""
        check(self)


def field_docs(section: type) -> dict[str, str]:
    """The text beneath each field of a dataclass; Python keeps none, so it is read from the source."""
    (definition,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for before, after in pairwise(definition.body):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            docs[before.target.id] = " ".join(str(after.value.value).split())
    return docs
