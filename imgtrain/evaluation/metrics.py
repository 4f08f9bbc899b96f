"""Scores from stored predictions, each with its 95 % interval; NumPy and scikit-learn only.

Nothing here is a running average: each score is computed once, over the predictions of all images, each of
which carries its file name. The scores are scikit-learn's; the intervals are those of `bootstrap`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from imgtrain.evaluation.bootstrap import RESAMPLES, bootstrap, interval, intervals
from imgtrain.evaluation.decide import is_sure
from imgtrain.evaluation.predictions import Predictions
from imgtrain.evaluation.weighted import (
    CALIBRATION_BINS,
    DecisionScores,
    MeanScores,
    RankingScores,
    calibration_bins,
    image_scores,
    top_ks,
)

__all__ = ["accuracy_interval", "score"]

# The 97.5 % quantile of the normal distribution: 95 % lie within ± this many standard deviations.
_NORMAL_QUANTILE = 1.959963984540054
# Images × classes × draws that the areas under the curves may take: a second or two.
_RANKING_WORK = 100_000_000
_FEWEST_DRAWS = 200


def score(
    predictions: Predictions,
    *,
    baselines: Mapping[str, NDArray[np.int32]] | None = None,
    seed: int = 0,
    draws: int = RESAMPLES,
) -> dict[str, Any]:
    """Return the scores of a split in the form of `metrics.json`; `x_ci95` is the 95 % interval of `x`.

    Precision, recall and F1 of a class that was never predicted, or never occurs, are 0. The means over the
    classes (macro F1, balanced accuracy, areas) are taken over the classes that occur among the images, so that
    a class without images does not count as a failure. What is not defined is None.

    Args:
        predictions: At least one image.
        baselines: What simpler classifiers predict for the same images, (n,) each, by name.
        seed: Of the bootstrap.
        draws: Of the bootstrap.
    """
    labels, predicted = predictions.labels, predictions.predicted
    correct = int(np.sum(labels == predicted))
    scores: dict[str, Any] = {
        "images": len(predictions),
        "loss": predictions.loss,
        "accuracy": correct / len(predictions),
        "accuracy_ci95": list(accuracy_interval(correct, len(predictions))),
    }
    if predictions.groups is not None:
        scores["groups"] = int(predictions.groups.max()) + 1
    decisions, per_class = _score_decisions(predictions, seed, draws)
    areas, areas_per_class = _score_ranking(predictions, seed, draws)
    scores |= decisions | areas | _score_probabilities(predictions, seed, draws)
    scores["class_names"] = list(predictions.class_names)
    scores["per_class"] = {
        name: per_class[label] | areas_per_class[label] for label, name in enumerate(predictions.class_names)
    }
    every_class = np.arange(len(predictions.class_names))
    scores["confusion_matrix"] = confusion_matrix(labels, predicted, labels=every_class).tolist()
    if predictions.abstain_below is not None:
        scores["abstention"] = _score_abstention(predictions, predictions.abstain_below)
    scores["baselines"] = {
        name: _score_baseline(predictions, guesses, seed, draws)
        for name, guesses in (baselines or {}).items()
    }
    return scores


def _score_decisions(
    predictions: Predictions, seed: int, count: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the scores of the decisions over all classes, and those of each class."""
    labels, predicted = predictions.labels, predictions.predicted
    class_count = len(predictions.class_names)
    draws = bootstrap(
        DecisionScores(labels, predicted, class_count),
        len(predictions),
        groups=predictions.groups,
        seed=seed,
        draws=count,
    )
    every_class = np.arange(class_count)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=every_class, average=None, zero_division=0
    )
    occurs = support > 0
    weighted = f1_score(labels, predicted, labels=every_class, average="weighted", zero_division=0)
    overall = {
        "balanced_accuracy": float(recall[occurs].mean()),
        "macro_f1": float(f1[occurs].mean()),
        "weighted_f1": float(weighted),
    }
    estimates = {"precision": precision, "recall": recall, "f1": f1}
    limits = {name: intervals(values, draws[name]) for name, values in estimates.items()}
    per_class = [
        {name: float(values[label]) for name, values in estimates.items()}
        | {"support": int(support[label])}
        | {f"{name}_ci95": limits[name][label] if occurs[label] else None for name in estimates}
        for label in every_class
    ]
    return _with_intervals(overall, draws), per_class


def _score_probabilities(predictions: Predictions, seed: int, count: int) -> dict[str, Any]:
    """Return the scores of the probabilities: losses, top-k accuracies and calibration."""
    labels, probabilities = predictions.labels, predictions.probabilities
    draws = bootstrap(
        MeanScores(labels, predictions.predicted, probabilities),
        len(predictions),
        groups=predictions.groups,
        seed=seed,
        draws=count,
    )
    images = image_scores(labels, predictions.predicted, probabilities)
    every_class = np.arange(len(predictions.class_names))
    bins = _reliability(predictions)
    gaps = [abs(part["confidence"] - part["accuracy"]) * part["images"] for part in bins]
    scores = _with_intervals(
        {
            "log_loss": float(log_loss(labels, probabilities, labels=every_class)),
            "brier": float(images["brier"].mean()),
            "expected_calibration_error": sum(gaps) / len(predictions),
        },
        draws,
    )
    if predictions.groups is not None:
        # Wilson's interval takes every image for a witness of its own, which those of a group are not.
        scores["accuracy_grouped_ci95"] = interval(float(images["accuracy"].mean()), draws["accuracy"])
    ks = top_ks(len(every_class))
    hits = {k: float(images[f"top_{k}"].mean()) for k in ks}
    scores["top_k"] = {str(k): hits[k] for k in ks}
    scores["top_k_ci95"] = {str(k): interval(hits[k], draws[f"top_{k}"]) for k in ks}
    scores["reliability"] = bins
    return scores


def _reliability(predictions: Predictions) -> list[dict[str, Any]]:
    """Return for each bin of confidence that has images how many there are, and how many are right."""
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.probabilities.argmax(axis=1) == predictions.labels
    bins = calibration_bins(confidence)
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


def _score_ranking(
    predictions: Predictions, seed: int, count: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the areas under the ROC and precision-recall curves, and those of each class against the rest.

    Of a binary model the area is that of the positive class; of more classes it is the mean over them.
    """
    labels, probabilities = predictions.labels, predictions.probabilities
    class_count = len(predictions.class_names)
    ranked = [k for k in range(class_count) if 0 < np.sum(labels == k) < len(labels)]
    empty = {f"{name}{suffix}": None for name in ("auc", "average_precision") for suffix in ("", "_ci95")}
    per_class: list[dict[str, Any]] = [dict(empty) for _ in range(class_count)]
    if not ranked:
        return empty, per_class
    work = len(predictions) * len(ranked)
    estimates = {
        "auc": np.array([roc_auc_score(labels == k, probabilities[:, k]) for k in ranked]),
        "average_precision": np.array(
            [average_precision_score(labels == k, probabilities[:, k]) for k in ranked]
        ),
    }
    rankings = [RankingScores(labels == k, probabilities[:, k]) for k in ranked]

    def scores(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        areas = [ranking(weights) for ranking in rankings]
        return {name: np.stack([area[place] for area in areas]) for place, name in enumerate(estimates)}

    draws = bootstrap(
        scores,
        len(predictions),
        groups=predictions.groups,
        seed=seed,
        draws=min(count, max(_FEWEST_DRAWS, _RANKING_WORK // work)),
    )
    for name, values in estimates.items():
        for k, value, limits in zip(ranked, values, intervals(values, draws[name]), strict=True):
            per_class[k] |= {name: float(value), f"{name}_ci95": limits}
    # A binary model's two classes have one ROC curve, and the second class is the one that is looked for.
    chosen = [ranked.index(1)] if class_count == 2 else range(len(ranked))
    overall = {name: float(values[chosen].mean()) for name, values in estimates.items()}
    return _with_intervals(overall, {name: _mean(draws[name][chosen]) for name in estimates}), per_class


def _mean(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the classes that are in a draw, NaN where none is."""
    present = np.isfinite(draws)
    sums = np.where(present, draws, 0).sum(axis=0)
    return np.divide(sums, present.sum(axis=0), out=np.full(sums.shape, np.nan), where=present.any(axis=0))


def _score_abstention(predictions: Predictions, level: float) -> dict[str, Any]:
    """Return how many images the model answers, and how many of these answers are right."""
    sure = is_sure(predictions.probabilities, predictions.predicted, level)
    right = int(np.sum((predictions.predicted == predictions.labels)[sure]))
    answered = int(sure.sum())
    return {
        "below": level,
        "answered": answered / len(predictions),
        "accuracy_of_answered": right / answered if answered else None,
        "accuracy_of_answered_ci95": list(accuracy_interval(right, answered)) if answered else None,
    }


def _score_baseline(
    predictions: Predictions, guesses: NDArray[np.int32], seed: int, count: int
) -> dict[str, Any]:
    """Return the scores of a baseline, and by how much the model's accuracy is above it on the same images."""
    labels = predictions.labels
    model, baseline = predictions.predicted == labels, guesses == labels
    gain = model.astype(np.float64) - baseline

    def gains(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"gain": gain @ weights / weights.sum(axis=0)}

    draws = bootstrap(gains, len(predictions), groups=predictions.groups, seed=seed, draws=count)
    correct = int(baseline.sum())
    occurring = np.unique(labels)
    return {
        "accuracy": correct / len(predictions),
        "accuracy_ci95": list(accuracy_interval(correct, len(predictions))),
        "macro_f1": float(f1_score(labels, guesses, labels=occurring, average="macro", zero_division=0)),
        "gain": float(gain.mean()),
        "gain_ci95": interval(float(gain.mean()), draws["gain"]),
    }


def _with_intervals(
    estimates: Mapping[str, float], draws: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """Return each score followed by its interval."""
    scores: dict[str, Any] = {}
    for name, value in estimates.items():
        scores |= {name: value, f"{name}_ci95": interval(value, draws[name])}
    return scores


def accuracy_interval(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson's score method.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927. Unlike
    the textbook's normal interval it stays inside 0 to 1 and is right for few images.
    """
    share, z2 = correct / images, _NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = (
        _NORMAL_QUANTILE / (1 + z2 / images) * math.sqrt(share * (1 - share) / images + z2 / (4 * images**2))
    )
    # At 0 and n of n the limits are 0 and 1; rounding must not put the share itself outside.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
