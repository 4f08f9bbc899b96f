"""Predictions of single files, and how they are written and read row by row: CSV, JSON and JSON Lines."""

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
"""Written instead of a class name if the probability is below `abstain_below`."""


@dataclass(frozen=True, slots=True, eq=False)
class FilePrediction:
    """The prediction for one file.

    Attributes:
        path: The file.
        label: Predicted class; binary models apply their threshold.
        sure: Whether the class's probability is at least `abstain_below`.
        probabilities: (classes,) float32.
    """

    path: str
    label: int
    sure: bool
    probabilities: NDArray[np.float32]

    @property
    def probability(self) -> float:
        """Probability of the predicted class."""
        return float(self.probabilities[self.label])

    def predicted(self, class_names: Sequence[str]) -> str:
        """Return the name of the predicted class, or `UNSURE`."""
        return class_names[self.label] if self.sure else UNSURE

    def top(self, count: int) -> list[int]:
        """Return the labels of the most probable classes in descending order; ties in label order."""
        return [int(label) for label in np.argsort(-self.probabilities, kind="stable")[:count]]


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that cannot be decoded, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class WrittenPrediction:
    """A row read back from an interrupted prediction.

    Attributes:
        path: The file.
        predicted: A class name or `UNSURE`; None if the file could not be decoded.
        reason: Why it could not be decoded; otherwise empty.
    """

    path: str
    predicted: str | None
    reason: str


class PredictionFormat(Protocol):
    """A text format for predictions: `begin`, one `row` per file, `end`."""

    def __init__(self, class_names: Sequence[str], top: int | None) -> None:
        """Store the class names in label order, and how many of the most probable to write; None writes all."""

    def begin(self) -> str:
        """Return the text before the first row."""

    def row(self, prediction: FilePrediction | UnreadableFile, *, first: bool) -> str:
        """Return the text of a row."""

    def end(self, *, empty: bool) -> str:
        """Return the text after the last row."""

    def read(self, lines: Iterable[bytes]) -> Iterator[tuple[WrittenPrediction, int]]:
        """Yield each complete row and the offset of its end in bytes.

        Args:
            lines: Lines of a possibly truncated file, with their newlines.
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

    def row(self, prediction: FilePrediction | UnreadableFile, *, first: bool) -> str:
        if isinstance(prediction, UnreadableFile):
            empty = [""] * (len(self._header) - 4)
            return self._line([to_cell(prediction.path), "", "", to_cell(prediction.reason), *empty])
        values = [str(value) for value in prediction.probabilities]
        if self._top is not None:
            names = self._class_names
            values = [
                cell for label in prediction.top(self._top) for cell in (to_cell(names[label]), values[label])
            ]
        predicted = to_cell(prediction.predicted(self._class_names))
        return self._line(
            [
                to_cell(prediction.path),
                predicted,
                str(prediction.probabilities[prediction.label]),
                "",
                *values,
            ]
        )

    def end(self, *, empty: bool) -> str:
        return ""

    def read(self, lines: Iterable[bytes]) -> Iterator[tuple[WrittenPrediction, int]]:
        record, end, header = b"", 0, True
        for line in lines:
            record += line
            # Cells may contain newlines: inside a cell, the number of quotation marks so far is odd.
            if not line.endswith(b"\n") or record.count(b'"') % 2:
                continue
            end += len(record)
            cells = next(csv.reader([record.decode("utf-8", "surrogateescape")]))
            record = b""
            if len(cells) != len(self._header) or (header and cells != self._header):
                return
            if not header:
                path, predicted, _, reason = map(from_cell, cells[:4])
                yield WrittenPrediction(path, None if reason else predicted, reason), end
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

    def row(self, prediction: FilePrediction | UnreadableFile, *, first: bool) -> str:
        return self._object(prediction) + "\n"

    def end(self, *, empty: bool) -> str:
        return ""

    def read(self, lines: Iterable[bytes]) -> Iterator[tuple[WrittenPrediction, int]]:
        end = 0
        for line in lines:
            if not line.endswith(b"\n") or (row := _as_written(line)) is None:
                return
            end += len(line)
            yield row, end

    def _object(self, prediction: FilePrediction | UnreadableFile) -> str:
        if isinstance(prediction, UnreadableFile):
            return json.dumps({"path": prediction.path, "error": prediction.reason})
        # The shortest digits that read back as the same float32.
        values = [float(str(value)) for value in prediction.probabilities]
        names = self._class_names
        found: dict[str, Any] = {
            "path": prediction.path,
            "predicted": prediction.predicted(names),
            "probability": values[prediction.label],
        }
        if self._top is None:
            found["probabilities"] = dict(zip(names, values, strict=True))
        else:
            found["top"] = [
                {"class": names[label], "probability": values[label]} for label in prediction.top(self._top)
            ]
        return json.dumps(found)


class _Json(_JsonLines):
    def begin(self) -> str:
        return "["

    def row(self, prediction: FilePrediction | UnreadableFile, *, first: bool) -> str:
        return f"{'' if first else ','}\n  {self._object(prediction)}"

    def end(self, *, empty: bool) -> str:
        return "]\n" if empty else "\n]\n"

    def read(self, lines: Iterable[bytes]) -> Iterator[tuple[WrittenPrediction, int]]:
        start = 0
        for line in lines:
            if line != b"[\n":
                # The comma and the newline are written with the next row.
                text = line.rstrip(b",\n")
                if (row := _as_written(text)) is None:
                    return
                yield row, start + len(text)
            start += len(line)


def _as_written(text: bytes) -> WrittenPrediction | None:
    """Return the row in a JSON object; None if it is truncated or not a prediction."""
    try:
        found = json.loads(text)
        return WrittenPrediction(found["path"], found.get("predicted"), found.get("error", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


FORMATS: dict[str, type[PredictionFormat]] = {".csv": _Csv, ".json": _Json, ".jsonl": _JsonLines}
"""The formats by the suffix of the file."""
