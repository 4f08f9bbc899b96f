"""What a model says of single files, and the text of it: CSV, JSON and JSON lines, row by row, there and back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imgtrain.text import from_cell, to_cell

__all__ = ["FORMATS", "UNSURE", "FilePrediction", "PredictionFormat", "UnreadableFile", "WrittenPrediction"]

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


@dataclass(frozen=True, slots=True)
class WrittenPrediction:
    """A row that was written earlier.

    Attributes:
        path: The file.
        says: A class's name or `UNSURE`; None if the file could not be decoded.
        reason: Why it could not; empty if it could.
    """

    path: str
    says: str | None
    reason: str


class PredictionFormat(Protocol):
    """The text of predictions: `begin`, a `row` for each file, and `end`."""

    def __init__(self, class_names: Sequence[str], top: int | None) -> None:
        """Take the class names in label order, and how many of the most probable are written; None: all."""

    def begin(self) -> str:
        """Return what comes before all rows."""

    def row(self, answer: FilePrediction | UnreadableFile, *, first: bool) -> str:
        """Return a row."""

    def end(self, *, empty: bool) -> str:
        """Return what comes after all rows."""

    def read(self, lines: Iterable[bytes]) -> Iterator[tuple[WrittenPrediction, int]]:
        """Yield every whole row from the beginning, and where it ends, in bytes.

        Args:
            lines: Of a file whose end may be missing, with their newlines.
        """


class _Csv:
    def __init__(self, class_names: Sequence[str], top: int | None) -> None:
        self._class_names = class_names
        self._top = top
        columns: Sequence[str] = class_names
        if top is not None:
            columns = [f"{what}_{rank}" for rank in range(1, top + 1) for what in ("class", "probability")]
        self._header = [to_cell(name) for name in ("path", "predicted", "probability", "error", *columns)]

    def begin(self) -> str:
        return self._line(self._header)

    def row(self, answer: FilePrediction | UnreadableFile, *, first: bool) -> str:
        if isinstance(answer, UnreadableFile):
            empty = [""] * (len(self._header) - 4)
            return self._line([to_cell(answer.path), "", "", to_cell(answer.reason), *empty])
        values = [str(value) for value in answer.probabilities]
        if self._top is not None:
            names = self._class_names
            values = [
                cell for label in answer.top(self._top) for cell in (to_cell(names[label]), values[label])
            ]
        says = to_cell(answer.says(self._class_names))
        return self._line([to_cell(answer.path), says, str(answer.probabilities[answer.label]), "", *values])

    def end(self, *, empty: bool) -> str:
        return ""

    def read(self, lines: Iterable[bytes]) -> Iterator[tuple[WrittenPrediction, int]]:
        record, end, header = b"", 0, True
        for line in lines:
            record += line
            # A cell may contain newlines: inside one, the number of quotation marks so far is odd.
            if not line.endswith(b"\n") or record.count(b'"') % 2:
                continue
            end += len(record)
            cells = next(csv.reader([record.decode("utf-8", "surrogateescape")]))
            record = b""
            if len(cells) != len(self._header) or (header and cells != self._header):
                return
            if not header:
                path, says, _, reason = map(from_cell, cells[:4])
                yield WrittenPrediction(path, None if reason else says, reason), end
            header = False

    @staticmethod
    def _line(cells: Sequence[str]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        return text.getvalue()


class _JsonLines:
    def __init__(self, class_names: Sequence[str], top: int | None) -> None:
        self._class_names = class_names
        self._top = top

    def begin(self) -> str:
        return ""

    def row(self, answer: FilePrediction | UnreadableFile, *, first: bool) -> str:
        return self._object(answer) + "\n"

    def end(self, *, empty: bool) -> str:
        return ""

    def read(self, lines: Iterable[bytes]) -> Iterator[tuple[WrittenPrediction, int]]:
        end = 0
        for line in lines:
            if not line.endswith(b"\n") or (row := _as_written(line)) is None:
                return
            end += len(line)
            yield row, end

    def _object(self, answer: FilePrediction | UnreadableFile) -> str:
        if isinstance(answer, UnreadableFile):
            return json.dumps({"path": answer.path, "error": answer.reason})
        # The shortest digits that give the same float32 when read.
        values = [float(str(value)) for value in answer.probabilities]
        names = self._class_names
        found: dict[str, Any] = {
            "path": answer.path,
            "predicted": answer.says(names),
            "probability": values[answer.label],
        }
        if self._top is None:
            found["probabilities"] = dict(zip(names, values, strict=True))
        else:
            found["top"] = [
                {"class": names[label], "probability": values[label]} for label in answer.top(self._top)
            ]
        return json.dumps(found)


class _Json(_JsonLines):
    def begin(self) -> str:
        return "["

    def row(self, answer: FilePrediction | UnreadableFile, *, first: bool) -> str:
        return f"{'' if first else ','}\n  {self._object(answer)}"

    def end(self, *, empty: bool) -> str:
        return "]\n" if empty else "\n]\n"

    def read(self, lines: Iterable[bytes]) -> Iterator[tuple[WrittenPrediction, int]]:
        start = 0
        for line in lines:
            if line != b"[\n":
                # The comma and the newline belong to the next row.
                text = line.rstrip(b",\n")
                if (row := _as_written(text)) is None:
                    return
                yield row, start + len(text)
            start += len(line)


def _as_written(text: bytes) -> WrittenPrediction | None:
    """Return the row in a JSON object; None if it is cut short or something else."""
    try:
        found = json.loads(text)
        return WrittenPrediction(found["path"], found.get("predicted"), found.get("error", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


FORMATS: dict[str, type[PredictionFormat]] = {".csv": _Csv, ".json": _Json, ".jsonl": _JsonLines}
"""The formats by the suffix of the file."""
