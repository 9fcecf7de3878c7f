"""Importing dsmixer costs almost nothing, and timm knows the models whichever was imported first."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "timm", "torchvision", "numpy", "torchmetrics", "matplotlib"}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("statement", ["import dsmixer", "import dsmixer.cli", "import dsmixer.config"])
def test_nothing_heavy_is_imported(statement):
    loaded = run(f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})")
    assert not HEAVY & set(loaded.split())


def test_the_mathematics_needs_torch_alone():
    loaded = run("import sys, dsmixer; dsmixer.spectral.dct2; print(*{n.split('.')[0] for n in sys.modules})")
    assert {"timm", "torchvision"}.isdisjoint(loaded.split())


@pytest.mark.parametrize(
    "statements",
    [
        "import dsmixer, timm",
        "import timm, dsmixer",
        "import dsmixer.layers, timm",
        "import dsmixer, importlib.util; importlib.util.find_spec('timm'); import timm",
    ],
)
def test_timm_knows_the_models(statements):
    code = "print(timm.create_model('dsm_test', num_classes=0).num_features, len(timm.list_models('dsm_*')))"
    assert run(f"{statements}\n{code}") == "64 10"


def test_an_unknown_room_is_an_attribute_error():
    import dsmixer

    with pytest.raises(AttributeError, match="'dsmixer' has no attribute 'spectrum'"):
        _ = dsmixer.spectrum
