"""Validation images drawn from the training images, so that no picture and no group is on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.groups import join_groups
from imgtrain.dataset.index import read_only
from imgtrain.dataset.split import Split, Splits, name_classes
from imgtrain.dataset.stratified_group_split import stratified_group_split
from imgtrain.errors import DataError, Problem

__all__ = ["draw_validation"]


def draw_validation(splits: Splits, pictures: NDArray[np.intp] | None = None) -> Splits:
    """Draw the validation images as `splits.holdout` says; without it, return the splits as they are.

    Args:
        splits: Not drawn yet.
        pictures: (n,) the picture that each training image shows: the same integer for equal pixels. None takes
            every image for another picture, which gives the same draw if that is true.

    Returns:
        The splits, with a warning more for classes without a validation image.

    Raises:
        DataError: No image can be held out.
    """
    train, holdout = splits.train, splits.holdout
    if holdout is None:
        return splits
    unit, groups = "image", holdout.groups
    if pictures is not None and len(np.unique(pictures)) < len(pictures):
        unit, groups = "picture", pictures if groups is None else join_groups(groups, pictures)
    if holdout.groups is not None:
        unit = "group"
    held = stratified_group_split(train.labels, groups, holdout.share, holdout.seed)
    if not held.any():
        raise DataError(Problem(holdout.where, f"no image can be held out: every class has only one {unit}"))
    validation = Split("validation", train.folder, read_only(train.indices[held]))
    missing = [
        name for name, images in zip(train.class_names, validation.counts(), strict=True) if not images
    ]
    warnings = splits.warnings
    if missing:
        why = f"too few {unit}s to hold one out of training"
        warnings = (*warnings, f"no validation image of {name_classes(missing)}: {why}")
    return replace(
        splits,
        train=Split("train", train.folder, read_only(train.indices[~held])),
        validation=validation,
        warnings=tuple(dict.fromkeys(warnings)),
    )
