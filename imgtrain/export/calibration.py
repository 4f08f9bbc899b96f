"""Training images from which the ranges of quantized activations are measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imgtrain.pixels.load_images import SplitImages

__all__ = ["calibration_images"]

# Ranges change little beyond some hundred images; each costs a forward pass.
_IMAGES = 240


def calibration_images(train: SplitImages) -> NDArray[np.uint8]:
    """Return raw pixels (n, height, width, channels) of about as many training images of every class.

    Images are evenly spaced among those of their class, at least one for every class.
    """
    labels = train.split.labels
    classes = np.unique(labels)
    of_each = max(1, _IMAGES // len(classes))
    chosen = [
        of_class[np.linspace(0, len(of_class) - 1, min(of_each, len(of_class))).round().astype(np.intp)]
        for of_class in (np.flatnonzero(labels == label) for label in classes)
    ]
    return train.pixels.read(train.split.indices[np.concatenate(chosen)])
