"""Which images show the same picture: all pixels of the full-size picture are equal, in any file format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.index import ImageFolder
from imgtrain.dataset.split import Split
from imgtrain.pixels.image_store import ImageStore

__all__ = ["find_equal_pictures", "pictures_of_splits"]


def find_equal_pictures(digests: NDArray[np.uint8], decoded: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return (n,) the index of the first image that shows the same picture: its own, if there is none before it.

    Args:
        digests: (n, 16) of the full-size pictures.
        decoded: (n,) whether the file could be decoded; one that could not equals nothing.
    """
    first = np.arange(len(digests))
    indices = np.flatnonzero(decoded)
    # Byte strings compare without their final zeros, which is no loss where all have the same length.
    texts = np.ascontiguousarray(digests[indices]).view(f"S{digests.shape[1]}").ravel()
    _, earliest, pictures = np.unique(texts, return_index=True, return_inverse=True)
    first[indices] = indices[earliest[pictures]]
    return first


def pictures_of_splits(
    splits: Iterable[Split], stores: Mapping[ImageFolder, ImageStore]
) -> dict[str, NDArray[np.intp]]:
    """Return, for each split, (n,) the picture that each of its images shows: the same integer in all splits.

    Args:
        splits: With names of their own.
        stores: The decoded pixels of their folders.
    """
    parts = list(splits)
    bad = [np.isin(part.indices, list(stores[part.folder].bad)) for part in parts]
    digests = [stores[part.folder].digests[part.indices] for part in parts]
    pictures = find_equal_pictures(np.concatenate(digests), ~np.concatenate(bad))
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return dict(zip((part.name for part in parts), np.split(pictures, ends), strict=True))
