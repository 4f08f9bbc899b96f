"""Checkpoints on disk: the full training state, with checksums. The last two checkpoints are kept.

A checkpoint is a small text file, `checkpoint-000007.json`, and the array files it refers to. The first line of the
text file is the checksum of the JSON that follows. Array files hold raw little-endian bytes and are named by their
checksum, so arrays that have not changed since the last checkpoint, such as the best weights, are not written again.
All writes are atomic (write to a temporary file, then rename), and the JSON is written last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from imgtrain.errors import Problem, RunFileError
from imgtrain.events import Emit, Message, ignore
from imgtrain.run.run_directory import atomic_write

__all__ = ["Checkpoint", "CheckpointStore"]

FORMAT_VERSION = 1
GENERATIONS = 2
"""Number of checkpoints to keep."""

# TensorFlow supports little-endian machines only.
assert sys.byteorder == "little"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The state of training at one point.

    Attributes:
        origin: Configuration and environment of the run, JSON-serializable; the same in all its checkpoints.
        progress: Training progress, JSON-serializable. Floats are restored exactly.
        arrays: Lists of array-likes by name, of any shape and numeric dtype.
    """

    origin: Mapping[str, Any]
    progress: Mapping[str, Any]
    arrays: Mapping[str, Sequence[Any]]


class DamagedCheckpoint(Exception):  # noqa: N818 (never reaches the user: an older checkpoint is used)
    """A checkpoint file is missing, truncated or corrupted."""


class CheckpointStore:
    """The checkpoints of one run. Only `save` creates files.

    Attributes:
        path: The checkpoint folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __bool__(self) -> bool:
        """Return whether a checkpoint exists."""
        return bool(self._manifests())

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then remove all but the last two.

        Raises:
            RunFileError: The disk is full or the folder is not writable. Earlier checkpoints are kept.
        """
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise RunFileError(Problem(self.path, f"cannot be created: {error.strerror or error}")) from error
        earlier = self._manifests()
        number = _number(earlier[-1]) + 1 if earlier else 1
        content = {
            "format": FORMAT_VERSION,
            "origin": checkpoint.origin,
            "progress": checkpoint.progress,
            "arrays": {name: self._save_arrays(arrays) for name, arrays in checkpoint.arrays.items()},
        }
        text = json.dumps(content, allow_nan=False).encode()
        path = self.path / f"checkpoint-{number:06d}.json"
        with atomic_write(path) as aside:
            aside.write_bytes(_checksum([text]).encode() + b"\n" + text)
        self._remove_all_but([*earlier, path][-GENERATIONS:])

    def load(self, emit: Emit = ignore) -> Checkpoint | None:
        """Return the newest valid checkpoint, or None if there are no checkpoints.

        Args:
            emit: Called with a warning for each damaged checkpoint.

        Raises:
            RunFileError: All checkpoints are damaged.
        """
        manifests = self._manifests()
        for path in reversed(manifests):
            try:
                return self._read(path)
            except (DamagedCheckpoint, OSError) as error:
                emit(Message(f"{path} cannot be used: {error}", "warning"))
        if manifests:
            raise RunFileError(
                Problem(
                    self.path,
                    "all checkpoints are damaged",
                    "start again with --overwrite",
                )
            )
        return None

    def keep_newest(self) -> None:
        """Remove all checkpoints except the last."""
        self._remove_all_but(self._manifests()[-1:])

    def remove(self) -> None:
        """Remove all checkpoints, and the folder if it is then empty."""
        if self.path.is_dir():
            self._remove_all_but([])
            with suppress(OSError):
                self.path.rmdir()

    def _save_arrays(self, arrays: Sequence[Any]) -> dict[str, Any]:
        """Write arrays to one file unless it already exists; return its name, dtypes and shapes."""
        plain = [np.asarray(array) for array in arrays]
        name = f"{_checksum(map(_bytes, plain))}.arrays"
        size = sum(array.nbytes for array in plain)
        path = self.path / name
        if not (path.exists() and path.stat().st_size == size):
            with atomic_write(path) as aside, aside.open("wb") as file:
                for array in plain:
                    file.write(_bytes(array))
        return {
            "file": name,
            "arrays": [{"dtype": array.dtype.str, "shape": array.shape} for array in plain],
        }

    def _read(self, path: Path) -> Checkpoint:
        checksum, _, text = path.read_bytes().partition(b"\n")
        if checksum.decode("ascii", "replace") != _checksum([text]):
            raise DamagedCheckpoint("checksum mismatch")
        content = json.loads(text)
        if content["format"] != FORMAT_VERSION:
            raise DamagedCheckpoint(f"written by another version of imgtrain (format {content['format']})")
        arrays = {name: self._read_arrays(**entry) for name, entry in content["arrays"].items()}
        return Checkpoint(content["origin"], content["progress"], arrays)

    def _read_arrays(self, file: str, arrays: Iterable[Mapping[str, Any]]) -> list[NDArray[Any]]:
        content = (self.path / file).read_bytes()
        if f"{_checksum([content])}.arrays" != file:
            raise DamagedCheckpoint(f"{file} is damaged")
        found, start = [], 0
        for entry in arrays:
            dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
            count = int(np.prod(shape, dtype=np.int64))
            found.append(np.frombuffer(content, dtype, count, start).reshape(shape))
            start += count * dtype.itemsize
        return found

    def _manifests(self) -> list[Path]:
        """Return the JSON files of all checkpoints, oldest first."""
        return sorted(path for path in self.path.glob("checkpoint-*.json") if _number(path))

    def _remove_all_but(self, kept: Sequence[Path]) -> None:
        """Remove checkpoint files that `kept` does not refer to, including those of a killed process."""
        needed = {path.name for path in kept}
        for path in kept:
            # A damaged checkpoint must not prevent the cleanup.
            with suppress(OSError, ValueError, TypeError, KeyError):
                content = json.loads(path.read_bytes().partition(b"\n")[2])
                needed |= {entry["file"] for entry in content["arrays"].values()}
        for pattern in ("checkpoint-*.json", "*.arrays", ".*.json", ".*.arrays"):
            for path in self.path.glob(pattern):
                if path.name not in needed:
                    path.unlink(missing_ok=True)


def _checksum(parts: Iterable[bytes | memoryview]) -> str:
    hasher = xxhash.xxh3_128()
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


def _bytes(array: NDArray[Any]) -> memoryview:
    """Return the bytes of an array, without a copy if it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _number(path: Path) -> int:
    """Return the number in a checkpoint's file name, or 0 if it has none."""
    digits = path.stem.removeprefix("checkpoint-")
    return int(digits) if digits.isascii() and digits.isdecimal() else 0
