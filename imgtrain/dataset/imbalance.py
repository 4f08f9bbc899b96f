"""Warn about classes with far fewer training images than others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.layout import count

__all__ = ["describe_imbalance"]

# From this ratio on, a network that never predicts the smallest class loses almost no accuracy. `imgtrain check` also
# reports smaller ones.
_RATIO = 10


def describe_imbalance(class_names: Sequence[str], counts: NDArray[np.integer]) -> str | None:
    """Return a warning if the largest class has ten times as many training images as the smallest, or more.

    Args:
        class_names: In label order.
        counts: Number of training images of each class, shape (classes,).
    """
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    if not 0 < _RATIO * counts[smallest] <= counts[largest]:
        return None
    return (
        f"the classes are imbalanced: {class_names[largest]} has {count(int(counts[largest]), 'training image')}, "
        f"{class_names[smallest]} only {counts[smallest]:,}; a network that never predicts {class_names[smallest]} can "
        "still have a high accuracy: set `training.class_weight: balanced` or `data.balance: oversample`, and compare "
        "macro F1"
    )
