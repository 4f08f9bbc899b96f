"""Which images are held out for validation: the pure function behind `validation_split`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["stratified_group_split"]

# Keeps the stream apart from every other that the same seed starts.
_STREAM = 0x53504C4954  # "SPLIT"
# Orders of the groups that are tried; the first that is this near to every class's share is taken.
_MOST_TRIES = 16
_NEAR_ENOUGH = 0.02


def stratified_group_split(
    labels: NDArray[np.integer], groups: NDArray[np.integer] | None, share: float, seed: int
) -> NDArray[np.bool_]:
    """Choose a share of every class at random, groups kept whole.

    Without groups, a class of n images gives the share of n, rounded, but at least 1 and at most n - 1; a
    class of one image gives none. With groups, whole groups are chosen so that every class comes near its
    share, gives at least one image where that is possible, and never its last.

    Args:
        labels: (n,) class of each image.
        groups: (n,) group of each image; None when every image stands for itself.
        share: 0 < share < 1.
        seed: The choice depends on nothing but the arguments.

    Returns:
        (n,), true for the images that are held out.
    """
    labels = np.asarray(labels)
    rng = np.random.default_rng([seed, _STREAM])
    if groups is None:
        return _hold_out_images(labels, share, rng)
    return _hold_out_groups(labels, np.asarray(groups), share, rng)


def _hold_out_images(
    labels: NDArray[np.integer], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        indices = np.flatnonzero(labels == label)
        wanted = min(max(int(share * len(indices) + 0.5), 1), len(indices) - 1)
        # Ordering uniform numbers, instead of `permutation`, whose stream NumPy may change between versions.
        held[indices[np.argsort(rng.random(len(indices)), kind="stable")[:wanted]]] = True
    return held


def _hold_out_groups(
    labels: NDArray[np.integer], groups: NDArray[np.integer], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    _, labels = np.unique(labels, return_inverse=True)
    _, groups = np.unique(groups, return_inverse=True)
    totals = np.bincount(labels)
    targets = share * totals
    near_enough = np.maximum(0.5, _NEAR_ENOUGH * targets)
    members = _count_labels(labels, groups)
    best, best_distance = np.zeros(len(members), bool), np.inf
    for _ in range(_MOST_TRIES):
        order = np.argsort(rng.random(len(members)), kind="stable").tolist()
        chosen, held = _choose_groups(members, totals.tolist(), targets.tolist(), order)
        distances = np.abs(held - targets)
        # A class without any held-out image is worse than all unevenness.
        distance = np.count_nonzero(held == 0) * len(labels) + float(np.sum(distances**2 / totals))
        if distance < best_distance:
            best, best_distance = chosen, distance
        if np.all(distances <= near_enough):
            break
    of_images: NDArray[np.bool_] = best[groups]
    return of_images


def _count_labels(labels: NDArray[np.integer], groups: NDArray[np.integer]) -> list[list[tuple[int, int]]]:
    """Return, for each group, (label, how many images) of the labels in it."""
    classes = int(labels.max(initial=0)) + 1
    pairs, counts = np.unique(groups.astype(np.int64) * classes + labels, return_counts=True)
    members: list[list[tuple[int, int]]] = [[] for _ in range(int(groups.max(initial=-1)) + 1)]
    for pair, images in zip(pairs.tolist(), counts.tolist(), strict=True):
        members[pair // classes].append((pair % classes, images))
    return members


def _choose_groups(
    members: list[list[tuple[int, int]]], totals: list[int], targets: list[float], order: list[int]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Take each group, in order, that brings the classes nearer to their targets.

    Returns:
        (groups,), true for those taken; and (classes,), how many images they have.
    """
    chosen = np.zeros(len(members), bool)
    held = [0] * len(totals)

    def growth(group: int) -> float:
        """How much the squared distance from the targets, relative to the class's size, grows."""
        return sum(
            images * (2 * (held[label] - targets[label]) + images) / totals[label]
            for label, images in members[group]
        )

    def leaves_some(group: int) -> bool:
        return all(held[label] + images < totals[label] for label, images in members[group])

    def take(group: int) -> None:
        chosen[group] = True
        for label, images in members[group]:
            held[label] += images

    for group in order:
        if growth(group) < 0 and leaves_some(group):
            take(group)
    # All groups of a class can be too large for it: then the one that does least harm.
    for missing in range(len(totals)):
        if held[missing] == 0:
            fitting = [
                group
                for group in order
                if leaves_some(group) and any(label == missing for label, _ in members[group])
            ]
            if fitting:
                take(min(fitting, key=growth))
    return chosen, np.array(held, np.int64)
