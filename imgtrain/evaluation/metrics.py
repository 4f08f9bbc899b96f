"""Scores of predictions with 95 % confidence intervals, without TensorFlow.

Scores are computed over all images at once, not averaged over batches, and are defined as in scikit-learn. Intervals
are computed by `intervals` and `jackknife`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score

from imgtrain.dataset.layout import format_names
from imgtrain.evaluation.class_scores import score_classes
from imgtrain.evaluation.decide import is_sure
from imgtrain.evaluation.intervals import difference_interval, share_interval
from imgtrain.evaluation.predictions import Predictions
from imgtrain.evaluation.probability_scores import score_probabilities
from imgtrain.evaluation.ranking_scores import score_ranking

__all__ = ["score"]


def score(
    predictions: Predictions,
    *,
    baselines: Mapping[str, NDArray[np.int32]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the scores of a split as in `metrics.json`; `x_ci95` is the 95 % interval of `x`.

    Precision, recall and F1 of a class that was never predicted or has no images are 0. Means over the classes (macro
    F1, balanced accuracy, areas) only include classes with images. Undefined scores and intervals are None;
    `interval_notes` explains missing intervals.

    Args:
        predictions: Predictions for at least one image.
        baselines: Predicted labels of each baseline for the same images, (n,), by name.
        seed: Seed of the jackknife.
    """
    labels, predicted, groups = predictions.labels, predictions.predicted, predictions.groups
    class_count = len(predictions.class_names)
    right = labels == predicted
    scores: dict[str, Any] = {
        "images": len(predictions),
        "loss": predictions.loss,
        # As if images were independent; with groups, `accuracy_grouped_ci95` is the valid interval.
        **_share("accuracy", right, None),
    }
    if groups is not None:
        scores["accuracy_grouped_ci95"] = share_interval(right, groups)
        scores["groups"] = int(groups.max()) + 1
    decisions, per_class = score_classes(labels, predicted, class_count, groups)
    areas, areas_per_class = score_ranking(labels, predictions.probabilities, groups, seed=seed)
    scores |= decisions | areas | score_probabilities(labels, predictions.probabilities, groups, seed=seed)
    scores["class_names"] = list(predictions.class_names)
    scores["per_class"] = {
        name: per_class[label] | areas_per_class[label] for label, name in enumerate(predictions.class_names)
    }
    scores["confusion_matrix"] = confusion_matrix(labels, predicted, labels=np.arange(class_count)).tolist()
    if predictions.abstain_below is not None:
        scores["abstention"] = _score_abstention(predictions, predictions.abstain_below)
    scores["baselines"] = {
        name: _score_baseline(predictions, guesses) for name, guesses in (baselines or {}).items()
    }
    scores["interval_notes"] = _explain_missing_intervals(scores, groups)
    return scores


def _share(name: str, right: NDArray[np.bool_], groups: NDArray[np.intp] | None) -> dict[str, Any]:
    """Return the share of correct predictions and its interval."""
    return {name: float(np.mean(right)), f"{name}_ci95": share_interval(right, groups)}


def _score_abstention(predictions: Predictions, level: float) -> dict[str, Any]:
    """Return the share of images with a prediction other than "unsure", and the accuracy on them."""
    sure = is_sure(predictions.probabilities, predictions.predicted, level)
    right = (predictions.predicted == predictions.labels)[sure]
    groups = None if predictions.groups is None else predictions.groups[sure]
    undefined = {"accuracy_of_answered": None, "accuracy_of_answered_ci95": None}
    return {"below": level, "answered": float(sure.mean())} | (
        _share("accuracy_of_answered", right, groups) if sure.any() else undefined
    )


def _score_baseline(predictions: Predictions, guesses: NDArray[np.int32]) -> dict[str, Any]:
    """Return the scores of a baseline, and the model's gain in accuracy over it on the same images."""
    labels, groups = predictions.labels, predictions.groups
    model, baseline = predictions.predicted == labels, guesses == labels
    occurring = np.unique(labels)
    return {
        **_share("accuracy", baseline, groups),
        "macro_f1": float(f1_score(labels, guesses, labels=occurring, average="macro", zero_division=0)),
        "gain": float(model.mean() - baseline.mean()),
        "gain_ci95": difference_interval(baseline, model, groups),
    }


def _explain_missing_intervals(scores: Mapping[str, Any], groups: NDArray[np.intp] | None) -> list[str]:
    """Return why scores that are defined have no interval, one sentence per reason."""
    if groups is not None and scores["groups"] == 1:
        return ["all images belong to one group: intervals need at least two"]
    if scores["images"] == 1:
        return ["most intervals need at least two images"]
    single = [
        name
        for name, of_class in scores["per_class"].items()
        if of_class["support"] and (of_class["recall_ci95"] is None or _lacks_interval(of_class, "auc"))
    ]
    if not single:
        return []
    unit = "images" if groups is None else "groups"
    return [f"too few {unit} for some intervals of {format_names(single)}: a class needs at least two"]


def _lacks_interval(scores: Mapping[str, Any], name: str) -> bool:
    """Return whether a score is defined, but not its interval."""
    return scores[name] is not None and scores[f"{name}_ci95"] is None
