"""Select the images for the report; their number is limited, whatever the size of the split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgtrain.evaluation.predictions import Predictions

__all__ = ["Gallery", "choose_images"]

_MAX_MISTAKES = 24
_MAX_UNCERTAIN = 12
_MAX_PER_CELL = 12
_MAX_IN_CELLS = 360


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """The selected rows of the predictions.

    Attributes:
        mistakes: Wrong predictions, most confident first.
        uncertain: Predictions with the smallest margin between the two most probable classes, smallest first.
        cells: Images for each (true, predicted) pair of labels, most confident first.
    """

    mistakes: tuple[int, ...]
    uncertain: tuple[int, ...]
    cells: dict[tuple[int, int], tuple[int, ...]]

    def rows(self) -> list[int]:
        """Return all selected rows, sorted and without duplicates."""
        in_cells = (row for rows in self.cells.values() for row in rows)
        return sorted({*self.mistakes, *self.uncertain, *in_cells})

    def explained(self) -> list[int]:
        """Return the rows that are shown with a Grad-CAM heat map."""
        return sorted({*self.mistakes, *self.uncertain})


def choose_images(predictions: Predictions) -> Gallery:
    """Choose the most informative images: mistakes, uncertain predictions, and examples of each cell."""
    probabilities, predicted = predictions.probabilities, predictions.predicted
    confidence = probabilities[np.arange(len(predictions)), predicted]
    wrong = np.flatnonzero(predicted != predictions.labels)
    two_best = np.sort(probabilities, axis=1)[:, -2:]
    margin = two_best[:, 1] - two_best[:, 0]
    return Gallery(
        mistakes=_as_rows(wrong[np.argsort(-confidence[wrong], kind="stable")][:_MAX_MISTAKES]),
        uncertain=_as_rows(np.argsort(margin, kind="stable")[:_MAX_UNCERTAIN]),
        cells=_choose_for_cells(predictions, confidence),
    )


def _choose_for_cells(
    predictions: Predictions, confidence: NDArray[np.float32]
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Select the first image of each cell, then the second, and so on; mistakes before correct predictions."""
    class_count = len(predictions.class_names)
    cell = predictions.labels.astype(np.int64) * class_count + predictions.predicted
    order = np.lexsort((-confidence, cell))
    begins = np.append(True, cell[order][1:] != cell[order][:-1])
    starts = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    place = np.arange(len(order)) - starts
    right = predictions.labels[order] == predictions.predicted[order]
    turns = np.lexsort((place, right))
    taken = [turn for turn in turns if place[turn] < _MAX_PER_CELL][:_MAX_IN_CELLS]
    cells: dict[tuple[int, int], list[int]] = {}
    for turn in sorted(taken):
        row = int(order[turn])
        cells.setdefault((int(predictions.labels[row]), int(predictions.predicted[row])), []).append(row)
    return {key: tuple(rows) for key, rows in cells.items()}


def _as_rows(rows: NDArray[np.intp]) -> tuple[int, ...]:
    return tuple(int(row) for row in rows)
