"""Check the number of images per class and split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from imgtrain.audit.findings import Finding
from imgtrain.audit.inventory import Inventory
from imgtrain.dataset.layout import count, format_names

__all__ = ["check_classes"]

_UNBALANCED = 3
_FEW_TRAINING_IMAGES = 20
_FEW_SCORED_IMAGES = 5


def check_classes(inventory: Inventory, *, balanced: bool) -> Iterator[Finding]:
    """Yield findings about missing, small and imbalanced classes.

    Args:
        inventory: The images.
        balanced: Whether the configuration already weights or balances the classes.
    """
    names = np.array(inventory.class_names, object)
    for split in inventory.split_names:
        counts = inventory.counts(split)
        if missing := list(names[counts == 0]):
            yield Finding(
                "missing-class",
                "error" if split == "train" else "warning",
                f"no {split} images of {format_names(missing)}",
                "it cannot be learned" if split == "train" else "its scores are undefined",
                f"add {split} images of it, or exclude it with data.classes",
            )
        fewest = _FEW_TRAINING_IMAGES if split == "train" else _FEW_SCORED_IMAGES
        small = [
            f"{name} {number:,}"
            for name, number in zip(names, counts.tolist(), strict=True)
            if 0 < number < fewest
        ]
        if small:
            yield Finding(
                "small-class",
                "warning",
                f"{count(len(small), 'class')} with fewer than {fewest} {split} images: {format_names(small)}",
                "the network can learn little about them"
                if split == "train"
                else "a single image changes their scores by 20 % or more",
                "collect more images, or merge them with other classes",
            )
    counts = inventory.counts("train")
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    if not balanced and 0 < counts[smallest] * _UNBALANCED <= counts[largest]:
        yield Finding(
            "imbalance",
            "warning",
            f"{format_names([names[largest]])} has {counts[largest]:,} training images and "
            f"{format_names([names[smallest]])} only {counts[smallest]:,}",
            "a network that never predicts the small class can still have a high accuracy",
            "set `training.class_weight: balanced` or `data.balance: oversample`, and use macro F1",
        )
