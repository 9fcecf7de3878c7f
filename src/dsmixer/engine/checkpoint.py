"""Training state on disk, written so that a kill, a crash or a full disk cannot cost the last good one.

A checkpoint is two files: ``step-00000120.safetensors`` with every tensor and ``step-00000120.json`` with the rest and
the SHA-256 of both. The JSON is written last, so a checkpoint whose JSON verifies is complete. Nothing is pickled.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from dsmixer.data.names import spelt_out

TEMPORARY = ".tmp"
NAME = re.compile(r"step-(\d{8,})\.json")


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message is one sentence for the user."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Put ``content`` at ``path`` wholly or not at all: temporary name beside it, fsync, rename, fsync the folder.

    Text is written as UTF-8, with bytes of file names that are none spelt out.
    """
    data = spelt_out(content).encode() if isinstance(content, str) else content
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        free = shutil.disk_usage(path.parent).free
        raise CheckpointError(
            f"no room to save {path}: it needs {len(data):,} bytes, {free:,} are free ({error.strerror})"
        ) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def to_safetensors(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Serialized tensors; equal input gives equal bytes.

    safetensors writes metadata in the random order of a hash map, so the header is written again in sorted order.
    """
    from safetensors.torch import save

    # clone: tied weights share memory, which the format refuses
    data = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, metadata)
    if not metadata:
        return data
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


class Checkpoints:
    """The checkpoints of one run: the last two and the best."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self.folder, self.warn = folder, warn
        folder.mkdir(parents=True, exist_ok=True)
        for stray in folder.glob("*" + TEMPORARY):  # left by a kill in the middle of a save
            stray.unlink(missing_ok=True)  # another process may be here too

    def save(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], best: int | None) -> None:
        """Write the state after ``step`` and drop what is neither among the last two nor the ``best`` step."""
        try:
            self._write(step, tensors, facts)
        except CheckpointError as error:
            if not self.steps():
                raise
            raise CheckpointError(f"{error}; the checkpoint before it is intact") from error
        # damaged ones that a resume stepped over are later than this step, and go too
        self._prune(keep={*[known for known in self.steps() if known <= step][:2], best})

    def _write(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        tensor_path, fact_path = self._paths(step)
        data = to_safetensors(tensors)
        write_atomically(tensor_path, data)
        body = {"step": step, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "state": facts}
        body = json.loads(json.dumps(body))  # as it will be read: the digest must not see integer keys
        text = json.dumps({"sha256": _digest(body), "checkpoint": body})
        write_atomically(fact_path, text)

    def check_room(self, size: int) -> None:
        """Warn if the disk does not hold what will be kept: the last two, the best, and the one being written.

        ``size`` is that of one, in bytes.
        """
        needed = 4 * size
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            self.warn(f"the checkpoints in {self.folder} will need {needed:,} bytes, and {free:,} are free")

    def steps(self) -> list[int]:
        """Steps with a checkpoint, newest first, verified or not."""
        found = (NAME.fullmatch(path.name) for path in self.folder.glob("step-*.json"))
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def load(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and facts of one step; ``CheckpointError`` unless every byte is what was written."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        tensor_path, _ = self._paths(step)
        facts = self.facts(step)
        try:
            data = tensor_path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{tensor_path} cannot be read: {error.strerror}") from error
        if len(data) != facts["bytes"] or hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise CheckpointError(f"{tensor_path} is damaged: its {len(data):,} bytes differ from what was saved")
        try:
            return load(data), facts["state"]
        except SafetensorError as error:
            raise CheckpointError(f"{tensor_path} is not ours: {error}") from error

    def facts(self, step: int) -> dict[str, Any]:
        """The JSON half of one step, verified."""
        path = self._paths(step)[1]
        try:
            content = json.loads(path.read_bytes())
            body = content["checkpoint"]
            intact = content["sha256"] == _digest(body) and body["step"] == step == body["state"]["step"]
            intact = intact and {"bytes", "sha256"} <= set(body)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            intact, body = False, {}
        if not intact:
            raise CheckpointError(f"{path} is damaged")
        return body

    def load_newest(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The newest checkpoint that verifies, with a warning for each newer one that does not."""
        steps = self.steps()
        for step in steps:
            try:
                return self.load(step)
            except CheckpointError as error:
                self.warn(f"{error}; trying the one before")
        number = f"all {len(steps)} checkpoints are damaged" if steps else "there is no checkpoint"
        raise CheckpointError(f"nothing to resume in {self.folder}: {number}; start again with --overwrite")

    def _paths(self, step: int) -> tuple[Path, Path]:
        stem = f"step-{step:08d}"
        return self.folder / f"{stem}.safetensors", self.folder / f"{stem}.json"

    def _prune(self, keep: Iterable[int | None]) -> None:
        names = {path.name for step in keep if step is not None for path in self._paths(step)}
        for path in self.folder.glob("step-*"):
            if path.name not in names:
                path.unlink()


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
