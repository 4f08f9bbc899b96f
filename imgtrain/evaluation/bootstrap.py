"""95 % intervals by the bootstrap: the images are drawn again, with replacement, and scored on every draw.

A draw is a weight for each image: how often it was drawn. All scores are computed for many draws at once, as
products of matrices. Where images belong together (a patient, a video), whole groups are drawn, because the
images of a group tell less than as many images of different ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

__all__ = ["RESAMPLES", "bootstrap", "interval", "intervals", "resample_weights"]

RESAMPLES = 2000
"""Draws for an interval: its limits then stand on the 50 draws outside of each of them."""

# Weights that are in memory at once; a few MiB stay in the processor's cache.
_CHUNK = 2**19
_NORMAL_QUANTILE = 1.959963984540054

Scores = Mapping[str, NDArray[np.float64]]


def bootstrap(
    scores: Callable[[NDArray[np.float64]], Scores],
    images: int,
    *,
    groups: NDArray[np.intp] | None = None,
    seed: int = 0,
    draws: int = RESAMPLES,
) -> dict[str, NDArray[np.float64]]:
    """Return every score on every draw: arrays of shape (…, draws).

    Args:
        scores: Takes weights (images, b); returns arrays (…, b), NaN where a score is not defined.
        images: How many there are.
        groups: Number of each image's group, from 0, (images,); None draws single images.
        seed: Of the draws.
        draws: How many.
    """
    parts = [scores(weights) for weights in resample_weights(images, groups, seed=seed, draws=draws)]
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def resample_weights(
    images: int, groups: NDArray[np.intp] | None, *, seed: int, draws: int
) -> Iterator[NDArray[np.float64]]:
    """Yield weights of shape (images, b), in as many parts as memory needs; the same seed gives the same draws."""
    rng = np.random.default_rng(seed)
    units = images if groups is None else int(groups.max()) + 1
    most = max(1, min(256, _CHUNK // images))
    for start in range(0, draws, most):
        drawn = [
            np.bincount(rng.integers(units, size=units), minlength=units)
            for _ in range(min(most, draws - start))
        ]
        weights = np.stack(drawn, axis=1).astype(np.float64)
        yield weights if groups is None else weights[groups]


def interval(estimate: float, draws: NDArray[np.float64]) -> list[float] | None:
    """Return the bias-corrected 95 % interval of a score; None if it is not defined.

    Source: B. Efron, "Nonparametric standard errors and confidence intervals", 1981. Where the draws lie evenly
    around the estimate these are the 2.5 and 97.5 percentiles; where they lie to one side of it, as those of a
    calibration error do, the percentiles are moved to the other.

    Args:
        estimate: The score of the images themselves.
        draws: The score on every draw; NaN where it is not defined, which is left out.
    """
    draws = draws[np.isfinite(draws)]
    if not len(draws) or not np.isfinite(estimate):
        return None
    # A tie counts half: scores of few images have few values.
    near = np.isclose(draws, estimate, rtol=1e-6, atol=1e-9)
    below = np.mean((draws < estimate) & ~near) + np.mean(near) / 2
    shift = norm.ppf(np.clip(below, 1 / len(draws), 1 - 1 / len(draws)))
    limits = norm.cdf(2 * shift + np.array([-_NORMAL_QUANTILE, _NORMAL_QUANTILE]))
    low, high = np.quantile(draws, limits)
    return [float(min(low, estimate)), float(max(high, estimate))]


def intervals(estimates: Any, draws: NDArray[np.float64]) -> list[list[float] | None]:
    """Return the interval of each of several scores: estimates (k,), draws (k, draws)."""
    return [interval(float(estimate), row) for estimate, row in zip(estimates, draws, strict=True)]
