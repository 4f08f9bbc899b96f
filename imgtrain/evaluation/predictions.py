"""The predictions for a split, and their CSV file."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.groups import assign_groups
from imgtrain.dataset.split import Split
from imgtrain.errors import Problem, RunFileError
from imgtrain.evaluation.decide import Decision, decide
from imgtrain.run.run_directory import render_csv
from imgtrain.text import from_cell, to_cell

__all__ = ["Predictions", "load_predictions", "render_predictions"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Predictions:
    """The predictions for a split, in file order.

    Attributes:
        paths: Relative paths of the n images.
        labels: True classes, (n,).
        probabilities: (n, classes) float32; for a binary model, the columns are 1 − p and p.
        predicted: Predicted classes, (n,).
        loss: Mean loss; NaN if unknown.
        class_names: In label order.
        groups: Index of each image's group (patient, video) from 0, (n,); None without `data.group_by`.
        abstain_below: Minimum probability of the predicted class; below it, the prediction is "unsure". None
            disables this.
    """

    paths: tuple[str, ...]
    labels: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    predicted: NDArray[np.int32]
    loss: float
    class_names: tuple[str, ...]
    groups: NDArray[np.intp] | None = None
    abstain_below: float | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        return f"<Predictions: {len(self):,} images, {len(self.class_names):,} classes>"

    @classmethod
    def decided(
        cls,
        split: Split,
        probabilities: NDArray[np.float32],
        loss: float,
        decision: Decision,
        *,
        group_by: str | None,
    ) -> Self:
        """Return the predictions for a split.

        Args:
            split: The images.
            probabilities: (n, classes), in the order of the split.
            loss: Mean loss.
            decision: How to choose classes from probabilities.
            group_by: As `data.group_by`.
        """
        return cls(
            paths=split.paths,
            labels=split.labels,
            probabilities=probabilities,
            predicted=decide(probabilities, decision.threshold),
            loss=loss,
            class_names=split.class_names,
            groups=assign_groups(split.group_paths, group_by),
            abstain_below=decision.abstain_below,
        )


def render_predictions(predictions: Predictions) -> str:
    """Return the predictions as CSV: path, true, predicted, and one probability column per class.

    Probabilities have the fewest digits that read back as the same float32.
    """
    names = [to_cell(name) for name in predictions.class_names]
    return render_csv(
        ["path", "true", "predicted", *names],
        (
            [to_cell(path), names[label], names[predicted], *map(str, row)]
            for path, label, predicted, row in zip(
                predictions.paths,
                predictions.labels,
                predictions.predicted,
                predictions.probabilities,
                strict=True,
            )
        ),
    )


def load_predictions(path: Path) -> Predictions:
    """Read a file written by `render_predictions`; the loss is NaN, because the file does not contain it.

    Raises:
        RunFileError: The file is missing or invalid.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            header, *rows = csv.reader(file)
        columns = header[3:]
        names = tuple(map(from_cell, columns))
        labels = {column: label for label, column in enumerate(columns)}
        predictions = Predictions(
            paths=tuple(from_cell(row[0]) for row in rows),
            labels=np.array([labels[row[1]] for row in rows], np.int32),
            probabilities=np.array([row[3:] for row in rows], np.float32).reshape(len(rows), len(names)),
            predicted=np.array([labels[row[2]] for row in rows], np.int32),
            loss=math.nan,
            class_names=names,
        )
    except OSError as error:
        raise RunFileError(Problem(path, f"cannot be read: {error.strerror or error}")) from None
    # A row that is too short, a class without a column, a probability that is not a number.
    except (ValueError, KeyError, IndexError, csv.Error) as error:
        raise RunFileError(Problem(path, f"is not a valid predictions file: {error}")) from None
    if header[:3] != ["path", "true", "predicted"] or not rows:
        what = "is not a valid predictions file: it must have the columns path, true, predicted, and rows"
        raise RunFileError(Problem(path, what))
    return predictions
