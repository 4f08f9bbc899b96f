"""The result of `imgtrain predict`: the predictions for all files as arrays and as a table."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.layout import count
from imgtrain.errors import ConfigError
from imgtrain.evaluation.prediction_formats import FilePrediction, UnreadableFile
from imgtrain.text import printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PredictResult"]

_COLUMNS = ("path", "predicted", "probability")
# Rows shown by `repr` and in notebooks; longer tables show the first and the last half of them.
_ROWS_SHOWN = 20


@dataclass(frozen=True, eq=False, repr=False)
class PredictResult:
    """The predictions of a model for some files, in their order; shown as a table.

    Attributes:
        class_names: In label order.
        counts: Number of predictions per class; includes `unsure` if it occurred.
        unreadable: (path, reason) of every file that could not be decoded.
        output: The file with the predictions; None if no file was written.
        predictions: The prediction for each file. Empty from the command line, which does not keep them; with
            `resume`, only those of the files that were classified by this call.
    """

    class_names: tuple[str, ...]
    counts: Mapping[str, int]
    unreadable: tuple[tuple[str, str], ...]
    output: Path | None = None
    predictions: Sequence[FilePrediction | UnreadableFile] = ()

    @property
    def answered(self) -> int:
        """Number of files that were classified."""
        return sum(self.counts.values())

    def __len__(self) -> int:
        """Return the number of predictions."""
        return len(self.predictions)

    @property
    def paths(self) -> list[str]:
        """The files."""
        return [prediction.path for prediction in self.predictions]

    @property
    def predicted(self) -> list[str | None]:
        """The predicted class or `unsure` for each file; None for files that could not be decoded."""
        return [
            prediction.predicted(self.class_names) if isinstance(prediction, FilePrediction) else None
            for prediction in self.predictions
        ]

    @property
    def errors(self) -> list[str | None]:
        """The reason why a file could not be decoded; None for the others."""
        return [
            prediction.reason if isinstance(prediction, UnreadableFile) else None
            for prediction in self.predictions
        ]

    @property
    def probability(self) -> NDArray[np.float32]:
        """Probability of the predicted class, shape (files,); NaN for files that could not be decoded."""
        return np.array(
            [
                prediction.probability if isinstance(prediction, FilePrediction) else np.nan
                for prediction in self.predictions
            ],
            np.float32,
        )

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Probability of every class, shape (files, classes); NaN for files that could not be decoded."""
        unknown = np.full(len(self.class_names), np.nan, np.float32)
        rows = [
            prediction.probabilities if isinstance(prediction, FilePrediction) else unknown
            for prediction in self.predictions
        ]
        return np.array(rows, np.float32).reshape(-1, len(self.class_names))

    def to_pandas(self) -> pd.DataFrame:
        """Return a `pandas.DataFrame` with the columns of the CSV file: path, predicted, probability, error, classes.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ConfigError("to_pandas requires pandas: install it with `pip install pandas`") from None
        about = pd.DataFrame(
            {
                "path": self.paths,
                "predicted": self.predicted,
                "probability": self.probability,
                "error": self.errors,
            }
        )
        # Joined, because a class may have the name of another column.
        return pd.concat([about, pd.DataFrame(self.probabilities, columns=list(self.class_names))], axis=1)

    def __repr__(self) -> str:
        """Return a short table as text."""
        if not self.predictions:
            return f"<{self._summary()}>"
        rows = [_COLUMNS, *self._rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join((self._summary(), *lines))

    def _repr_html_(self) -> str:
        """Return a short table, for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
        rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self._rows())
        table = "".join(f"<tr>{cells}</tr>" for cells in (head, *rows))
        return f"<div>{html.escape(self._summary())}<table>{table}</table></div>"

    def _summary(self) -> str:
        failed = f", {len(self.unreadable):,} could not be read" if self.unreadable else ""
        written = f", written to {self.output}" if self.output is not None else ""
        return printable(f"PredictResult: {count(self.answered, 'file')} classified{failed}{written}")

    def _rows(self) -> list[tuple[str, str, str]]:
        """Return the cells of the first and last predictions, with a row of dots between them."""
        half = _ROWS_SHOWN // 2
        if len(self.predictions) <= _ROWS_SHOWN:
            return [self._row(prediction) for prediction in self.predictions]
        first, last = self.predictions[:half], self.predictions[-half:]
        return [*map(self._row, first), ("…", "…", "…"), *map(self._row, last)]

    def _row(self, prediction: FilePrediction | UnreadableFile) -> tuple[str, str, str]:
        if isinstance(prediction, UnreadableFile):
            return printable(prediction.path), "–", printable(prediction.reason)
        return (
            printable(prediction.path),
            printable(prediction.predicted(self.class_names)),
            f"{prediction.probability:.4f}",
        )
