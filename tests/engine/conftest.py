"""One undisturbed run, shared by all who compare with it."""

from pathlib import Path

import pytest

from .nursery import watch_losses
from .shrunken import SHRUNK, train


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Path:
    """An undisturbed run."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    undo = watch_losses(folder.with_suffix(".losses"))
    assert train(*SHRUNK, f"--out={folder}") == 0
    undo()
    return folder
