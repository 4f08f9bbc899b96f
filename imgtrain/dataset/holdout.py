"""Draw validation images from the training images, without splitting duplicates or groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.groups import join_groups
from imgtrain.dataset.index import read_only
from imgtrain.dataset.split import Split, Splits, format_class_names
from imgtrain.errors import DataError, Problem

__all__ = ["draw_validation", "stratified_group_split", "stratified_split"]


def draw_validation(splits: Splits, pictures: NDArray[np.intp] | None = None) -> Splits:
    """Draw the validation images according to `splits.holdout`; without it, return the splits unchanged.

    Args:
        splits: Splits without validation images.
        pictures: (n,) integer per training image, the same for identical pixels. None treats all images as distinct,
            which gives the same result if they are.

    Returns:
        The splits, with additional warnings for classes without validation images.

    Raises:
        DataError: No image can be held out.
    """
    train, holdout = splits.train, splits.holdout
    if holdout is None:
        return splits
    if pictures is None:
        pictures = np.arange(len(train))
    copies = len(np.unique(pictures)) < len(pictures)
    if holdout.groups is None:
        unit = "distinct image" if copies else "image"
        held = stratified_split(train.labels, pictures, holdout.share, holdout.seed)
    else:
        unit = "group"
        groups = join_groups(holdout.groups, pictures) if copies else holdout.groups
        held = stratified_group_split(train.labels, groups, holdout.share, holdout.seed)
    if not held.any():
        what = f"cannot hold out validation images: every class has only one {unit}"
        if unit == "distinct image":
            what += ", not counting images that are in several classes"
        raise DataError(Problem(holdout.where, what))
    validation = Split("validation", train.folder, read_only(train.indices[held]))
    missing = [
        name for name, images in zip(train.class_names, validation.counts(), strict=True) if not images
    ]
    warnings = splits.warnings
    if missing:
        why = f"too few {unit}s to hold one out"
        warnings = (*warnings, f"no validation images of {format_class_names(missing)}: {why}")
    return replace(
        splits,
        train=Split("train", train.folder, read_only(train.indices[~held])),
        validation=validation,
        warnings=tuple(dict.fromkeys(warnings)),
    )


# Separates the random stream from other streams with the same seed.
_STREAM = 0x53504C4954  # "SPLIT"
# Number of random group orders to try; the first one that comes this close to the fraction of every class is used.
_MOST_TRIES = 16
_NEAR_ENOUGH = 0.02


def stratified_split(
    labels: NDArray[np.integer], pictures: NDArray[np.integer], share: float, seed: int
) -> NDArray[np.bool_]:
    """Choose a random fraction of every class, keeping identical images together.

    The rounded fraction of each class is chosen, but at least 1 image and at most all but one, as closely as its
    duplicates allow; nothing is chosen from classes with a single distinct image. Images with several labels are
    never chosen. A few duplicates change the result by a few images only.

    Args:
        labels: (n,) class of each image.
        pictures: (n,) the same integer for identical images.
        share: 0 < fraction < 1.
        seed: Random seed; the result only depends on the arguments.

    Returns:
        (n,) boolean mask of the images to hold out.
    """
    labels, pictures = np.asarray(labels), np.asarray(pictures)
    rng = np.random.default_rng([seed, _STREAM])
    pairs = np.unique(np.stack([pictures, labels]), axis=1)
    several = pairs[0, 1:][pairs[0, 1:] == pairs[0, :-1]]
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        indices = np.flatnonzero(labels == label)
        wanted = min(max(int(share * len(indices) + 0.5), 1), len(indices) - 1)
        # Sorts uniform numbers instead of using `permutation`, whose stream may change between NumPy versions.
        order = indices[np.argsort(rng.random(len(indices)), kind="stable")]
        chosen = _choose_pictures(pictures[order], several, wanted)
        held[indices] = np.isin(pictures[indices], chosen)
    return held


def _choose_pictures(
    pictures: NDArray[np.integer], several: NDArray[np.integer], wanted: int
) -> list[np.integer]:
    """Choose pictures in order until the number of their images is as close as possible to `wanted`; never all.

    Args:
        pictures: (n,) picture of each image of a class, in random order.
        several: The pictures that must not be chosen.
        wanted: Number of images.
    """
    names, first, sizes = np.unique(pictures, return_index=True, return_counts=True)
    free = np.flatnonzero(~np.isin(names, several) & (sizes < len(pictures)))
    in_order = free[np.argsort(first[free])]
    chosen, images = [], 0
    for picture, size in zip(in_order.tolist(), sizes[in_order].tolist(), strict=True):
        # Only if this brings the number closer, and not all images are chosen.
        if 2 * (images - wanted) + size < 0 and images + size < len(pictures):
            chosen.append(picture)
            images += size
    if not chosen and len(in_order):
        chosen = [in_order[np.argmin(sizes[in_order])]]
    return list(names[chosen])


def stratified_group_split(
    labels: NDArray[np.integer], groups: NDArray[np.integer], share: float, seed: int
) -> NDArray[np.bool_]:
    """Choose a random fraction of every class, keeping groups together.

    Whole groups are chosen so that the fraction of every class is approximated, with at least one image if possible,
    and never all images.

    Args:
        labels: (n,) class of each image.
        groups: (n,) group of each image.
        share: 0 < fraction < 1.
        seed: Random seed; the result only depends on the arguments.

    Returns:
        (n,) boolean mask of the images to hold out.
    """
    rng = np.random.default_rng([seed, _STREAM])
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
        # Classes without held-out images are worse than any deviation from the fraction.
        distance = np.count_nonzero(held == 0) * len(labels) + float(np.sum(distances**2 / totals))
        if distance < best_distance:
            best, best_distance = chosen, distance
        if np.all(distances <= near_enough):
            break
    of_images: NDArray[np.bool_] = best[groups]
    return of_images


def _count_labels(labels: NDArray[np.integer], groups: NDArray[np.integer]) -> list[list[tuple[int, int]]]:
    """Return (label, number of images) of the labels in each group."""
    classes = int(labels.max(initial=0)) + 1
    pairs, counts = np.unique(groups.astype(np.int64) * classes + labels, return_counts=True)
    members: list[list[tuple[int, int]]] = [[] for _ in range(int(groups.max(initial=-1)) + 1)]
    for pair, images in zip(pairs.tolist(), counts.tolist(), strict=True):
        members[pair // classes].append((pair % classes, images))
    return members


def _choose_groups(
    members: list[list[tuple[int, int]]], totals: list[int], targets: list[float], order: list[int]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Choose greedily, in order, each group that brings the classes closer to their targets.

    Returns:
        (groups,) boolean mask of the chosen groups, and (classes,) their number of images.
    """
    chosen = np.zeros(len(members), bool)
    held = [0] * len(totals)

    def growth(group: int) -> float:
        """Return the increase of the squared distance from the targets, relative to the class sizes."""
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
    # If all groups of a class are too large, use the one with the smallest increase.
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
