"""Jackknife standard errors: scores are computed again, each time without some of the images.

A replicate is a weight of 0 or 1 per image, and scores are computed for many replicates at once as matrix products.
Up to `REPLICATES` images (or groups) are left out one at a time; more are divided into that many random blocks
("delete-a-group jackknife", P. S. Kott, 2001). If images belong together (a patient, a video), whole groups are left
out, because images of the same group are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["REPLICATES", "jackknife", "leave_out_weights", "standard_errors"]

REPLICATES = 200
"""Maximum number of blocks; the relative error of the standard error is then 5 %."""

# Number of weights in memory at once: a few MiB, which fit into the processor's cache.
_CHUNK = 2**19

Scores = Mapping[str, NDArray[np.float64]]


def jackknife(
    scores: Callable[[NDArray[np.float64]], Scores],
    images: int,
    *,
    groups: NDArray[np.intp] | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> dict[str, NDArray[np.float64]]:
    """Return each score for all replicates: arrays of shape (…, b), where b ≤ `replicates`.

    Args:
        scores: Function of weights (images, b) that returns arrays (…, b), NaN where a score is undefined.
        images: Number of images, at least 2.
        groups: Index of each image's group from 0, (images,), at least two groups; None leaves out single images.
        seed: Seed of the division into blocks.
        replicates: Maximum number of blocks.
    """
    blocks = _blocks(images, groups, seed=seed, most=replicates)
    count = int(blocks.max()) + 1
    width = max(1, _CHUNK // images)
    parts = [
        scores(leave_out_weights(blocks, range(start, min(start + width, count))))
        for start in range(0, count, width)
    ]
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def leave_out_weights(blocks: NDArray[np.intp], left_out: range) -> NDArray[np.float64]:
    """Return weights (images, b): column j is 0 for the images of block `left_out[j]`, 1 elsewhere."""
    return (blocks[:, None] != np.asarray(left_out)).astype(np.float64)


def standard_errors(estimates: NDArray[np.float64], replicates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of each score; NaN if it is undefined for a replicate.

    Args:
        estimates: Scores over all images, (…,).
        replicates: The same scores for each replicate, (…, b).
    """
    count = replicates.shape[-1]
    deviations = replicates - np.asarray(estimates)[..., None]
    return np.sqrt((1 - 1 / count) * (deviations**2).sum(axis=-1))


def _blocks(images: int, groups: NDArray[np.intp] | None, *, seed: int, most: int) -> NDArray[np.intp]:
    """Return the index of each image's block, (images,)."""
    units = np.arange(images) if groups is None else groups
    count = int(units.max()) + 1
    if count <= most:
        return units
    return (np.random.default_rng(seed).permutation(count) % most)[units]
