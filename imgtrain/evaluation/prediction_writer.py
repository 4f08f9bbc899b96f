"""What a model says of single files, and how it is written: CSV, JSON or JSON lines, row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from imgtrain.errors import ConfigError, Problem
from imgtrain.run.run_directory import atomic_write
from imgtrain.text import to_cell

__all__ = [
    "UNSURE",
    "FilePrediction",
    "UnreadableFile",
    "Write",
    "check_prediction_path",
    "prediction_writer",
]

UNSURE = "unsure"
"""The answer where the probability does not reach the level that was chosen on validation."""


@dataclass(frozen=True, slots=True, eq=False)
class FilePrediction:
    """What the model says of one file.

    Attributes:
        path: The file.
        label: The class decided on, by the model's threshold if it has one.
        sure: Whether its probability reaches the level below which the answer is "unsure".
        probabilities: Of every class, (classes,) float32.
    """

    path: str
    label: int
    sure: bool
    probabilities: NDArray[np.float32]

    @property
    def probability(self) -> float:
        """Of the class decided on."""
        return float(self.probabilities[self.label])

    def says(self, class_names: Sequence[str]) -> str:
        """Return the class's name, or `UNSURE`."""
        return class_names[self.label] if self.sure else UNSURE

    def top(self, count: int) -> list[int]:
        """Return the labels of the most probable classes, the first of equals first."""
        return [int(label) for label in np.argsort(-self.probabilities, kind="stable")[:count]]


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that cannot be decoded, and why."""

    path: str
    reason: str


Write = Callable[[FilePrediction | UnreadableFile], None]


def check_prediction_path(path: Path) -> None:
    """Refuse a name whose suffix says no format.

    Raises:
        ConfigError: As it says.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(Problem("--output", f"{path} ends in none of {', '.join(_FORMATS)}"))


@contextmanager
def prediction_writer(path: Path, class_names: Sequence[str], top: int | None) -> Iterator[Write]:
    """Give a function that writes one answer; the file appears whole when the block ends well.

    Args:
        path: Ends in `.csv`, `.json` or `.jsonl`.
        class_names: In label order.
        top: Write only so many of the most probable classes; None writes the probability of every class.

    Raises:
        RunFileError: It cannot be written.
    """
    with (
        atomic_write(path) as aside,
        aside.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        _FORMATS[path.suffix.lower()](file, class_names, top) as write,
    ):
        yield write


@contextmanager
def _csv(file: TextIO, class_names: Sequence[str], top: int | None) -> Iterator[Write]:
    writer = csv.writer(file, lineterminator="\n")
    if top is None:
        columns = list(class_names)
    else:
        columns = [f"{what}_{place}" for place in range(1, top + 1) for what in ("class", "probability")]
    writer.writerow(map(to_cell, ["path", "predicted", "probability", "error", *columns]))

    def write(row: FilePrediction | UnreadableFile) -> None:
        if isinstance(row, UnreadableFile):
            writer.writerow([to_cell(row.path), "", "", to_cell(row.reason), *[""] * len(columns)])
            return
        values: list[str] = [str(value) for value in row.probabilities]
        if top is not None:
            values = [cell for label in row.top(top) for cell in (to_cell(class_names[label]), values[label])]
        says = to_cell(row.says(class_names))
        writer.writerow([to_cell(row.path), says, str(row.probabilities[row.label]), "", *values])

    yield write


@contextmanager
def _json_lines(file: TextIO, class_names: Sequence[str], top: int | None) -> Iterator[Write]:
    yield lambda row: print(json.dumps(_as_object(row, class_names, top)), file=file)


@contextmanager
def _json(file: TextIO, class_names: Sequence[str], top: int | None) -> Iterator[Write]:
    separator = "[\n"

    def write(row: FilePrediction | UnreadableFile) -> None:
        nonlocal separator
        file.write(f"{separator}  {json.dumps(_as_object(row, class_names, top))}")
        separator = ",\n"

    yield write
    file.write("[]\n" if separator == "[\n" else "\n]\n")


def _as_object(
    row: FilePrediction | UnreadableFile, class_names: Sequence[str], top: int | None
) -> dict[str, Any]:
    if isinstance(row, UnreadableFile):
        return {"path": row.path, "error": row.reason}
    # The shortest digits that give the same float32 when read.
    values = [float(str(value)) for value in row.probabilities]
    found = {"path": row.path, "predicted": row.says(class_names), "probability": values[row.label]}
    if top is None:
        return found | {"probabilities": dict(zip(class_names, values, strict=True))}
    ranked = [{"class": class_names[label], "probability": values[label]} for label in row.top(top)]
    return found | {"top": ranked}


_FORMATS = {".csv": _csv, ".json": _json, ".jsonl": _json_lines}
