"""Find images with identical pixels at full size, in any file format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.index import ImageFolder
from imgtrain.dataset.split import Split
from imgtrain.pixels.image_store import ImageStore

__all__ = ["find_equal_pictures", "pictures_of_splits"]


def find_equal_pictures(digests: NDArray[np.uint8], decoded: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return (n,) index of the first image with identical pixels; the image's own index if there is no earlier one.

    Args:
        digests: (n, 16) hashes of the full-size images.
        decoded: (n,) whether the file is decodable; files that aren't have no duplicates.
    """
    first = np.arange(len(digests))
    indices = np.flatnonzero(decoded)
    # NumPy ignores trailing zeros of byte strings, which is harmless if all have the same length.
    texts = np.ascontiguousarray(digests[indices]).view(f"S{digests.shape[1]}").ravel()
    _, earliest, pictures = np.unique(texts, return_index=True, return_inverse=True)
    first[indices] = indices[earliest[pictures]]
    return first


def pictures_of_splits(
    splits: Iterable[Split], stores: Mapping[ImageFolder, ImageStore]
) -> dict[str, NDArray[np.intp]]:
    """Return, for each split, (n,) integer per image, the same for identical pixels in all splits.

    Args:
        splits: Splits with distinct names.
        stores: The decoded pixels of their folders.
    """
    parts = list(splits)
    bad = [np.isin(part.indices, list(stores[part.folder].bad)) for part in parts]
    digests = [stores[part.folder].digests[part.indices] for part in parts]
    pictures = find_equal_pictures(np.concatenate(digests), ~np.concatenate(bad))
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return dict(zip((part.name for part in parts), np.split(pictures, ends), strict=True))
