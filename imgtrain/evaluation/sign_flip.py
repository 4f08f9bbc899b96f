"""The exact sign-flip test for the difference between two paired scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

__all__ = ["sign_flip_p_value"]


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
