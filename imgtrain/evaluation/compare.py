"""Compare two models on the same images: which one is more accurate?

The intervals of the two accuracies don't answer this, because most of their uncertainty, the choice of images, is the
same for both models. Instead, there is an interval of the difference, and an exact test on the images (or groups) that
only one model classifies correctly. One model is called better only if the interval and the test agree.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from imgtrain.dataset.groups import join_groups
from imgtrain.dataset.layout import format_names
from imgtrain.errors import DataError, Problem
from imgtrain.evaluation.class_scores import f1_changes, score_classes
from imgtrain.evaluation.intervals import Interval, difference_interval, paired_interval
from imgtrain.evaluation.predictions import Predictions
from imgtrain.evaluation.score_names import SIGNIFICANCE_LEVEL, format_p

__all__ = ["Candidate", "Comparison", "compare", "sign_flip_p_value"]

Verdict = Literal["same", "better", "worse", "cannot tell"]

_TEST = "McNemar's exact test"
_TEST_OVER_GROUPS = "the exact sign-flip test over groups"
# With fewer groups that differ, p cannot be below SIGNIFICANCE_LEVEL: 2/2^5 = 0.06.
_FEWEST_UNITS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One of the models to compare.

    Attributes:
        name: Its path, for errors and results.
        predictions: Its predictions.
        keys: A (digest or path, class name) pair per image; equal for the same image.
    """

    name: str
    predictions: Predictions
    keys: list[tuple[str, str]]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison:
    """The difference between two models, A and B.

    Attributes:
        verdict: Whether B is better or worse than A; "same" if all predictions are equal.
        sentence: The verdict and its reason in words.
        content: All numbers as printed by `--json`; differences are B − A.
    """

    verdict: Verdict
    sentence: str
    content: dict[str, Any]

    def __repr__(self) -> str:
        return f"<Comparison: {self.sentence}>"


def compare(a: Candidate, b: Candidate, *, split: str, warnings: tuple[str, ...] = ()) -> Comparison:
    """Compare two models on the same images, which are matched by `keys`.

    Swapping A and B swaps "better" and "worse", and the signs of the differences. If the models group the images
    differently, groups that share an image are joined.

    Args:
        a: One model.
        b: The other.
        split: `test`, `validation` or `evaluation`.
        warnings: Warnings about the images, to be included in the result.

    Raises:
        DataError: The images or classes differ.
    """
    _validate_same_images(a, b)
    order_a, order_b = _order(a.keys), _order(b.keys)
    names = a.predictions.class_names
    relabel = np.array([names.index(name) for name in b.predictions.class_names], np.int32)
    groups, notes = _common_groups(a.predictions.groups, order_a, b.predictions.groups, order_b)
    labels = a.predictions.labels[order_a]
    predicted = a.predictions.predicted[order_a], relabel[b.predictions.predicted[order_b]]
    content = {
        "split": split,
        "a": {"run": a.name},
        "b": {"run": b.name},
        "images": len(labels),
        "groups": None if groups is None else int(groups.max()) + 1,
    }
    verdict, sentence = _compare(content, names, labels, predicted, groups)
    content |= {"verdict": verdict, "warnings": [*warnings, *notes], "sentence": sentence}
    return Comparison(verdict, sentence, content)


def _compare(
    content: dict[str, Any],
    names: tuple[str, ...],
    labels: NDArray[np.int32],
    predicted: tuple[NDArray[np.int32], NDArray[np.int32]],
    groups: NDArray[np.intp] | None,
) -> tuple[Verdict, str]:
    """Add all numbers to `content`, and return the verdict and its sentence."""
    right_a, right_b = (answers == labels for answers in predicted)
    differ = predicted[0] != predicted[1]
    f1 = _macro_f1s(labels, predicted, len(names), groups)
    for which, right, (score, _) in zip("ab", (right_a, right_b), f1, strict=True):
        content[which] |= {"accuracy": float(right.mean()), "macro_f1": score}
    gains = right_b.astype(np.intp) - right_a
    of_units = gains if groups is None else np.bincount(groups, gains).astype(np.intp)
    p_value = sign_flip_p_value(of_units)
    accuracy, limits = float(gains.mean()), difference_interval(right_a, right_b, groups)
    only_a, only_b = right_a & ~right_b, right_b & ~right_a
    content |= {
        "accuracy_difference": accuracy,
        "accuracy_difference_ci95": limits,
        "macro_f1_difference": f1[1][0] - f1[0][0],
        "macro_f1_difference_ci95": _macro_f1_difference(labels, predicted, len(names), groups, f1),
        "test": _TEST if groups is None else _TEST_OVER_GROUPS,
        "p_value": p_value,
        "mcnemar": {
            "only_a_right": int(only_a.sum()),
            "only_b_right": int(only_b.sum()),
            # McNemar's test assumes independent images.
            "p_value": p_value if groups is None else None,
        },
        "per_class": {
            name: {
                "images": int(of_class.sum()),
                "different_answers": int(np.sum(differ & of_class)),
                "only_a_right": int(np.sum(only_a & of_class)),
                "only_b_right": int(np.sum(only_b & of_class)),
            }
            for label, name in enumerate(names)
            for of_class in [labels == label]
        },
    }
    if not differ.any():
        return "same", "No difference: A and B predict the same class for every image."
    if limits is None:
        return "cannot tell", f"{_cannot_tell(accuracy)}; all images belong to one group."
    return _conclude(accuracy, limits, p_value, content["test"], int(np.count_nonzero(of_units)))


def _conclude(
    difference: float, limits: Interval, p_value: float, test: str, units: int
) -> tuple[Verdict, str]:
    """Return the verdict and its sentence.

    Args:
        difference: Difference of the accuracies.
        limits: Its interval.
        p_value: P-value of the exact test.
        test: Name of the test.
        units: Number of images or groups on which the models differ in accuracy.
    """
    low, high = (100 * limit for limit in limits)
    excludes_0 = low > 0 or high < 0
    p = format_p(p_value)
    if excludes_0 and p_value < SIGNIFICANCE_LEVEL:
        verdict: Verdict = "better" if low > 0 else "worse"
        low, high = (low, high) if low > 0 else (-high, -low)
        by = f"{100 * abs(difference):.1f} points of accuracy"
        return verdict, f"B is {verdict} than A by {by}, 95 % interval {low:.1f} to {high:.1f} ({test}: {p})."
    interval = f"the 95 % interval of the difference ({low:+.1f} to {high:+.1f} points)"
    few = f"{units} groups that differ are too few: even if all favor one model, p is not below {SIGNIFICANCE_LEVEL}"
    if test == _TEST_OVER_GROUPS and 0 < units < _FEWEST_UNITS:
        reason = f"{interval} {'excludes 0, but' if excludes_0 else 'includes 0, and'} {few}"
    elif excludes_0:
        reason = f"{interval} excludes 0, but {test} gives {p}"
    elif p_value < SIGNIFICANCE_LEVEL:
        reason = f"{test} gives {p}, but {interval} includes 0"
    else:
        reason = f"{interval} includes 0 ({test}: {p})"
    return "cannot tell", f"{_cannot_tell(difference)}; {reason}."


def _cannot_tell(difference: float) -> str:
    above = "above" if difference > 0 else "below"
    which = "as good as A here" if difference == 0 else f"{above} A by {100 * abs(difference):.1f} points"
    return f"Cannot tell which is better: B is {which}"


def _macro_f1s(
    labels: NDArray[np.int32],
    predicted: tuple[NDArray[np.int32], NDArray[np.int32]],
    class_count: int,
    groups: NDArray[np.intp] | None,
) -> list[tuple[float, Interval | None]]:
    """Return the macro F1 of both models, each with its interval."""
    overall = [score_classes(labels, answers, class_count, groups)[0] for answers in predicted]
    return [(scores["macro_f1"], scores["macro_f1_ci95"]) for scores in overall]


def _macro_f1_difference(
    labels: NDArray[np.int32],
    predicted: tuple[NDArray[np.int32], NDArray[np.int32]],
    class_count: int,
    groups: NDArray[np.intp] | None,
    scores: list[tuple[float, Interval | None]],
) -> Interval | None:
    """Return the interval of the difference in macro F1, from the two intervals and their correlation."""
    (score_a, limits_a), (score_b, limits_b) = scores
    if limits_a is None or limits_b is None:
        return None
    units = np.arange(len(labels)) if groups is None else groups
    occurs = np.unique(labels)
    changes = [
        f1_changes(labels, answers, class_count, units)[0][:, occurs].sum(axis=1) for answers in predicted
    ]
    norms = np.linalg.norm(changes[0]) * np.linalg.norm(changes[1])
    correlation = float(changes[0] @ changes[1] / norms) if norms else 0.0
    return paired_interval((score_a, limits_a), (score_b, limits_b), correlation)


def _common_groups(
    of_a: NDArray[np.intp] | None, order_a: list[int], of_b: NDArray[np.intp] | None, order_b: list[int]
) -> tuple[NDArray[np.intp] | None, list[str]]:
    """Return the finest groups that neither model's grouping divides, and warnings."""
    if of_a is None and of_b is None:
        return None, []
    alone = np.arange(len(order_a))
    first = alone if of_a is None else of_a[order_a]
    second = alone if of_b is None else of_b[order_b]
    joined = np.unique(join_groups(first, second), return_inverse=True)[1].astype(np.intp)
    count = int(joined.max()) + 1
    if count == len(np.unique(first)) == len(np.unique(second)):
        return joined, []
    return joined, [
        f"A and B group the images differently (data.group_by); with those that share an image joined, there are "
        f"{count:,} groups"
    ]


def _order(keys: list[tuple[str, str]]) -> list[int]:
    """Return the indices that sort the keys, so that both models' images are in the same order."""
    return sorted(range(len(keys)), key=keys.__getitem__)


def _validate_same_images(a: Candidate, b: Candidate) -> None:
    problems = []
    classes_a, classes_b = set(a.predictions.class_names), set(b.predictions.class_names)
    for one, other, more in ((a, b, classes_a - classes_b), (b, a, classes_b - classes_a)):
        if more:
            what = f"has classes that are missing in {other.name}: {format_names(sorted(more))}"
            problems.append(Problem(one.name, what))
    if not problems:
        problems = [*_differences(a, b), *_differences(b, a)]
    if problems:
        hint = "evaluate both on the same images: imgtrain compare A B --data FOLDER"
        raise DataError(
            [*problems, Problem("", "only models evaluated on the same images can be compared", hint)]
        )


def _differences(one: Candidate, other: Candidate) -> list[Problem]:
    """Return a problem if `one` was evaluated on images that `other` was not evaluated on."""
    more = Counter(one.keys) - Counter(other.keys)
    if not more:
        return []
    first = next(path for path, key in zip(one.predictions.paths, one.keys, strict=True) if key in more)
    elsewhere = {image for image, _ in other.keys}
    relabeled = sum(count for (image, _), count in more.items() if image in elsewhere)
    what = f"{sum(more.values()):,} of its {len(one.keys):,} images are missing in {other.name}"
    if relabeled:
        what += f" ({relabeled:,} of them have another class there, or occur less often)"
    return [Problem(one.name, f"{what}, first {first}")]


def sign_flip_p_value(gains: NDArray[np.integer]) -> float:
    """Return the two-sided p-value of the hypothesis that A and B are equally good.

    Under this hypothesis, swapping A and B within a unit (an image or a group) changes nothing, so all 2^m ways to swap
    them in the m units with a gain are equally likely. The p-value is the share of them with a difference at least as
    large as the observed one. For single images, this is McNemar's exact test. With fewer than six groups that have a
    gain, no p-value is below 2/2^5 = 0.06.

    All swaps are counted, not sampled: as in Wilcoxon's exact test, the distribution of the sum is built up unit by
    unit, in (number of units) × (sum of absolute gains) steps.

    Args:
        gains: Number of correct predictions of B minus that of A in each unit, (units,).
    """
    sizes = np.abs(gains[gains != 0]).astype(np.intp)
    total = int(sizes.sum())
    # Probability of each sum of the sizes of the units that favor B; those of size 1 are binomial.
    single = int(np.sum(sizes == 1))
    probability: NDArray[np.float64] = np.zeros(total + 1)
    probability[: single + 1] = binom.pmf(np.arange(single + 1), single, 0.5)
    for size in sizes[sizes > 1]:
        probability /= 2
        probability[size:] += probability[:-size].copy()
    differences = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(probability[differences >= abs(int(gains.sum()))].sum()))
