"""Names and explanations of scores, for the terminal and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = [
    "FEW_IMAGES",
    "SIGNIFICANCE_LEVEL",
    "Conclusion",
    "ScoreRow",
    "compare_with_baselines",
    "describe_accuracy",
    "explain_accuracy",
    "format_p",
    "list_scores",
]

SIGNIFICANCE_LEVEL = 0.05
"""Differences with a p-value below this are called significant."""

FEW_IMAGES = 20
"""With fewer images, one of them changes the recall of a class by more than five percentage points."""

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
# Baselines by their key in `metrics.json`.
_BASELINES = {
    "majority_class": "always predicting the most frequent class",
    "thumbnail_logistic_regression": "logistic regression on 8×8 thumbnails",
}


class Conclusion(NamedTuple):
    """Result of comparing the model with a baseline.

    Attributes:
        is_better: Whether the model is significantly better.
        sentence: The conclusion in words.
    """

    is_better: bool
    sentence: str


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

    Classes whose own scores mean little are named: `…; 1 of 3 classes has 1 test image`.

    Args:
        name: The split, or the folder of evaluated images.
        metrics: Its entry in `metrics.json`.
    """
    title = f"{name.capitalize()} accuracy" if name in ("test", "validation") else f"Accuracy on {name}:"
    interval = "too few groups for a CI"
    if (limits := _accuracy_limits(metrics)) is not None:
        interval = f"95 % CI {100 * limits[0]:.1f}–{100 * limits[1]:.1f} %"
    headline = f"{title} {100 * metrics['accuracy']:.1f} % ({interval}, {metrics['images']:,} images)"
    small = _describe_small_classes(name if name in ("test", "validation") else "", metrics)
    return f"{headline}; {small}" if small else headline


def explain_accuracy(name: str, metrics: Mapping[str, Any]) -> str:
    """Return what the accuracy and its confidence interval mean, in a sentence.

    Args:
        name: The split, or the folder of evaluated images.
        metrics: Its entry in `metrics.json`.
    """
    if name == "validation":
        return (
            "Training may have chosen the best epoch on these images, so the accuracy on new images may be lower. "
            "Use a test set to measure it."
        )
    limits = _accuracy_limits(metrics)
    if limits is None:
        return "The accuracy on other groups may be quite different: all images belong to one group."
    low, high = limits
    return (
        f"Of other images of the same kind, between {100 * low:.0f} % and {100 * high:.0f} % would be "
        "classified correctly."
    )


def compare_with_baselines(metrics: Mapping[str, Any]) -> Iterator[Conclusion]:
    """Yield whether the model is better than each baseline on the same images.

    Args:
        metrics: A split's entry in `metrics.json`.
    """
    model = f"{100 * metrics['accuracy']:.1f} %"
    for key, baseline in metrics["baselines"].items():
        other = f"{_BASELINES.get(key, key)} ({100 * baseline['accuracy']:.1f} %)"
        if baseline["gain_ci95"] is None:
            yield Conclusion(False, f"{model} cannot be compared with {other}: too few groups.")
            continue
        low, high = (100 * limit for limit in baseline["gain_ci95"])
        if low > 0:
            yield Conclusion(
                True,
                f"{model} is significantly better than {other}, by {low:.1f} to {high:.1f} percentage points.",
            )
        elif high < 0:
            yield Conclusion(
                False,
                f"{model} is significantly worse than {other}, by {-high:.1f} to {-low:.1f} percentage points.",
            )
        else:
            yield Conclusion(
                False,
                f"{model} is not significantly better than {other}: the difference is between {low:+.1f} and "
                f"{high:+.1f} percentage points.",
            )


def list_scores(metrics: Mapping[str, Any]) -> Iterator[ScoreRow]:
    """Yield the defined scores over all classes, and the accuracy of the baselines."""
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
        title = f"Baseline: {_BASELINES.get(key, key)}"
        limits = _limits(baseline["accuracy_ci95"])
        yield ScoreRow(title, baseline["accuracy"], limits, "accuracy without a network", is_baseline=True)


def format_p(p_value: float) -> str:
    """Return `p = 0.0501`, with enough digits to show whether it is below 0.05."""
    texts = (f"{p_value:.{digits}g}" for digits in range(3, 18))
    is_significant = p_value < SIGNIFICANCE_LEVEL
    return "p = " + next(text for text in texts if (float(text) < SIGNIFICANCE_LEVEL) == is_significant)


def _describe_small_classes(split: str, metrics: Mapping[str, Any]) -> str:
    """Return how many classes have few images; empty if none has."""
    supports = [scores["support"] for scores in metrics["per_class"].values()]
    small = [support for support in supports if support < FEW_IMAGES]
    if not small:
        return ""
    images = f"{split} images".lstrip()
    if len(small) > 1:
        fewest = f"the smallest {min(small):,}" if min(small) else "the smallest none"
        return f"{len(small)} of {len(supports)} classes have fewer than {FEW_IMAGES} {images}, {fewest}"
    found = f"{small[0]:,}" if small[0] else "no"
    return f"1 of {len(supports)} classes has {found} {images.removesuffix('s') if small[0] == 1 else images}"


def _accuracy_limits(metrics: Mapping[str, Any]) -> list[float] | None:
    """Return the valid interval: over groups if there are any, even if it is None."""
    limits: list[float] | None = metrics.get("accuracy_grouped_ci95", metrics["accuracy_ci95"])
    return limits


def _limits(limits: list[float] | None) -> tuple[float, float] | None:
    return None if limits is None else (limits[0], limits[1])
