"""Read the sizes of images from their headers, and choose `data.target_size: auto` from them."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgtrain.config.schema import Config
from imgtrain.dataset.index import ImageFolder
from imgtrain.dataset.recipe import choose_recipe
from imgtrain.dataset.split import Split

__all__ = ["ImageSizes", "choose_sizes", "read_sizes", "with_target_size"]

# Only headers are read; enough to know the sizes without making the user wait.
_SAMPLED_IMAGES = 200
_EXIF_ORIENTATION, _FIRST_SIDEWAYS = 0x0112, 5


@dataclass(frozen=True, slots=True)
class ImageSizes:
    """Properties of some images, from their headers.

    Attributes:
        sizes: (height, width) of each image, after applying the EXIF orientation; may be empty.
        gray: Whether all of them are grayscale.
        unreadable: Number of files that could not be opened.
    """

    sizes: Sequence[tuple[int, int]]
    gray: bool
    unreadable: int

    @property
    def equal(self) -> bool:
        """Whether all images have the same size."""
        return len(set(self.sizes)) == 1

    @property
    def typical(self) -> tuple[int, int]:
        """(height, width) of the images; square if they differ."""
        height = statistics.median_low([height for height, _ in self.sizes])
        width = statistics.median_low([width for _, width in self.sizes])
        return (height, width) if self.equal else (min(height, width),) * 2


def read_sizes(folder: ImageFolder, indices: NDArray[np.intp] | None = None) -> ImageSizes:
    """Read the headers of up to about 200 evenly spaced images of a folder, or of those with these indices."""
    indices = np.arange(len(folder)) if indices is None else indices
    chosen = indices[:: max(1, len(indices) // _SAMPLED_IMAGES)].tolist()
    sizes, gray = [], True
    for index in chosen:
        # Ignore Pillow's errors and warnings about corrupt headers; decoding will report the files.
        with (
            suppress(Exception),
            warnings.catch_warnings(action="ignore"),
            Image.open(folder.file(index)) as image,
        ):
            width, height = image.size
            if image.getexif().get(_EXIF_ORIENTATION, 1) >= _FIRST_SIDEWAYS:
                width, height = height, width
            sizes.append((height, width))
            gray = gray and image.mode in ("1", "L", "I;16", "I", "F")
    return ImageSizes(sizes, gray, len(chosen) - len(sizes))


def choose_sizes(train: Split, minutes: Sequence[float]) -> list[tuple[int, int]]:
    """Return the image size (height, width) for each time budget, as chosen by `imgtrain init`.

    Args:
        train: The training images, before validation images are drawn.
        minutes: Time budgets for training, > 0.
    """
    found = read_sizes(train.folder, train.indices)
    # Without a readable header, decoding will report the files.
    typical = found.typical if found.sizes else (256, 256)
    return [
        choose_recipe(len(train), typical, gray=found.gray, minutes=budget).target_size for budget in minutes
    ]


def with_target_size(config: Config, train: Split | None) -> Config:
    """Return the configuration with a size in place of `data.target_size: auto`: that of `imgtrain init`.

    Args:
        config: With `auto`, it must have `training.minutes`.
        train: The training images, before validation images are drawn; None if they are not known.
    """
    if config.data.target_size != "auto":
        return config
    size, minutes = (256, 256), config.training.minutes
    if train is not None and minutes is not None:
        size = choose_sizes(train, [minutes])[0]
    return config.model_copy(update={"data": config.data.model_copy(update={"target_size": size})})
