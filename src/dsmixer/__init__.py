"""Dynamic Spectrum Mixer: a frequency-domain vision backbone.

Importing this package costs almost nothing and imports neither torch nor timm. As soon as timm is there, before or
after, ``timm.create_model("dsm_tiny")`` knows the ``dsm_*`` models. A trained model is used in three lines::

    import dsmixer
    model = dsmixer.load("runs/digits-001")
    print(model.predict(["photo.jpg"], top_k=5))
"""

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsmixer.inference.loading import load as load

__version__ = "0.1.0"

_ROOMS = ("backbones", "layers", "spectral")


def __getattr__(name: str) -> Any:
    """Rooms are imported when first asked for: ``dsmixer.spectral.dct2`` works after ``import dsmixer``."""
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "load":
        return importlib.import_module("dsmixer.inference.loading").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _register() -> None:
    importlib.import_module("dsmixer.backbones")


class _RegisterAfterTimm(importlib.abc.MetaPathFinder):
    """Finds nothing itself: it lets the other finders find timm, and registers the models once timm has run."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != "timm":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            # Others ask where timm is without importing it (transformers does): stay until it really runs.
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = self._then_register(spec.loader.exec_module)  # type: ignore[method-assign]
        return spec

    def _then_register(self, run: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def run_and_register(module: ModuleType) -> None:
            run(module)
            sys.meta_path.remove(self)
            _register()

        return run_and_register


if hasattr(sys.modules.get("timm"), "create_model"):
    _register()
else:
    sys.meta_path.insert(0, _RegisterAfterTimm())
