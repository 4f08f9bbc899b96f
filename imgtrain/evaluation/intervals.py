"""95 % confidence intervals in closed form: for proportions, differences of proportions, and means over classes.

They are valid where ± 1.96 standard errors and the bootstrap fail: with few images, and if all predictions are correct.
If images belong together (a patient, a video), the groups are the sampling units: their number replaces the number of
images, and Student's t replaces the normal distribution.
docs/decisions/0021-intervals-in-closed-form.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import stdtrit

__all__ = [
    "NORMAL_QUANTILE",
    "Interval",
    "difference_interval",
    "effective_units",
    "mean_interval",
    "paired_interval",
    "share_interval",
    "student_quantile",
    "wilson",
]

NORMAL_QUANTILE = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""

Interval: TypeAlias = list[float]
"""Lower and upper limit."""


def wilson(share: float, trials: float, quantile: float = NORMAL_QUANTILE) -> Interval:
    """Return the Wilson score interval of a proportion.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927. Unlike
    `scipy.stats.binomtest(...).proportion_ci(method="wilson")`, it accepts a fractional number of trials and another
    quantile, which groups need, and it is a hundred times as fast, which matters for a thousand classes.

    Args:
        share: The proportion, 0 to 1.
        trials: Effective number of independent trials.
        quantile: 97.5 % quantile, in standard deviations.
    """
    z2 = quantile**2
    center = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = quantile / (1 + z2 / trials) * np.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    # Rounding must not exclude the share itself, such as 0 or 1.
    return [max(0.0, min(share, float(center - half))), min(1.0, max(share, float(center + half)))]


def student_quantile(units: float) -> float:
    """Return the 97.5 % quantile of Student's t for a standard error computed from `units` images or groups."""
    return float(stdtrit(max(units - 1, 1), 0.975))


def effective_units(units: NDArray[np.intp]) -> float:
    """Return the effective number of units (images or groups) of unequal size: (Σ n)²/Σ n² (L. Kish, 1965).

    Args:
        units: Index of each image's unit, (n,).
    """
    sizes = np.bincount(units).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def share_interval(right: NDArray[np.bool_], groups: NDArray[np.intp] | None = None) -> Interval | None:
    """Return the interval of the share of correct predictions; None without images, or for a single group.

    It is Wilson's interval. With groups, the number of trials is the one that corresponds to the jackknife variance
    over the groups, at most the number of images. Because a variance estimated from few mistakes is unreliable, it is
    averaged with the variance of one trial per group: with m mistakes, the weights are m and 1.

    Args:
        right: Whether each prediction is correct, (n,).
        groups: Index of each image's group, (n,).
    """
    images = len(right)
    if not images:
        return None
    share = float(np.mean(right))
    if groups is None:
        return wilson(share, images)
    units = effective_units(groups)
    if units <= 1:
        return None
    rarer = images * min(share, 1 - share)
    spread = _jackknife_variance(right - share, groups)
    per_trial = share * (1 - share)
    # The weighted mean of 1/trials.
    per_image = max(spread / per_trial, 1 / images) if per_trial else 0.0
    trials = (rarer + 1) / (rarer * per_image + 1 / units)
    return wilson(share, trials, student_quantile(units))


def difference_interval(
    right_a: NDArray[np.bool_], right_b: NDArray[np.bool_], groups: NDArray[np.intp] | None = None
) -> Interval | None:
    """Return the interval of the accuracy of B minus that of A on the same images; None for a single group.

    Swapping A and B swaps the limits and their signs. Without groups, it is method 10 of R. G. Newcombe,
    "Improved confidence intervals for the difference between binomial proportions based on paired data", 1998.
    With groups, it is the difference ± t jackknife standard errors over the groups, which are at least those of as many
    independent images; one disagreement of a whole group is added.

    Args:
        right_a: Whether each prediction of A is correct, (n,).
        right_b: Whether each prediction of B is correct, (n,).
        groups: Index of each image's group, (n,).
    """
    if groups is None:
        return _newcombe(right_a, right_b)
    images, units = len(right_a), effective_units(groups)
    if units <= 1:
        return None
    gain = right_b.astype(np.float64) - right_a
    difference = float(gain.mean())
    disagreements = int(np.sum(right_a != right_b))
    spread = max(_jackknife_variance(gain - difference, groups), float(gain.var()) / images)
    variance = (disagreements * spread + 1 / (images * units)) / (disagreements + 1)
    half = student_quantile(units) * float(np.sqrt(variance))
    return [max(-1.0, difference - half), min(1.0, difference + half)]


def _newcombe(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> Interval:
    images = len(right_a)
    share_a, share_b = float(np.mean(right_a)), float(np.mean(right_b))
    both, neither = int(np.sum(right_a & right_b)), int(np.sum(~right_a & ~right_b))
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    agreement = float(both * neither - only_a * only_b)
    if agreement > 0:
        agreement = max(0.0, agreement - images / 2)
    scale = float(np.sqrt(share_a * (1 - share_a) * share_b * (1 - share_b))) * images**2
    return paired_interval(
        (share_a, wilson(share_a, images)),
        (share_b, wilson(share_b, images)),
        agreement / scale if scale else 0.0,
    )


def paired_interval(a: tuple[float, Interval], b: tuple[float, Interval], correlation: float) -> Interval:
    """Return the interval of score B − score A from the intervals of both (MOVER, see `mean_interval`).

    Args:
        a: Score and interval of A.
        b: Score and interval of B.
        correlation: Correlation of the two scores, −1 to 1.
    """
    (score_a, (low_a, high_a)), (score_b, (low_b, high_b)) = a, b

    def distance(one: float, other: float) -> float:
        return float(np.sqrt(max(0.0, one**2 + other**2 - 2 * correlation * one * other)))

    difference = score_b - score_a
    low = difference - distance(score_b - low_b, high_a - score_a)
    return [low, difference + distance(high_b - score_b, score_a - low_a)]


def mean_interval(
    scores: NDArray[np.float64],
    intervals: Sequence[Interval | None],
    moved: sparse.csr_array,
    members: sparse.csr_array,
    *,
    weights: NDArray[np.float64],
    quantile: float,
    shared_mistakes: bool,
) -> Interval | None:
    """Return the interval of a weighted mean of the classes' scores; None if no score has an interval.

    Each limit is the wider one of two: t standard errors, and the limit computed from the intervals of the classes
    (MOVER: G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures: a general approach", 2008),
    which allows for mistakes in classes without observed mistakes. A score without an interval can have any value.

    Args:
        scores: Score of each class, (k,), 0 to 1.
        intervals: Interval of each score.
        moved: Change of each score without each unit (image or group), (units, k).
        members: Number of images of each unit that count for the class, (units, k).
        weights: Weights of the scores, (k,), with a sum of 1.
        quantile: Quantile of Student's t.
        shared_mistakes: Whether one mistake affects the scores of two classes, as for F1.
    """
    if not any(intervals):
        return None
    known = np.array([limits or (0.0, 1.0) for limits in intervals])
    correlation = _class_correlation(moved, members, shared_mistakes=shared_mistakes)
    below, above = weights * (scores - known[:, 0]), weights * (known[:, 1] - scores)
    half = quantile * float(np.sqrt((1 - 1 / moved.shape[0]) * ((moved @ weights) ** 2).sum()))
    low, high = (max(half, float(np.sqrt(side @ correlation @ side))) for side in (below, above))
    mean = float(weights @ scores)
    return [max(0.0, mean - low), min(1.0, mean + high)]


def _class_correlation(
    moved: sparse.csr_array, members: sparse.csr_array, *, shared_mistakes: bool
) -> NDArray[np.float64]:
    """Return the correlation matrix of the classes' scores, (k, k), from 0 to 1.

    Classes without mistakes have no observed variation. For them, whole units are assumed to fail, and if one mistake
    affects two classes, the correlation between d such classes is assumed to be at least 1/(d − 1).
    """
    still = sparse.linalg.norm(moved, axis=0) == 0
    columns = moved + members @ sparse.diags_array(still.astype(np.float64))
    norms = np.maximum(sparse.linalg.norm(columns, axis=0), np.finfo(float).tiny)
    columns = columns @ sparse.diags_array(1 / norms)
    correlation: NDArray[np.float64] = np.clip((columns.T @ columns).toarray(), 0, 1)
    if shared_mistakes and still.sum() > 1:
        pairs = np.ix_(still, still)
        correlation[pairs] = np.maximum(correlation[pairs], 1 / (still.sum() - 1))
    np.fill_diagonal(correlation, 1)
    return correlation


def _jackknife_variance(residuals: NDArray[Any], groups: NDArray[np.intp]) -> float:
    """Return the jackknife variance of a mean over images, leaving out groups; residuals (n,) have the sum 0."""
    sizes = np.bincount(groups)
    present = sizes > 0
    sizes = sizes[present]
    without = np.bincount(groups, residuals)[present] / (len(residuals) - sizes)
    return float((1 - 1 / len(sizes)) * (without**2).sum())
