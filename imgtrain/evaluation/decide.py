"""Choose classes from probabilities: the threshold of a binary model, and when to predict "unsure".

Both are chosen on validation images, never on test images, and stored in the model's metadata.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgtrain.config.schema import EvaluationConfig, PrecisionTarget, RecallTarget

__all__ = ["Decision", "choose_decision", "decide", "is_sure"]

# Thresholds are between 0 and 1, exclusive. A probability of 1 reaches the largest one: in float32, it is rounded to 1.
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True, slots=True)
class Decision:
    """How to choose classes from probabilities.

    Attributes:
        threshold: Binary models: minimum probability of the positive class to predict it; otherwise None.
        rule: How the threshold was chosen, in words.
        abstain_below: Minimum probability of the predicted class; below it, the prediction is "unsure". None
            disables this.
        warnings: Warnings for the user.
    """

    threshold: float | None
    rule: str | None = None
    abstain_below: float | None = None
    warnings: tuple[str, ...] = ()


def decide(probabilities: NDArray[np.float32], threshold: float | None) -> NDArray[np.int32]:
    """Return the predicted class of each row.

    Args:
        probabilities: (n, classes); for a binary model, the second column is the positive class.
        threshold: Minimum probability of the positive class; None chooses the most probable class.
    """
    if threshold is None:
        return probabilities.argmax(axis=1).astype(np.int32)
    return (probabilities[:, 1] >= np.float32(threshold)).astype(np.int32)


def is_sure(
    probabilities: NDArray[np.float32], predicted: NDArray[np.int32], abstain_below: float | None
) -> NDArray[np.bool_]:
    """Return for each row whether the probability of the predicted class is at least `abstain_below`."""
    confidence = probabilities[np.arange(len(predicted)), predicted]
    return confidence >= np.float32(abstain_below or 0.0)


def choose_decision(
    config: EvaluationConfig,
    *,
    binary: bool,
    labels: NDArray[np.int32] | None,
    probabilities: NDArray[np.float32] | None,
) -> Decision:
    """Choose the threshold and `abstain_below` on the validation images.

    Args:
        config: The configuration.
        binary: Whether the model has one sigmoid output.
        labels: True classes of the validation images, (n,); None without validation images.
        probabilities: Probabilities of the validation images, (n, classes); None without validation images.
    """
    threshold, rule, warnings = None, None, []
    if binary:
        threshold, rule, warning = _choose_threshold(config, labels, probabilities)
        warnings += warning
    level = None
    if config.abstain is not None and labels is not None and probabilities is not None:
        predicted = decide(probabilities, threshold)
        level = _choose_level(config.abstain, labels, probabilities, predicted)
        if level is None:
            warnings.append(
                f"evaluation.abstain: no confidence reaches an accuracy of {config.abstain:g} on the validation "
                'images; the model never predicts "unsure"'
            )
    return Decision(threshold, rule, level, tuple(warnings))


def _choose_threshold(
    config: EvaluationConfig, labels: NDArray[np.int32] | None, probabilities: NDArray[np.float32] | None
) -> tuple[float, str, list[str]]:
    if isinstance(config.threshold, float):
        return config.threshold, "given", []
    if labels is None or probabilities is None or len(np.unique(labels)) < 2:
        warning = (
            "evaluation.threshold: there are no validation images of both classes to choose it on; using 0.5"
        )
        return 0.5, "default", [warning]
    # Takes time, and `predict` doesn't need it.
    from sklearn.metrics import precision_recall_curve, roc_curve

    positive = probabilities[:, 1]
    if config.threshold == "youden":
        false_rate, true_rate, thresholds = roc_curve(labels, positive, drop_intermediate=False)
        best, rule = thresholds[np.argmax(true_rate - false_rate)], "largest Youden index on validation"
    else:
        precision, recall, thresholds = precision_recall_curve(labels, positive)
        precision, recall = precision[:-1], recall[:-1]  # the last point of the curve has no threshold
        if isinstance(config.threshold, PrecisionTarget):
            target = config.threshold.precision
            reached = np.flatnonzero(precision >= target)
            if not len(reached):
                warning = (
                    f"evaluation.threshold: no threshold reaches a precision of {target:g} on the validation images; "
                    f"the highest precision is {precision.max():.3f}; using 0.5"
                )
                return 0.5, "default", [warning]
            # The lowest of them has the highest recall.
            best, rule = thresholds[reached[0]], f"lowest with precision ≥ {target:g} on validation"
        elif isinstance(config.threshold, RecallTarget):
            target = config.threshold.recall
            best = thresholds[np.flatnonzero(recall >= target)[-1]]
            rule = f"highest with recall ≥ {target:g} on validation"
        else:
            f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
            best, rule = thresholds[np.argmax(f1)], "largest F1 on validation"
    return float(np.clip(best, _LEAST, _MOST)), rule, []


def _choose_level(
    target: float,
    labels: NDArray[np.int32],
    probabilities: NDArray[np.float32],
    predicted: NDArray[np.int32],
) -> float | None:
    """Return the lowest confidence from which on predictions have the target accuracy; None if there is none."""
    confidence = probabilities[np.arange(len(predicted)), predicted]
    order = np.argsort(-confidence, kind="stable")
    accuracy = np.cumsum(predicted[order] == labels[order]) / np.arange(1, len(order) + 1)
    # Images with equal confidence are above the level together, so only the last of them is a candidate.
    confident = confidence[order]
    last_of_equals = np.append(confident[1:] != confident[:-1], True)
    reached = np.flatnonzero(last_of_equals & (accuracy >= target))
    if not len(reached):
        return None
    return float(np.clip(confident[reached[-1]], _LEAST, _MOST))
