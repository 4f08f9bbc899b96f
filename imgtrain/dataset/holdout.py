"""Draw validation images from the training images, without splitting duplicates or groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.groups import join_groups
from imgtrain.dataset.index import read_only
from imgtrain.dataset.split import Split, Splits, format_class_names
from imgtrain.dataset.stratified_split import stratified_group_split, stratified_split
from imgtrain.errors import DataError, Problem

__all__ = ["draw_validation"]


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
