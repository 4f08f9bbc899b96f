"""Find duplicate images: identical pixels, or resized, recompressed and brightened copies.

Near duplicates are images whose 16×16 grayscale thumbnails correlate at `SAME` or more, ignoring overexposed pixels;
see `docs/check.md` for the measured recall and false positives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgtrain.audit.findings import Finding, Item, Severity
from imgtrain.audit.inventory import Inventory
from imgtrain.dataset.layout import count
from imgtrain.dataset.split import Splits
from imgtrain.pixels.leaks import Leak, describe_leak, find_equal_pictures, find_leaks

__all__ = ["Duplicates", "check_duplicates", "find_duplicates", "near_duplicate_pairs"]

SAME = 0.9975
"""Minimum correlation of the thumbnails of near duplicates. Over all pairs of two photo sets of 2,527 and 2,062 images,
different photos reach 0.9967; the least similar of 1,800 altered copies reaches 0.9977."""

# Before excluding overexposed pixels, a brightened copy may correlate slightly less.
_CANDIDATE = 0.985
_OVEREXPOSED = 245
# Minimum number of comparable pixels out of 256.
_FEWEST_PIXELS = 64
# Images with a lower standard deviation (of 0-255) have no structure to compare, such as empty walls.
_FLAT = 3.0
# Neighbors are searched in the leading principal components, where distances are never larger than in all.
_COMPONENTS = 16
_MOST_NEIGHBORS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """Groups of duplicate images.

    Attributes:
        exact: (n,) index of the first image with identical pixels; the image's own index if there is no earlier one.
        groups: (n,) index of the first image of the group of exact and near duplicates.
        near: (k, 2) pairs of near duplicates, each given by the first image with identical pixels.
    """

    exact: NDArray[np.intp]
    groups: NDArray[np.intp]
    near: NDArray[np.intp]


def find_duplicates(inventory: Inventory) -> Duplicates:
    """Compare all images with each other; images that cannot be decoded have no duplicates."""
    decoded = np.isin(np.arange(len(inventory)), inventory.decoded)
    exact = find_equal_pictures(inventory.digests, decoded)
    distinct = np.unique(exact[decoded])
    near = distinct[near_duplicate_pairs(inventory.stats["thumbnail"][distinct])]
    return Duplicates(exact, _connect(exact, near), near)


def near_duplicate_pairs(thumbnails: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the pairs of near-duplicate thumbnails.

    Args:
        thumbnails: (n, side, side), grayscale.

    Returns:
        (k, 2) sorted indices, the smaller one first. Among more than 16 duplicates, each is paired with the nearest.
    """
    values = thumbnails.reshape(len(thumbnails), np.prod(thumbnails.shape[1:])).astype(np.float32)
    spread = values.std(1)
    indices = np.flatnonzero(spread >= _FLAT)
    if len(indices) < 2:
        return np.empty((0, 2), np.intp)
    centered = values[indices] - values[indices].mean(1, keepdims=True)
    unit = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    pairs = _close_pairs(unit)
    left, right = values[indices[pairs[:, 0]]], values[indices[pairs[:, 1]]]
    return indices[pairs[_correlation(left, right) >= SAME]]


def _close_pairs(unit: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return (k, 2) candidate pairs of unit vectors, including all that correlate at `_CANDIDATE` or more."""
    from scipy.spatial import cKDTree

    _, axes = np.linalg.eigh(unit.T @ unit)
    projected = unit @ axes[:, -_COMPONENTS:]
    radius = float(np.sqrt(2 * (1 - _CANDIDATE)))
    neighbors = min(_MOST_NEIGHBORS + 1, len(unit))
    _, found = cKDTree(projected).query(projected, k=neighbors, distance_upper_bound=radius, workers=-1)
    found = found.reshape(len(unit), -1)
    left = np.repeat(np.arange(len(unit)), found.shape[1])
    right = found.ravel()
    kept = (right < len(unit)) & (left != right)
    pairs = np.sort(np.stack([left[kept], right[kept]], axis=1), axis=1)
    return np.unique(pairs, axis=0)


def _correlation(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the correlation of each pair of thumbnails over the pixels that are not overexposed in either."""
    used = (left < _OVEREXPOSED) & (right < _OVEREXPOSED)
    counted = used.sum(1, keepdims=True)
    weights = used / np.maximum(counted, 1)
    left = np.where(used, left - (left * weights).sum(1, keepdims=True), 0)
    right = np.where(used, right - (right * weights).sum(1, keepdims=True), 0)
    norm = np.sqrt((left**2).sum(1) * (right**2).sum(1))
    # The remaining pixels may have no structure to compare.
    structured = (counted[:, 0] >= _FEWEST_PIXELS) & (norm >= counted[:, 0] * _FLAT**2)
    return np.where(structured, (left * right).sum(1) / np.maximum(norm, 1e-6), 0)


def _connect(exact: NDArray[np.intp], near: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return (n,) the smallest index in the connected component of each image."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    indices = np.arange(len(exact))
    left, right = np.concatenate([indices, near[:, 0]]), np.concatenate([exact, near[:, 1]])
    links = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(exact), len(exact)))
    _, components = connected_components(links, directed=False)
    _, first = np.unique(components, return_index=True)
    smallest: NDArray[np.intp] = first[components]
    return smallest


def check_duplicates(
    inventory: Inventory, splits: Splits, copies: Duplicates, *, on_leak: str
) -> list[Finding]:
    """Return findings about duplicates: leaks between splits, label conflicts, and repeated images.

    Args:
        inventory: The images.
        splits: The splits of the images.
        copies: Result of `find_duplicates`.
        on_leak: As `data.on_leak`; determines the severity of leaks between training and test.
    """
    exact = _groups(copies.exact)
    near = [indices for indices in _groups(copies.groups) if len(np.unique(copies.exact[indices])) > 1]
    return [
        *_conflicts(inventory, exact, near),
        *_leaks(inventory, splits, copies, on_leak),
        *_repeats(inventory, exact, near),
    ]


def _groups(first: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return the indices of each group of at least two images, ordered by their first image."""
    order = np.argsort(first, kind="stable")
    _, starts = np.unique(first[order], return_index=True)
    return [indices for indices in np.split(order, starts[1:]) if len(indices) > 1]


def _conflicts(
    inventory: Inventory, exact: list[NDArray[np.intp]], near: list[NDArray[np.intp]]
) -> Iterator[Finding]:
    kinds: list[tuple[str, Severity, str, list[NDArray[np.intp]]]] = [
        ("label-conflict", "error", "identical pixels", exact),
        ("near-label-conflict", "warning", "nearly identical pixels", near),
    ]
    for code, severity, what, groups in kinds:
        found = [indices for indices in groups if len(np.unique(inventory.labels[indices])) > 1]
        if found:
            yield Finding(
                code,
                severity,
                f"{count(len(found), 'image')} with different labels but {what}",
                "at least one label is wrong, which affects training and scores",
                "keep each image only in the correct class",
                tuple(_item(inventory, indices) for indices in found),
            )


def _leaks(inventory: Inventory, splits: Splits, copies: Duplicates, on_leak: str) -> Iterator[Finding]:
    """Return findings about leaks of exact duplicates, as found by training, and of near duplicates."""
    exactly: dict[str, list[int]] = {}
    for leak in find_leaks(splits, _by_split(inventory, copies.exact)):
        leaked = inventory.indices_of(leak.split)[leak.samples]
        exactly.setdefault(leak.split, []).extend(leaked.tolist())
        severity: Severity = "error" if leak.source.decides and on_leak == "error" else "warning"
        yield _leak(inventory, leak, leaked, copies.exact, "leak", severity, drop=on_leak == "drop")
    for leak in find_leaks(splits, _by_split(inventory, copies.groups)):
        leaked = np.setdiff1d(inventory.indices_of(leak.split)[leak.samples], exactly.get(leak.split, []))
        if len(leaked):
            yield _leak(inventory, leak, leaked, copies.groups, "near-leak", "warning")
    for name, dropped in exactly.items():
        if on_leak == "drop" and len(dropped) == _decoded(inventory, name):
            yield Finding(
                "leak",
                "error",
                f"no {name} images remain: `data.on_leak: drop` drops all {len(dropped):,}",
                "`train` stops with this error",
                f"provide {name} images that are not training images, or no {name} images",
            )


def _by_split(inventory: Inventory, pictures: NDArray[np.intp]) -> dict[str, NDArray[np.intp]]:
    return {name: pictures[inventory.indices_of(name)] for name in inventory.split_names}


def _decoded(inventory: Inventory, split: str) -> int:
    return int(np.isin(inventory.indices_of(split), inventory.decoded).sum())


def _leak(
    inventory: Inventory,
    leak: Leak,
    leaked: NDArray[np.intp],
    pictures: NDArray[np.intp],
    code: str,
    severity: Severity,
    *,
    drop: bool = False,
) -> Finding:
    name = leak.split
    kind = "the same pixels" if code == "leak" else "nearly the same pixels"
    members = {int(pictures[indices[0]]): indices for indices in _groups(pictures)}
    harm = f"the {name} scores are too optimistic: " + (
        "the network was trained on these images"
        if "train" in leak.source.splits
        else "the best epoch was selected on these images"
    )
    remedy = (
        "use `imgtrain check --fix-split splits.csv` and `data.split_file: splits.csv`, or remove the duplicates from "
        "one of the splits"
    )
    if drop:
        harm = f"`train` drops them from the {name} images (`data.on_leak: drop`)"
        remedy = f"nothing to do if enough {name} images remain"
    elif code == "leak":
        remedy += f"; or set `data.on_leak: drop` to drop them from the {name} images"
    return Finding(
        code,
        severity,
        describe_leak(leak, len(leaked), _decoded(inventory, name), kind=kind),
        harm,
        remedy,
        tuple(_item(inventory, members[picture]) for picture in np.unique(pictures[leaked]).tolist()),
    )


def _repeats(
    inventory: Inventory, exact: list[NDArray[np.intp]], near: list[NDArray[np.intp]]
) -> Iterator[Finding]:
    for code, kind, groups in (
        ("duplicate", "the same pixels as another", exact),
        ("near-duplicate", "nearly the same pixels as another", near),
    ):
        found = [
            indices[inventory.splits[indices] == split]
            for indices in groups
            for split in range(len(inventory.split_names))
            # Duplicates with several labels are reported as conflicts.
            if (inventory.splits[indices] == split).sum() > 1
            and len(np.unique(inventory.labels[indices])) == 1
        ]
        if found:
            images = sum(len(indices) - 1 for indices in found)
            yield Finding(
                code,
                "warning" if code == "duplicate" else "note",
                f"{count(images, 'image')} with {kind} of the same split",
                "they count several times",
                "remove the duplicates, or write a split without them with `imgtrain check --fix-split`",
                tuple(_item(inventory, indices) for indices in found),
            )


def _item(inventory: Inventory, indices: NDArray[np.intp]) -> Item:
    classes = " / ".join(dict.fromkeys(inventory.class_names[label] for label in inventory.labels[indices]))
    return Item(tuple(inventory.paths[index] for index in indices), classes)
