"""Images that stand in two splits: all pixels of the full-size picture are equal, in any file format."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.split import Split
from imgtrain.pixels.image_store import ImageStore

__all__ = ["find_leaks"]


def find_leaks(
    train: Split, train_pixels: ImageStore, other: Split, other_pixels: ImageStore
) -> list[tuple[str, str]]:
    """Return (path in train, path in the other split) of every image of `other` that is in `train` too.

    An image of `other` is named once, with the first of its copies in `train`; in the order of `other`. Files
    that could not be decoded equal nothing.
    """
    train_indices, train_digests = _digests(train, train_pixels)
    other_indices, other_digests = _digests(other, other_pixels)
    known, first = np.unique(train_digests, return_index=True)
    if not len(known):
        return []
    found = np.minimum(np.searchsorted(known, other_digests), len(known) - 1)
    return [
        (train.folder.paths[train_indices[first[position]]], other.folder.paths[index])
        for index, position, equal in zip(other_indices, found, known[found] == other_digests, strict=True)
        if equal
    ]


def _digests(split: Split, pixels: ImageStore) -> tuple[NDArray[np.intp], NDArray[np.bytes_]]:
    """Return the indices of the images that could be decoded, and the digest of each as one comparable value."""
    bad = np.fromiter(pixels.bad, np.intp, len(pixels.bad))
    indices = np.setdiff1d(split.indices, bad)
    digests = np.ascontiguousarray(pixels.digests[indices])
    # Byte strings compare without their final zeros, which is no loss where all have the same length.
    return indices, digests.view(f"S{digests.shape[1]}").ravel()
