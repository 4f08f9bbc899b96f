"""Propose a split without leaks, for `data.split_file`. No files are moved or changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imgtrain.audit.duplicates import Duplicates
from imgtrain.audit.inventory import Inventory
from imgtrain.dataset.groups import assign_groups, join_groups
from imgtrain.dataset.holdout import stratified_group_split
from imgtrain.run.run_directory import render_csv

__all__ = ["Proposal", "propose_split", "render_split_file"]

# Duplicates stay in the evaluation split, so that the test set doesn't change.
_KEPT_FIRST = ("test", "validation", "train")
_SHARE = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A proposed split.

    Attributes:
        splits: Name of the split, by image index; dropped images are missing.
        left_out: Indices of dropped images: not decodable, duplicates, or with several labels.
        drawn: Whether new splits were drawn because there was only one.
    """

    splits: dict[int, str]
    left_out: tuple[int, ...]
    drawn: bool


def propose_split(inventory: Inventory, copies: Duplicates, *, group_by: str | None, seed: int) -> Proposal:
    """Return splits that share no images, near duplicates or groups.

    Of images with identical pixels, one is kept. Near duplicates and groups stay in one split, preferably an
    evaluation split. Images with several labels are dropped, because the correct label is unknown. If there is only
    one split, a test and a validation split are drawn from it.

    Args:
        inventory: The images.
        copies: Result of `find_duplicates`.
        group_by: As `data.group_by`.
        seed: Random seed for drawing splits.
    """
    named = assign_groups(inventory.group_paths, group_by)
    groups = copies.groups if named is None else join_groups(copies.groups, named)
    kept = _without_conflicts(inventory, copies, inventory.decoded)
    drawn = len(inventory.split_names) == 1
    if drawn:
        kept = _first_of_equals(kept, copies)
        splits = _draw(inventory.labels[kept], groups[kept], seed)
        chosen = dict(zip(kept.tolist(), splits.tolist(), strict=True))
    else:
        chosen = _keep_where_scored(inventory, copies, kept, groups)
    left_out = sorted(set(range(len(inventory))) - set(chosen))
    return Proposal(chosen, tuple(left_out), drawn)


def render_split_file(inventory: Inventory, proposal: Proposal, train: Path) -> tuple[str, int]:
    """Return the CSV text, and the number of images whose names CSV cannot represent.

    Args:
        inventory: The images.
        proposal: Their splits.
        train: The folder `data.train`, to which relative paths are resolved first.
    """
    rows, unnameable = [], 0
    for index, split in sorted(proposal.splits.items()):
        path = os.path.relpath(inventory.file(index), train).replace(os.sep, "/")
        class_name = inventory.class_names[inventory.labels[index]]
        if _survives_csv(path) and _survives_csv(class_name):
            rows.append((path, split, class_name))
        else:
            unnameable += 1
    return render_csv(("path", "split", "class"), rows), unnameable


def _survives_csv(text: str) -> bool:
    """Return whether the name is unchanged after writing and reading: valid UTF-8, without surrounding spaces."""
    return (
        text == text.strip()
        and "\r" not in text
        and not any("\ud800" <= letter <= "\udfff" for letter in text)
    )


def _without_conflicts(
    inventory: Inventory, copies: Duplicates, indices: NDArray[np.intp]
) -> NDArray[np.intp]:
    _, groups = np.unique(copies.groups[indices], return_inverse=True)
    labels = inventory.labels[indices]
    lowest = np.full(len(indices), np.iinfo(labels.dtype).max)
    highest = np.full(len(indices), -1)
    np.minimum.at(lowest, groups, labels)
    np.maximum.at(highest, groups, labels)
    of_one_label: NDArray[np.bool_] = lowest[groups] == highest[groups]
    return indices[of_one_label]


def _first_of_equals(indices: NDArray[np.intp], copies: Duplicates) -> NDArray[np.intp]:
    _, first = np.unique(copies.exact[indices], return_index=True)
    return indices[np.sort(first)]


def _draw(labels: NDArray[np.int32], groups: NDArray[np.intp], seed: int) -> NDArray[np.str_]:
    splits = np.full(len(labels), "train", "U10")
    for name in ("test", "validation"):
        rest = np.flatnonzero(splits == "train")
        if len(rest):
            splits[rest[stratified_group_split(labels[rest], groups[rest], _SHARE, seed)]] = name
    return splits


def _keep_where_scored(
    inventory: Inventory, copies: Duplicates, indices: NDArray[np.intp], groups: NDArray[np.intp]
) -> dict[int, str]:
    chosen: dict[int, str] = {}
    for members in _members(indices, groups):
        names = [inventory.split_names[split] for split in inventory.splits[members]]
        split = next(name for name in _KEPT_FIRST if name in names)
        here = np.array([index for index, name in zip(members.tolist(), names, strict=True) if name == split])
        chosen |= dict.fromkeys(_first_of_equals(here, copies).tolist(), split)
    return chosen


def _members(indices: NDArray[np.intp], groups: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    order = indices[np.argsort(groups[indices], kind="stable")]
    _, starts = np.unique(groups[order], return_index=True)
    if len(order):
        yield from np.split(order, starts[1:])
