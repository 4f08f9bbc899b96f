"""Scores from stored predictions, each with its 95 % interval; NumPy, SciPy and scikit-learn only.

Nothing here is a running average: each score is computed once, over the predictions of all images, each of
which carries its file name. The scores are scikit-learn's; the intervals are those of `intervals` and `jackknife`.
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
    """Return the scores of a split in the form of `metrics.json`; `x_ci95` is the 95 % interval of `x`.

    Precision, recall and F1 of a class that was never predicted, or never occurs, are 0. The means over the
    classes (macro F1, balanced accuracy, areas) are taken over the classes that occur among the images, so that
    a class without images does not count as a failure. What is not defined is None; an interval that cannot be
    given is None, and `interval_notes` says why.

    Args:
        predictions: At least one image.
        baselines: What simpler classifiers predict for the same images, (n,) each, by name.
        seed: Of the jackknife's blocks.
    """
    labels, predicted, groups = predictions.labels, predictions.predicted, predictions.groups
    class_count = len(predictions.class_names)
    right = labels == predicted
    scores: dict[str, Any] = {
        "images": len(predictions),
        "loss": predictions.loss,
        # Wilson's interval takes every image for a witness of its own, which those of a group are not.
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
    """Return the share of images that are right, and its interval."""
    return {name: float(np.mean(right)), f"{name}_ci95": share_interval(right, groups)}


def _score_abstention(predictions: Predictions, level: float) -> dict[str, Any]:
    """Return how many images the model answers, and how many of these answers are right."""
    sure = is_sure(predictions.probabilities, predictions.predicted, level)
    right = (predictions.predicted == predictions.labels)[sure]
    groups = None if predictions.groups is None else predictions.groups[sure]
    nothing = {"accuracy_of_answered": None, "accuracy_of_answered_ci95": None}
    return {"below": level, "answered": float(sure.mean())} | (
        _share("accuracy_of_answered", right, groups) if sure.any() else nothing
    )


def _score_baseline(predictions: Predictions, guesses: NDArray[np.int32]) -> dict[str, Any]:
    """Return the scores of a baseline, and by how much the model's accuracy is above it on the same images."""
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
    """Return a sentence for each reason why a score that is defined has no interval."""
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
