"""From probabilities to decisions: the threshold of a binary model, and when to say "unsure".

Both are chosen on validation images, never on test images, and travel in the model's record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgtrain.config.schema import EvaluationConfig, PrecisionTarget, RecallTarget

__all__ = ["Decision", "choose_decision", "decide", "is_sure"]

# A threshold or level lies between 0 and 1, and a saturated probability of 1 must still reach it: compared as
# float32, the largest number below 1 is 1.
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True, slots=True)
class Decision:
    """How probabilities become answers.

    Attributes:
        threshold: Binary: the probability from which the positive class is predicted; None for more classes.
        rule: How the threshold was chosen, in words.
        abstain_below: Probability of the predicted class below which the answer is "unsure"; None never is.
        warnings: What the user should know of the choice.
    """

    threshold: float | None
    rule: str | None = None
    abstain_below: float | None = None
    warnings: tuple[str, ...] = ()


def decide(probabilities: NDArray[np.float32], threshold: float | None) -> NDArray[np.int32]:
    """Return the predicted class of each row.

    Args:
        probabilities: (n, classes); for a binary model two columns, the positive class second.
        threshold: For a binary model the least probability of the positive class; None takes the largest.
    """
    if threshold is None:
        return probabilities.argmax(axis=1).astype(np.int32)
    return (probabilities[:, 1] >= np.float32(threshold)).astype(np.int32)


def is_sure(
    probabilities: NDArray[np.float32], predicted: NDArray[np.int32], abstain_below: float | None
) -> NDArray[np.bool_]:
    """Return for each row whether the probability of the predicted class reaches the level."""
    confidence = probabilities[np.arange(len(predicted)), predicted]
    return confidence >= np.float32(abstain_below or 0.0)


def choose_decision(
    asked: EvaluationConfig,
    *,
    binary: bool,
    labels: NDArray[np.int32] | None,
    probabilities: NDArray[np.float32] | None,
) -> Decision:
    """Choose threshold and abstention level on the validation images.

    Args:
        asked: The configuration.
        binary: Whether the model has one sigmoid output.
        labels: True classes of the validation images, (n,); None without validation.
        probabilities: Of the same images, (n, classes).
    """
    threshold, rule, warnings = None, None, []
    if binary:
        threshold, rule, warning = _choose_threshold(asked, labels, probabilities)
        warnings += warning
    level = None
    if asked.abstain is not None and labels is not None and probabilities is not None:
        predicted = decide(probabilities, threshold)
        level = _choose_level(asked.abstain, labels, probabilities, predicted)
        if level is None:
            warnings.append(
                f"evaluation.abstain: no level of certainty reaches an accuracy of {asked.abstain:g} on "
                f'validation; the model never says "unsure"'
            )
    return Decision(threshold, rule, level, tuple(warnings))


def _choose_threshold(
    asked: EvaluationConfig, labels: NDArray[np.int32] | None, probabilities: NDArray[np.float32] | None
) -> tuple[float, str, list[str]]:
    if isinstance(asked.threshold, float):
        return asked.threshold, "given", []
    if labels is None or probabilities is None or len(np.unique(labels)) < 2:
        return (
            0.5,
            "default",
            [
                "evaluation.threshold: there are not validation images of both classes to choose it on; 0.5 is used"
            ],
        )
    # Imported where it is needed: predictions are read and made without it.
    from sklearn.metrics import precision_recall_curve, roc_curve

    positive = probabilities[:, 1]
    if asked.threshold == "youden":
        false_rate, true_rate, thresholds = roc_curve(labels, positive, drop_intermediate=False)
        best, rule = thresholds[np.argmax(true_rate - false_rate)], "largest Youden index on validation"
    else:
        precision, recall, thresholds = precision_recall_curve(labels, positive)
        precision, recall = precision[:-1], recall[:-1]  # the last point of the curve has no threshold
        if isinstance(asked.threshold, PrecisionTarget):
            wanted = asked.threshold.precision
            reached = np.flatnonzero(precision >= wanted)
            if not len(reached):
                return (
                    0.5,
                    "default",
                    [
                        f"evaluation.threshold: no threshold reaches a precision of {wanted:g} on validation, the "
                        f"highest is {precision.max():.3f}; 0.5 is used"
                    ],
                )
            # Of those that reach it, the one that finds the most.
            best, rule = thresholds[reached[0]], f"lowest with precision ≥ {wanted:g} on validation"
        elif isinstance(asked.threshold, RecallTarget):
            wanted = asked.threshold.recall
            best = thresholds[np.flatnonzero(recall >= wanted)[-1]]
            rule = f"highest with recall ≥ {wanted:g} on validation"
        else:
            f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
            best, rule = thresholds[np.argmax(f1)], "largest F1 on validation"
    return float(np.clip(best, _LEAST, _MOST)), rule, []


def _choose_level(
    wanted: float,
    labels: NDArray[np.int32],
    probabilities: NDArray[np.float32],
    predicted: NDArray[np.int32],
) -> float | None:
    """Return the lowest confidence whose answers reach the wanted accuracy; None if none does."""
    confidence = probabilities[np.arange(len(predicted)), predicted]
    order = np.argsort(-confidence, kind="stable")
    accuracy = np.cumsum(predicted[order] == labels[order]) / np.arange(1, len(order) + 1)
    # Equal confidences are answered together, so only the last of them is a possible level.
    confident = confidence[order]
    last_of_equals = np.append(confident[1:] != confident[:-1], True)
    reached = np.flatnonzero(last_of_equals & (accuracy >= wanted))
    if not len(reached):
        return None
    return float(np.clip(confident[reached[-1]], _LEAST, _MOST))
