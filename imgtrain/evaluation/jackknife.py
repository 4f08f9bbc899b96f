"""Standard errors by the jackknife: every score is computed again without some of the images.

A replicate is a weight of 0 or 1 for each image, and a score is computed for many replicates at once, as products
of matrices. Up to `REPLICATES` images or groups are each left out once, more in as many random blocks ("delete a
group", P. S. Kott, 2001). Where images belong together (a patient, a video), whole groups are left out, because the
images of a group tell less than as many images of different ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["REPLICATES", "jackknife", "leave_out_weights", "standard_errors"]

REPLICATES = 200
"""Blocks at most: the standard error itself is then known to 5 %."""

# Weights that are in memory at once; a few MiB stay in the processor's cache.
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
    """Return every score of every replicate: arrays of shape (…, b), b being `replicates` at most.

    Args:
        scores: Takes weights (images, b); returns arrays (…, b), NaN where a score is not defined.
        images: How many there are, at least 2.
        groups: Number of each image's group, from 0, (images,), at least 2; None leaves out single images.
        seed: Of the division into blocks.
        replicates: Blocks at most.
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
    """Return weights (images, b): column j is 0 for the images of the j-th block of those left out, 1 elsewhere."""
    return (blocks[:, None] != np.asarray(left_out)).astype(np.float64)


def standard_errors(estimates: NDArray[np.float64], replicates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of each score, NaN where a replicate is not defined.

    Args:
        estimates: The scores of all images, (…,).
        replicates: Of the same scores, (…, b).
    """
    count = replicates.shape[-1]
    deviations = replicates - np.asarray(estimates)[..., None]
    return np.sqrt((1 - 1 / count) * (deviations**2).sum(axis=-1))


def _blocks(images: int, groups: NDArray[np.intp] | None, *, seed: int, most: int) -> NDArray[np.intp]:
    """Return the number of each image's block, (images,)."""
    units = np.arange(images) if groups is None else groups
    count = int(units.max()) + 1
    if count <= most:
        return units
    return (np.random.default_rng(seed).permutation(count) % most)[units]
