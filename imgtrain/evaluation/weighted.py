"""The scores of weighted images, for many weightings at once: what the bootstrap computes on each draw.

Every score is made of a few sums over the images, and all sums of all weightings are one product of a sparse
matrix (sums × images) with the weights (images × weightings). With weights of 1 the scores are scikit-learn's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = [
    "CALIBRATION_BINS",
    "DecisionScores",
    "MeanScores",
    "RankingScores",
    "calibration_bins",
    "image_scores",
    "top_ks",
]

CALIBRATION_BINS = 10
"""Bins of equal width over the confidence from 0 to 1."""

# A probability of 0 for the true class costs this much log loss at most; scikit-learn's limit for float32.
_LEAST = float(np.finfo(np.float32).eps)

Weights = NDArray[np.float64]
Scores = dict[str, NDArray[np.float64]]


def top_ks(class_count: int) -> tuple[int, ...]:
    """Return the k for which a top-k accuracy says something: above 1 and below the number of classes."""
    return tuple(k for k in (2, 3, 5) if k < class_count)


def calibration_bins(confidence: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the bin of each confidence: bin k holds k/10 < confidence ≤ (k + 1)/10."""
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1].astype(np.float32)
    return np.searchsorted(edges, confidence)


def image_scores(
    labels: NDArray[np.int32], predicted: NDArray[np.int32], probabilities: NDArray[np.float32]
) -> dict[str, NDArray[np.float64]]:
    """Return what each image contributes to the scores that are means over the images, each (n,).

    The Brier score of two classes is (p − y)², of more the sum of it over the classes, as in scikit-learn.
    """
    rows = np.arange(len(labels))
    true = probabilities[rows, labels].astype(np.float64)
    squares = (probabilities.astype(np.float64) ** 2).sum(axis=1) - true**2 + (1 - true) ** 2
    # scikit-learn's rule: of equal probabilities, the class with the higher label ranks first.
    of_truth, every_class = probabilities[rows, labels, None], np.arange(probabilities.shape[1])
    outranks = (probabilities > of_truth) | ((probabilities == of_truth) & (every_class > labels[:, None]))
    above = outranks.sum(axis=1)
    scores = {
        "accuracy": (labels == predicted).astype(np.float64),
        "log_loss": -np.log(np.clip(true, _LEAST, 1 - _LEAST)),
        "brier": squares / 2 if probabilities.shape[1] == 2 else squares,
    }
    return scores | {f"top_{k}": (above < k).astype(np.float64) for k in top_ks(probabilities.shape[1])}


class MeanScores:
    """Means over the images, and the expected calibration error."""

    def __init__(
        self, labels: NDArray[np.int32], predicted: NDArray[np.int32], probabilities: NDArray[np.float32]
    ) -> None:
        """Take the predictions of n images; probabilities are (n, classes)."""
        means = image_scores(labels, predicted, probabilities)
        confidence = probabilities.max(axis=1)
        gaps = confidence - (probabilities.argmax(axis=1) == labels)
        self._names = list(means)
        self._sums = sparse.vstack(
            [
                sparse.csr_array(np.stack(list(means.values()))),
                _sum_by(calibration_bins(confidence), CALIBRATION_BINS, gaps),
            ],
            format="csr",
        )

    def __call__(self, weights: Weights) -> Scores:
        """Return each score of each weighting, (b,), for weights (n, b)."""
        means = self._sums @ weights / weights.sum(axis=0)
        scores = {name: means[row] for row, name in enumerate(self._names)}
        scores["expected_calibration_error"] = np.abs(means[len(self._names) :]).sum(axis=0)
        return scores


class DecisionScores:
    """Precision, recall and F1 of every class, and their means over the classes that occur."""

    def __init__(self, labels: NDArray[np.int32], predicted: NDArray[np.int32], class_count: int) -> None:
        """Take the decisions for n images."""
        self._true = _sum_by(labels, class_count)
        self._chosen = _sum_by(predicted, class_count)
        self._right = _sum_by(labels, class_count, labels == predicted)

    def __call__(self, weights: Weights) -> Scores:
        """Return each score of each weighting, (classes, b) or (b,), for weights (n, b)."""
        true, chosen, right = self._true @ weights, self._chosen @ weights, self._right @ weights
        occurs = true > 0
        recall, f1 = _ratio(right, true), _ratio(2 * right, true + chosen)
        return {
            "precision": _ratio(right, chosen),
            # A draw without the class says nothing of how often it is found.
            "recall": np.where(occurs, recall, np.nan),
            "f1": np.where(true + chosen > 0, f1, np.nan),
            "balanced_accuracy": recall.sum(axis=0) / occurs.sum(axis=0),
            "macro_f1": (f1 * occurs).sum(axis=0) / occurs.sum(axis=0),
            "weighted_f1": (f1 * true).sum(axis=0) / true.sum(axis=0),
        }


class RankingScores:
    """Areas under the ROC and the precision-recall curve of one class against the rest.

    The images stand in order of falling probability, cut where a run of equal probabilities with a positive
    among them begins or ends: within the other pieces neither curve needs to be known.
    """

    def __init__(self, positive: NDArray[np.bool_], probability: NDArray[np.float32]) -> None:
        """Take which of n images are of the class, and the probability of the class for each."""
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
        """Return the two areas of each weighting, (b,), NaN where a side is empty, for weights (n, b)."""
        both, positive = self._all @ weights, self._positive @ weights
        negative = both - positive
        positives, negatives = positive.sum(axis=0), negative.sum(axis=0)
        # A positive beats the negatives that are ranked below it, and half of those beside it.
        beaten = negatives - np.cumsum(negative, axis=0) + negative / 2
        area = _ratio((positive * beaten).sum(axis=0), positives * negatives, otherwise=np.nan)
        precision = _ratio(np.cumsum(positive, axis=0), np.cumsum(both, axis=0))
        average_precision = _ratio((positive * precision).sum(axis=0), positives, otherwise=np.nan)
        return area, average_precision


def _sum_by(keys: NDArray[Any], count: int, values: NDArray[Any] | None = None) -> sparse.csr_array:
    """Return the (count, n) matrix that sums the images' values, by default 1, for each key."""
    values = np.ones(len(keys)) if values is None else np.asarray(values, np.float64)
    return sparse.csr_array((values, (keys, np.arange(len(keys)))), (count, len(keys)))


def _ratio(part: NDArray[Any], whole: NDArray[Any], otherwise: float = 0.0) -> NDArray[np.float64]:
    """Return part/whole; where the whole is 0, `otherwise`."""
    return np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0)
