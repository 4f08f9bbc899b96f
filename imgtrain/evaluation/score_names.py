"""How scores are called and explained, on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["BASELINES", "ScoreRow", "describe_accuracy", "explain_interval", "list_scores"]

_SCORES = {
    "accuracy": ("Accuracy", "share of correct predictions"),
    "balanced_accuracy": ("Balanced accuracy", "mean recall over the classes"),
    "macro_f1": ("Macro F1", "mean F1 over the classes"),
    "weighted_f1": ("Weighted F1", "mean F1, weighted by support"),
    "auc": ("ROC AUC", "0.5 is chance, 1 is perfect"),
    "average_precision": ("Average precision", "area under the precision-recall curve"),
    "log_loss": ("Log loss", "cross-entropy of the probabilities; 0 is perfect"),
    "brier": ("Brier score", "squared error of the probabilities; 0 is perfect"),
    "expected_calibration_error": (
        "Expected calibration error (ECE)",
        "mean gap between confidence and accuracy; 0 is perfect",
    ),
}
BASELINES = {
    "majority_class": "most frequent class",
    "thumbnail_logistic_regression": "logistic regression on 8×8 thumbnails",
}
"""The predictors without a network that the model is compared with, by their key in `metrics.json`."""


class ScoreRow(NamedTuple):
    """A row of the table of scores.

    Attributes:
        title: The name of the score.
        value: The score.
        limits: Its 95 % confidence interval (low, high); None if undefined.
        meaning: A short explanation.
        is_baseline: Whether it is the accuracy of a baseline instead of the model.
    """

    title: str
    value: float | None
    limits: tuple[float, float] | None
    meaning: str
    is_baseline: bool = False


def describe_accuracy(name: str, metrics: Mapping[str, Any]) -> str:
    """Return the headline: `Test accuracy 82.4 % (95 % CI 79.2–85.3 %, 592 images)`.

    Args:
        name: The split, or the folder of evaluated images.
        metrics: Its entry in `metrics.json`.
    """
    low, high = _accuracy_interval(metrics)
    title = f"{name.capitalize()} accuracy" if name in ("test", "validation") else f"Accuracy on {name}:"
    return (
        f"{title} {100 * metrics['accuracy']:.1f} % "
        f"(95 % CI {100 * low:.1f}–{100 * high:.1f} %, {metrics['images']:,} images)"
    )


def explain_interval(metrics: Mapping[str, Any]) -> str:
    """Return what the confidence interval of the accuracy means, in one sentence."""
    low, high = _accuracy_interval(metrics)
    return (
        f"Of other images of the same kind, between {100 * low:.0f} % and {100 * high:.0f} % would be "
        "classified correctly."
    )


def list_scores(metrics: Mapping[str, Any]) -> Iterator[ScoreRow]:
    """Yield the scores over all classes that are defined, and the accuracy of the baselines."""
    if metrics.get("loss") is not None:
        yield ScoreRow("Loss", metrics["loss"], None, "the loss used in training")
    for key, (title, meaning) in _SCORES.items():
        if metrics.get(key) is not None:
            yield ScoreRow(title, metrics[key], _limits(metrics[f"{key}_ci95"]), meaning)
    for k, value in metrics["top_k"].items():
        meaning = f"the true class is among the {k} most probable"
        yield ScoreRow(f"Top-{k} accuracy", value, _limits(metrics["top_k_ci95"][k]), meaning)
    if abstention := metrics.get("abstention"):
        meaning = (
            f"share of images with a probability of at least {abstention['below']:.3f}; others are “unsure”"
        )
        yield ScoreRow("Coverage", abstention["answered"], None, meaning)
        yield ScoreRow(
            "Selective accuracy",
            abstention["accuracy_of_answered"],
            _limits(abstention["accuracy_of_answered_ci95"]),
            "share of correct predictions without “unsure”",
        )
    for key, baseline in metrics["baselines"].items():
        title = f"Baseline: {BASELINES.get(key, key)}"
        limits = _limits(baseline["accuracy_ci95"])
        yield ScoreRow(title, baseline["accuracy"], limits, "accuracy without a network", is_baseline=True)


def _accuracy_interval(metrics: Mapping[str, Any]) -> tuple[float, float]:
    low, high = metrics.get("accuracy_grouped_ci95") or metrics["accuracy_ci95"]
    return low, high


def _limits(limits: list[float] | None) -> tuple[float, float] | None:
    return None if limits is None else (limits[0], limits[1])
