"""95 % intervals in closed form: of a share of images, of the difference of two shares, of a mean over classes.

They hold where ± 1.96 standard errors and the bootstrap fail: for few images, and where every image is right. Where
images belong together (a patient, a video), the groups are what was sampled. Their number takes the place of the
number of images, and Student's t that of the normal distribution.
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
"""The 97.5 % quantile of the normal distribution: 95 % lie within ± this many standard deviations."""

Interval: TypeAlias = list[float]
"""Lower and upper limit."""


def wilson(share: float, trials: float, quantile: float = NORMAL_QUANTILE) -> Interval:
    """Return the interval of a share by Wilson's score method.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927. It is
    `scipy.stats.binomtest(...).proportion_ci(method="wilson")`, also for the fractional number of trials and for
    the quantile of Student's t that groups need, and some hundred times as fast, for a thousand classes.

    Args:
        share: Of the trials, 0 to 1.
        trials: How many independent trials the share is worth.
        quantile: Of the distribution that the share's distance from the truth follows, in standard deviations.
    """
    z2 = quantile**2
    center = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = quantile / (1 + z2 / trials) * np.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    # At 0 and n of n the limits are 0 and 1; rounding must not put the share itself outside.
    return [max(0.0, min(share, float(center - half))), min(1.0, max(share, float(center + half)))]


def student_quantile(units: float) -> float:
    """Return the 97.5 % quantile of Student's t for a standard error from so many units (images or groups)."""
    return float(stdtrit(max(units - 1, 1), 0.975))


def effective_units(units: NDArray[np.intp]) -> float:
    """Return how many units of equal size tell as much as these: (Σ n)²/Σ n², after L. Kish, 1965.

    Args:
        units: Number of each image's unit, (n,).
    """
    sizes = np.bincount(units).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def share_interval(right: NDArray[np.bool_], groups: NDArray[np.intp] | None = None) -> Interval | None:
    """Return the interval of the share of images that are right; None for no image, or a single group.

    Without groups it is Wilson's. With groups, too, but the share is worth fewer trials than there are images: as
    many as would give the variance that the jackknife over the groups finds, and no more than images. A variance
    from m mistakes is trusted with a weight of m to 1; the 1 stands for mistakes that come by whole groups, so that
    without any mistake every group is one trial.

    Args:
        right: (n,).
        groups: Number of each image's group, (n,).
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
    # 1/trials of each of the two, weighted.
    worth = max(spread / per_trial, 1 / images) if per_trial else 0.0
    trials = (rarer + 1) / (rarer * worth + 1 / units)
    return wilson(share, trials, student_quantile(units))


def difference_interval(
    right_a: NDArray[np.bool_], right_b: NDArray[np.bool_], groups: NDArray[np.intp] | None = None
) -> Interval | None:
    """Return the interval of B's share of right images minus A's, on the same images; None for a single group.

    Exchanging A and B exchanges the limits and their signs. Without groups it is method 10 of R. G. Newcombe,
    "Improved confidence intervals for the difference between binomial proportions based on paired data", 1998.
    With groups it is the difference ± t standard errors of the jackknife over the groups, no smaller than those of
    as many independent images, and with one disagreement added that comes by a whole group.

    Args:
        right_a: Whether A is right, (n,).
        right_b: Whether B is right, (n,).
        groups: Number of each image's group, (n,).
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
    """Return the interval of score B − score A from the interval of each (MOVER, as in `mean_interval`).

    Args:
        a: Score and interval of A.
        b: Score and interval of B.
        correlation: Of the two scores, −1 to 1.
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
    """Return the interval of a weighted mean of the classes' scores; None if no score has one.

    The limits are the wider of two on each side: those that the classes' own intervals give (MOVER: G. Y. Zou,
    A. Donner, "Construction of confidence limits about effect measures: a general approach", 2008), which have room
    for mistakes in classes that show none, and t standard errors. A score that is known from one unit alone, and has
    no interval, may have any value.

    Args:
        scores: Of each class, (k,), 0 to 1.
        intervals: Of each score.
        moved: By how much each score changes without each unit (image or group), (units, k).
        members: How many of each unit's images count for the class, (units, k).
        weights: Of the scores, (k,), with a sum of 1.
        quantile: Of Student's t.
        shared_mistakes: Whether one mistake touches the scores of two classes, as those of F1.
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
    """Return how the scores of the classes vary together, (k, k), from 0 to 1.

    Classes without a mistake show no variation: each unit is taken to fail as a whole, and where one mistake touches
    two classes, the scores of d such classes are taken to vary together by 1/(d − 1).
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
    """Return the variance of a mean over images, from leaving each group out: residuals (n,) with a sum of 0."""
    sizes = np.bincount(groups)
    present = sizes > 0
    sizes = sizes[present]
    without = np.bincount(groups, residuals)[present] / (len(residuals) - sizes)
    return float((1 - 1 / len(sizes)) * (without**2).sum())
