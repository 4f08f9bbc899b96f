"""What a model says of each image of a split, and the CSV file that keeps it."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the model says of each image of a split, in file order.

    Attributes:
        paths: Relative path of each image, n of them.
        labels: True class, (n,) integers.
        probabilities: (n, classes) float32; for a binary model the columns are 1 − p and p.
        predicted: Class decided on, (n,) integers.
        loss: Mean of the training loss over the images.
        class_names: In label order.
        groups: Number of the group (patient, video) of each image, from 0, (n,); None where there are none.
        abstain_below: Probability of the predicted class below which the answer is "unsure"; None never is.
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
        """Return the predictions of a split.

        Args:
            split: The images.
            probabilities: (n, classes), in the order of the split.
            loss: Mean of the training loss over the images.
            decision: How probabilities become answers.
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
    """Return the predictions as CSV: path, true, predicted, and a probability column per class, in file order.

    A probability is written with the fewest digits that give the same float32 when read.
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
    """Read what `render_predictions` wrote; the loss, which it does not hold, is NaN.

    Raises:
        RunFileError: The file is missing, or is none of this form.
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
    # A row that is too short, a class that is no column, a probability that is no number.
    except (ValueError, KeyError, IndexError, csv.Error) as error:
        raise RunFileError(Problem(path, f"is no file of predictions: {error}")) from None
    if header[:3] != ["path", "true", "predicted"] or not rows:
        raise RunFileError(Problem(path, "is no file of predictions: path, true, predicted, probabilities"))
    return predictions
