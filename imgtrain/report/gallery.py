"""Which of the images the report shows: a bounded number, whatever the size of the split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgtrain.evaluation.metrics import Predictions

__all__ = ["Gallery", "choose_images"]

_MOST_MISTAKES = 24
_MOST_UNCERTAIN = 12
_MOST_IN_A_CELL = 12
_MOST_IN_CELLS = 360


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Rows of the predictions that are shown.

    Attributes:
        mistakes: Wrong, the most confident first.
        uncertain: Those whose two most probable classes are nearest to each other, the nearest first.
        cells: For each (true, predicted) pair of labels, its most confident images first.
    """

    mistakes: tuple[int, ...]
    uncertain: tuple[int, ...]
    cells: dict[tuple[int, int], tuple[int, ...]]

    def rows(self) -> list[int]:
        """Return every row once, in order."""
        in_cells = (row for rows in self.cells.values() for row in rows)
        return sorted({*self.mistakes, *self.uncertain, *in_cells})

    def explained(self) -> list[int]:
        """Return the rows that are shown with what the network looked at."""
        return sorted({*self.mistakes, *self.uncertain})


def choose_images(predictions: Predictions) -> Gallery:
    """Choose the images that teach most about a model."""
    probabilities, predicted = predictions.probabilities, predictions.predicted
    confidence = probabilities[np.arange(len(predictions)), predicted]
    wrong = np.flatnonzero(predicted != predictions.labels)
    two_best = np.sort(probabilities, axis=1)[:, -2:]
    margin = two_best[:, 1] - two_best[:, 0]
    return Gallery(
        mistakes=_as_rows(wrong[np.argsort(-confidence[wrong], kind="stable")][:_MOST_MISTAKES]),
        uncertain=_as_rows(np.argsort(margin, kind="stable")[:_MOST_UNCERTAIN]),
        cells=_choose_for_cells(predictions, confidence),
    )


def _choose_for_cells(
    predictions: Predictions, confidence: NDArray[np.float32]
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Take every cell's first image, then every cell's second, and so on, mistakes before right answers."""
    class_count = len(predictions.class_names)
    cell = predictions.labels.astype(np.int64) * class_count + predictions.predicted
    order = np.lexsort((-confidence, cell))
    begins = np.append(True, cell[order][1:] != cell[order][:-1])
    starts = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    place = np.arange(len(order)) - starts
    right = predictions.labels[order] == predictions.predicted[order]
    turns = np.lexsort((place, right))
    taken = [turn for turn in turns if place[turn] < _MOST_IN_A_CELL][:_MOST_IN_CELLS]
    cells: dict[tuple[int, int], list[int]] = {}
    for turn in sorted(taken):
        row = int(order[turn])
        cells.setdefault((int(predictions.labels[row]), int(predictions.predicted[row])), []).append(row)
    return {key: tuple(rows) for key, rows in cells.items()}


def _as_rows(rows: NDArray[np.intp]) -> tuple[int, ...]:
    return tuple(int(row) for row in rows)
