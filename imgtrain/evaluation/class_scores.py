"""Precision, recall and F1 of each class, and their means over the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import precision_recall_fscore_support

from imgtrain.evaluation.intervals import (
    Interval,
    effective_units,
    mean_interval,
    share_interval,
    student_quantile,
)

__all__ = ["f1_changes", "score_classes"]


def score_classes(
    labels: NDArray[np.int32],
    predicted: NDArray[np.int32],
    class_count: int,
    groups: NDArray[np.intp] | None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the means over the classes, and the scores of each class, with their intervals.

    Scores of a class that was never predicted or has no images are 0. Means only include classes with images.

    Args:
        labels: (n,).
        predicted: (n,).
        class_count: Number of classes.
        groups: Index of each image's group, (n,); None if images are independent.
    """
    every_class = np.arange(class_count)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=every_class, average=None, zero_division=0
    )
    per_class: list[dict[str, Any]] = []
    for label in every_class:
        true, chosen = labels == label, predicted == label
        hit = true & chosen
        # F1 is a function of the share of hits among the images that are labeled or predicted as the class.
        limits = {
            "precision": _share_among(chosen, hit, groups),
            "recall": _share_among(true, hit, groups),
            "f1": _f1(_share_among(true | chosen, hit, groups)),
        }
        values = {"precision": precision, "recall": recall, "f1": f1}
        per_class.append(
            {name: float(of_all[label]) for name, of_all in values.items()}
            | {"support": int(support[label])}
            | {f"{name}_ci95": limits[name] if support[label] else None for name in values}
        )
    units = np.arange(len(labels)) if groups is None else groups
    moved, members = f1_changes(labels, predicted, class_count, units)
    true = _by_class(labels, class_count)
    recall_moved, recall_members = _leave_out_changes(
        _by_class(labels, class_count, labels == predicted), true, units
    )
    occurs = np.flatnonzero(support)
    even, by_support = np.full(len(occurs), 1 / len(occurs)), support[occurs] / support.sum()
    overall: dict[str, Any] = {}
    for name, score, changes, weights in (
        ("balanced_accuracy", "recall", (recall_moved, recall_members), even),
        ("macro_f1", "f1", (moved, members), even),
        ("weighted_f1", "f1", (moved, members), by_support),
    ):
        scores = np.array([per_class[label][score] for label in occurs])
        overall[name] = float(weights @ scores)
        overall[f"{name}_ci95"] = mean_interval(
            scores,
            [per_class[label][f"{score}_ci95"] for label in occurs],
            *(of_all[:, occurs] for of_all in changes),
            weights=weights,
            quantile=student_quantile(effective_units(units)),
            shared_mistakes=score == "f1",
        )
    return overall, per_class


def f1_changes(
    labels: NDArray[np.int32], predicted: NDArray[np.int32], class_count: int, units: NDArray[np.intp]
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Return by how much the F1 of each class changes without each unit, and the unit's weight in it.

    Args:
        labels: (n,).
        predicted: (n,).
        class_count: Number of classes, k.
        units: Index of each image's unit (image or group), (n,).

    Returns:
        Two matrices of shape (units, k).
    """
    hits = _by_class(labels, class_count, labels == predicted)
    counted = _by_class(labels, class_count) + _by_class(predicted, class_count)
    return _leave_out_changes(2 * hits, counted, units)


def _leave_out_changes(
    part: sparse.csr_array, whole: sparse.csr_array, units: NDArray[np.intp]
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Return by how much Σ part/Σ whole of each class changes without each unit, and the unit's share of the whole.

    The change is 0 if all images of a class are in one unit.

    Args:
        part: (n, k).
        whole: (n, k), not 0 where `part` is not.
        units: (n,).
    """
    by_unit = _by_class(units, int(units.max()) + 1).T
    of_unit, counted = by_unit @ part, (by_unit @ whole).tocsr()
    total = np.asarray(whole.sum(axis=0), np.float64)
    ratio = np.asarray(part.sum(axis=0)) / np.maximum(total, 1)
    remaining = total[counted.indices] - counted.data
    weight = np.divide(1, remaining, out=np.zeros_like(remaining), where=remaining > 0)
    per_remaining = sparse.csr_array((weight, counted.indices, counted.indptr), counted.shape)
    changes: sparse.csr_array = (counted @ sparse.diags_array(ratio) - of_unit).multiply(per_remaining)
    return changes.tocsr(), counted


def _share_among(
    among: NDArray[np.bool_], hit: NDArray[np.bool_], groups: NDArray[np.intp] | None
) -> Interval | None:
    return share_interval(hit[among], None if groups is None else groups[among])


def _f1(jaccard: Interval | None) -> Interval | None:
    """Return the limits of F1 = 2J/(1 + J), given those of J = hits/(labeled or predicted as the class)."""
    return None if jaccard is None else [2 * limit / (1 + limit) for limit in jaccard]


def _by_class(keys: NDArray[Any], count: int, values: NDArray[Any] | None = None) -> sparse.csr_array:
    """Return the (n, classes) matrix with each image's value, default 1, in the column of its class."""
    values = np.ones(len(keys)) if values is None else np.asarray(values, np.float64)
    return sparse.csr_array((values, (np.arange(len(keys)), keys)), (len(keys), count))
