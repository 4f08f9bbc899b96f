"""ROC AUC and average precision, one class against the rest and averaged over the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, logit

from imgtrain.evaluation.intervals import (
    Interval,
    effective_units,
    mean_interval,
    student_quantile,
    wilson,
)
from imgtrain.evaluation.jackknife import REPLICATES, jackknife, standard_errors

__all__ = ["RankingScores", "score_ranking"]

NAMES = ("auc", "average_precision")
# Limit for images × classes × replicates: one or two seconds.
_WORK = 100_000_000
_FEWEST_REPLICATES = 40

Weights = NDArray[np.float64]


def score_ranking(
    labels: NDArray[np.int32],
    probabilities: NDArray[np.float32],
    groups: NDArray[np.intp] | None,
    *,
    seed: int,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the overall scores, and the scores of each class, with their intervals.

    With two classes, the overall score is that of the second (positive) class, otherwise the mean over the classes.
    The scores of a class without images, or with all images, are None.

    Args:
        labels: (n,).
        probabilities: (n, classes).
        groups: Index of each image's group, (n,); None if images are independent.
        seed: Seed of the jackknife.
    """
    class_count = probabilities.shape[1]
    images = len(labels)
    ranked = [k for k in range(class_count) if 0 < np.sum(labels == k) < images]
    empty = {f"{name}{suffix}": None for name in NAMES for suffix in ("", "_ci95")}
    per_class: list[dict[str, Any]] = [dict(empty) for _ in range(class_count)]
    if not ranked:
        return empty, per_class
    positives = [labels == k for k in ranked]
    rankings = [RankingScores(of, probabilities[:, k]) for k, of in zip(ranked, positives, strict=True)]
    members = sparse.csr_array(np.stack(positives), dtype=np.float64)

    def areas(weights: Weights) -> dict[str, NDArray[np.float64]]:
        of_classes = [ranking(weights) for ranking in rankings]
        by_name = zip(NAMES, zip(*of_classes, strict=True), strict=True)
        return {name: np.stack(values) for name, values in by_name} | {"members": members @ weights}

    estimates = {name: values[:, 0] for name, values in areas(np.ones((images, 1))).items()}
    most = min(REPLICATES, max(_FEWEST_REPLICATES, _WORK // (images * len(ranked))))
    replicates = jackknife(areas, images, groups=groups, seed=seed, replicates=most)
    units = np.arange(images) if groups is None else groups
    left_out = estimates["members"][:, None] - replicates["members"]
    trials = [min(effective_units(units[of]), effective_units(units[~of])) for of in positives]
    # Two classes have the same ROC AUC; the second is the positive class.
    chosen = [ranked.index(1)] if class_count == 2 else list(range(len(ranked)))
    overall: dict[str, Any] = {}
    for name in NAMES:
        values = estimates[name]
        errors = standard_errors(values, replicates[name])
        intervals = [
            _area_interval(float(value), float(error), count)
            for value, error, count in zip(values, errors, trials, strict=True)
        ]
        for k, value, limits in zip(ranked, values, intervals, strict=True):
            per_class[k] |= {name: float(value), f"{name}_ci95": limits}
        moved = replicates[name] - values[:, None]
        overall |= {
            name: float(values[chosen].mean()),
            f"{name}_ci95": mean_interval(
                values[chosen],
                [intervals[k] for k in chosen],
                sparse.csr_array(np.where(np.isfinite(moved), moved, 0)[chosen].T),
                sparse.csr_array(left_out[chosen].T),
                weights=np.full(len(chosen), 1 / len(chosen)),
                quantile=student_quantile(effective_units(units)),
                shared_mistakes=True,
            ),
        }
    return overall, per_class


def _area_interval(area: float, error: float, trials: float) -> Interval | None:
    """Return area ± t standard errors on the logit scale.

    A perfect ranking has a standard error of 0. Then the area is treated as a proportion of as many trials as the
    rarer side has images (or groups), as if each of them ranked above all others or below all.
    """
    if trials <= 1 or not np.isfinite(error):
        return None
    quantile = student_quantile(trials)
    if error == 0 or not 0 < area < 1:
        return wilson(area, trials, quantile)
    half = quantile * error / (area * (1 - area))
    return [float(expit(logit(area) - half)), float(expit(logit(area) + half))]


class RankingScores:
    """ROC AUC and average precision of one class against the rest, as in scikit-learn.

    Images are sorted by descending probability and divided at the beginning and end of each run of equal probabilities
    that contains a positive: inside the other pieces, the curves need not be evaluated.
    """

    def __init__(self, positive: NDArray[np.bool_], probability: NDArray[np.float32]) -> None:
        """Sort the images; `positive` tells whether each of n images is of the class, (n,) like `probability`."""
        order = np.argsort(-probability, kind="stable")
        ranked, positive = probability[order], positive[order]
        run = np.cumsum(np.append(False, ranked[1:] != ranked[:-1]))
        has_positive = np.bincount(run, weights=positive) > 0
        begins = has_positive | np.append(True, has_positive[:-1])
        piece = (np.cumsum(begins) - 1)[run]
        pieces, images = int(piece[-1]) + 1, len(order)
        self._all = sparse.csr_array((np.ones(images), (piece, order)), (pieces, images))
        self._positive = sparse.csr_array((positive.astype(float), (piece, order)), (pieces, images))

    def __call__(self, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return both scores for weights (n, b): arrays (b,), NaN if there are no positives or no negatives."""
        both, positive = self._all @ weights, self._positive @ weights
        negative = both - positive
        positives, negatives = positive.sum(axis=0), negative.sum(axis=0)
        # A positive outranks all negatives below it, and ties count half.
        beaten = negatives - np.cumsum(negative, axis=0) + negative / 2
        area = _ratio((positive * beaten).sum(axis=0), positives * negatives, otherwise=np.nan)
        precision = _ratio(np.cumsum(positive, axis=0), np.cumsum(both, axis=0))
        average_precision = _ratio((positive * precision).sum(axis=0), positives, otherwise=np.nan)
        return area, average_precision


def _ratio(part: NDArray[Any], whole: NDArray[Any], otherwise: float = 0.0) -> NDArray[np.float64]:
    """Return part/whole, and `otherwise` where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0)
