"""A table of all images of all splits, the input of all checks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.index import ImageFolder
from imgtrain.dataset.split import Split, Splits
from imgtrain.pixels.image_store import ImageStore

__all__ = ["Inventory", "take_inventory"]


@dataclass(frozen=True)
class Inventory:
    """The images of all splits, in the order train, validation, test; all arrays have shape (n,) or (n, …).

    Image indices are global: they count over all splits.

    Attributes:
        root: The folder that paths are relative to: the common parent of all splits.
        paths: Relative to `root`, with POSIX separators.
        group_paths: The paths in which `data.group_by` is searched: relative to their configured folder.
        split_names: The names of the splits.
        class_names: In label order.
        splits: Indices in `split_names`.
        labels: Indices in `class_names`.
        reasons: Why an image cannot be decoded, by image index.
        digests: (n, 16) hashes of the full-size images; 0 if not decodable.
        sizes: (n, 2) height and width of the upright full-size images; 0 if not decodable.
        stats: Image statistics of dtype `IMAGE_STATS`; 0 if not decodable.
    """

    root: Path
    paths: tuple[str, ...]
    group_paths: tuple[str, ...]
    split_names: tuple[str, ...]
    class_names: tuple[str, ...]
    splits: NDArray[np.intp]
    labels: NDArray[np.int32]
    reasons: Mapping[int, str]
    digests: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    stats: NDArray[np.void]

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def decoded(self) -> NDArray[np.intp]:
        """Sorted indices of the decodable images."""
        return np.setdiff1d(np.arange(len(self)), np.fromiter(self.reasons, np.intp, len(self.reasons)))

    def file(self, index: int) -> Path:
        """Return the absolute path of an image."""
        return self.root / self.paths[index]

    def indices_of(self, split: str) -> NDArray[np.intp]:
        """Return the image indices of a split; empty if there is no such split."""
        if split not in self.split_names:
            return np.array([], np.intp)
        return np.flatnonzero(self.splits == self.split_names.index(split))

    def counts(self, split: str) -> NDArray[np.int64]:
        """Return the number of images of each class in a split, shape (classes,)."""
        return np.bincount(self.labels[self.indices_of(split)], minlength=len(self.class_names)).astype(
            np.int64
        )


def take_inventory(splits: Splits, pixels: Mapping[ImageFolder, ImageStore]) -> Inventory:
    """Create the inventory.

    Args:
        splits: The images.
        pixels: The decoded images of each folder.
    """
    parts = list(splits)
    opened = [pixels[part.folder] for part in parts]
    root = Path(os.path.commonpath([part.folder.root for part in parts]))
    reasons: dict[int, str] = {}
    first = 0
    for part, decoded in zip(parts, opened, strict=True):
        reasons |= {
            first + position: decoded.bad[index]
            for position, index in enumerate(part.indices.tolist())
            if index in decoded.bad
        }
        first += len(part)
    return Inventory(
        root=root,
        paths=tuple(path for part in parts for path in _paths(part, root)),
        group_paths=tuple(path for part in parts for path in part.group_paths),
        split_names=tuple(part.name for part in parts),
        class_names=splits.class_names,
        splits=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        reasons=reasons,
        digests=_joined(parts, [decoded.digests for decoded in opened]),
        sizes=_joined(parts, [decoded.original_sizes for decoded in opened]),
        stats=_joined(parts, [decoded.stats for decoded in opened]),
    )


def _joined(parts: Sequence[Split], columns: Sequence[NDArray]) -> NDArray:  # type: ignore[type-arg]
    return np.concatenate([column[part.indices] for part, column in zip(parts, columns, strict=True)])


def _paths(part: Split, root: Path) -> list[str]:
    prefix = os.path.relpath(part.folder.root, root).replace(os.sep, "/")
    return [path if prefix == "." else f"{prefix}/{path}" for path in part.paths]
