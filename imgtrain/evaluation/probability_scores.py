"""Log loss, Brier score, calibration error and top-k accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import log_loss

from imgtrain.evaluation.intervals import Interval, effective_units, share_interval, student_quantile
from imgtrain.evaluation.jackknife import jackknife, standard_errors

__all__ = ["MeanScores", "score_probabilities"]

CALIBRATION_BINS = 10
"""Number of bins of equal width for confidences from 0 to 1."""

# Probabilities are clipped to this, as in scikit-learn for float32.
_LEAST = float(np.finfo(np.float32).eps)

Weights = NDArray[np.float64]


def score_probabilities(
    labels: NDArray[np.int32],
    probabilities: NDArray[np.float32],
    groups: NDArray[np.intp] | None,
    *,
    seed: int,
) -> dict[str, Any]:
    """Return the scores and their intervals as in `metrics.json`.

    Args:
        labels: (n,).
        probabilities: (n, classes).
        groups: Index of each image's group, (n,); None if images are independent.
        seed: Seed of the jackknife.
    """
    images, class_count = probabilities.shape
    units = np.arange(images) if groups is None else groups
    count = effective_units(units)
    bins = _reliability(labels, probabilities)
    gaps = [abs(part["confidence"] - part["accuracy"]) * part["images"] for part in bins]
    values = {
        "log_loss": float(log_loss(labels, probabilities, labels=np.arange(class_count))),
        "brier": float(brier_losses(labels, probabilities).mean()),
        "expected_calibration_error": sum(gaps) / images,
    }
    intervals: dict[str, Interval | None] = dict.fromkeys(values)
    right = probabilities.argmax(axis=1) == labels
    if (accuracy := share_interval(right, groups)) is not None and count > 1:
        replicates = jackknife(MeanScores(labels, probabilities), images, groups=groups, seed=seed)
        half = {
            name: student_quantile(count) * float(standard_errors(np.array(value), replicates[name]))
            for name, value in values.items()
        }
        # The loss if the second most probable class were the true one.
        second = np.argpartition(probabilities, -2, axis=1)[:, -2].astype(np.int32)
        for name, losses in (("log_loss", log_losses), ("brier", brier_losses)):
            intervals[name] = _loss_interval(
                losses(labels, probabilities),
                losses(second, probabilities),
                right,
                half[name],
                1 - accuracy[0],
            )
        intervals["expected_calibration_error"] = _calibration_interval(
            values["expected_calibration_error"],
            half["expected_calibration_error"],
            _gap_by_chance(labels, probabilities, units),
            confidence=float(probabilities.max(axis=1).mean(dtype=np.float64)),
            accuracy=(float(right.mean()), accuracy[0]),
        )
    scores: dict[str, Any] = {}
    for name, value in values.items():
        scores |= {name: value, f"{name}_ci95": intervals[name]}
    hits = {str(k): _within_first(labels, probabilities, k) for k in (2, 3, 5) if k < class_count}
    scores["top_k"] = {k: float(hit.mean()) for k, hit in hits.items()}
    scores["top_k_ci95"] = {k: share_interval(hit, groups) for k, hit in hits.items()}
    scores["reliability"] = bins
    return scores


def log_losses(labels: NDArray[np.int32], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the log loss of each image, (n,)."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.clip(true, _LEAST, 1 - _LEAST))


def brier_losses(labels: NDArray[np.int32], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the Brier score of each image, (n,): (p − y)² for two classes, otherwise its sum over the classes."""
    probabilities = probabilities.astype(np.float64)
    true = probabilities[np.arange(len(labels)), labels]
    squares = (probabilities**2).sum(axis=1) - true**2 + (1 - true) ** 2
    return squares / 2 if probabilities.shape[1] == 2 else squares


class MeanScores:
    """Log loss, Brier score and expected calibration error of weighted images."""

    def __init__(self, labels: NDArray[np.int32], probabilities: NDArray[np.float32]) -> None:
        """Precompute the terms for labels (n,) and probabilities (n, classes)."""
        losses = np.stack([log_losses(labels, probabilities), brier_losses(labels, probabilities)])
        self._sums = sparse.vstack([sparse.csr_array(losses), _gaps(labels, probabilities)], format="csr")

    def __call__(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return each score for weights (n, b): arrays (b,)."""
        means = self._sums @ weights / weights.sum(axis=0)
        return {
            "log_loss": means[0],
            "brier": means[1],
            "expected_calibration_error": np.abs(means[2:]).sum(axis=0),
        }


def _within_first(labels: NDArray[np.int32], probabilities: NDArray[np.float32], k: int) -> NDArray[np.bool_]:
    """Return whether the true class is among the k most probable, (n,).

    In a tie, the class with the higher label ranks first, as in scikit-learn.
    """
    true, every_class = probabilities[np.arange(len(labels)), labels, None], np.arange(probabilities.shape[1])
    outranks = (probabilities > true) | ((probabilities == true) & (every_class > labels[:, None]))
    within: NDArray[np.bool_] = outranks.sum(axis=1) < k
    return within


def _loss_interval(
    losses: NDArray[np.float64],
    if_mistaken: NDArray[np.float64],
    right: NDArray[np.bool_],
    half: float,
    most_mistakes: float,
) -> Interval | None:
    """Return the interval of a mean loss: ± t standard errors of its logarithm, widened for unseen mistakes.

    A few mistakes account for most of a mean loss, and too few of them in the sample cannot be noticed from the sample.
    So the upper limit is at least the loss with as many mistakes as the interval of the accuracy allows. The loss of
    such a mistake is the mean over the observed ones and one more for which the second most probable class is true.
    Observed mistakes may also be too many by chance: the lower limit is at most that of ± t standard errors of the loss
    itself, but not below the loss of the correct predictions.

    Args:
        losses: Loss of each image, (n,).
        if_mistaken: Loss of each image if the second most probable class were the true one, (n,).
        right: Whether the most probable class is the true one, (n,).
        half: Standard error of the mean times the quantile.
        most_mistakes: Upper limit of the share of mistakes.
    """
    mean = float(losses.mean())
    if not np.isfinite(half):
        return None
    cost = (losses[~right].sum() + if_mistaken.mean()) / (np.sum(~right) + 1)
    harmless = float(losses[right].mean()) if right.any() else 0.0
    foreseeable = (1 - most_mistakes) * harmless + most_mistakes * float(cost)
    factor = float(np.exp(half / mean)) if mean > 0 else 1.0
    return [min(mean / factor, max(mean - half, harmless)), max(mean * factor, foreseeable, mean)]


def _calibration_interval(
    error: float, half: float, by_chance: float, *, confidence: float, accuracy: tuple[float, float]
) -> Interval | None:
    """Return the interval of the expected calibration error.

    With few images, chance increases the error in each bin; at most this amount is subtracted from the lower limit.
    Both limits allow for as many more mistakes as the interval of the accuracy.

    Args:
        error: The expected calibration error.
        half: Its standard error times the quantile.
        by_chance: The error expected of a perfectly calibrated model.
        confidence: Mean probability of the most probable class.
        accuracy: Accuracy of the most probable class, and its lower limit.
    """
    if not np.isfinite(half):
        return None
    share, least = accuracy
    low = min(error - by_chance - half, error - (share - least))
    return [max(0.0, low), min(1.0, max(error + half, abs(confidence - least)))]


def _gap_by_chance(
    labels: NDArray[np.int32], probabilities: NDArray[np.float32], units: NDArray[np.intp]
) -> float:
    """Return the expected calibration error of a perfectly calibrated model on these images."""
    images = len(labels)
    by_unit = sparse.csr_array((np.ones(images), (np.arange(images), units)))
    of_units = (_gaps(labels, probabilities) @ by_unit).tocsr()
    # The mean distance of a normal variable from 0 is √(2/π) standard deviations.
    return float(np.sqrt(2 / np.pi) * sparse.linalg.norm(of_units, axis=1).sum() / images)


def _gaps(labels: NDArray[np.int32], probabilities: NDArray[np.float32]) -> sparse.csr_array:
    """Return the (bins, n) matrix with confidence − correctness of each image in the row of its bin."""
    confidence = probabilities.max(axis=1)
    gaps = confidence.astype(np.float64) - (probabilities.argmax(axis=1) == labels)
    place = (_bins(confidence), np.arange(len(labels)))
    return sparse.csr_array((gaps, place), (CALIBRATION_BINS, len(labels)))


def _bins(confidence: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the bin of each confidence: bin k is k/10 < confidence ≤ (k + 1)/10."""
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1].astype(np.float32)
    return np.searchsorted(edges, confidence)


def _reliability(labels: NDArray[np.int32], probabilities: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return the number of images, mean confidence and accuracy of each non-empty confidence bin."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = _bins(confidence)
    return [
        {
            "from": number / CALIBRATION_BINS,
            "to": (number + 1) / CALIBRATION_BINS,
            "images": len(inside),
            "confidence": float(confidence[inside].mean(dtype=np.float64)),
            "accuracy": float(right[inside].mean()),
        }
        for number in range(CALIBRATION_BINS)
        if len(inside := np.flatnonzero(bins == number))
    ]
