"""Color operations on one uint8 image, in place.

Names and formulas are those of Pillow's `ImageEnhance` and `ImageOps`, which torchvision's transforms follow. Results
are rounded down, as in Pillow, except within a thousandth of the next level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "change_brightness",
    "change_contrast",
    "change_saturation",
    "equalize",
    "multiply_levels",
    "offsets_that_floor",
    "posterize",
    "remove_color",
    "rotate_hue",
    "shift_channels",
    "solarize",
    "stretch_contrast",
]

_LEVELS = np.arange(256, dtype=np.float32)
# ITU-R 601-2 luma, as in Pillow's conversion to "L".
_LUMA = np.array([0.299, 0.587, 0.114])
# Added before rounding to the nearest level.
_ROUND_DOWN = -0.5 + 1e-3
# Upper bound of float32 errors before rounding to a level.
_ROUNDING = 5e-5
_HUE_DEGREES = 360.0

Image = NDArray[np.uint8]
"""Shape (height, width, channels) with 1 or 3 channels, C-contiguous."""
Table = NDArray[np.uint8]
"""The new level for each level, shape (256,)."""


def change_brightness(image: Image, factor: float) -> None:
    """Multiply all levels by a factor ≥ 0."""
    cv2.convertScaleAbs(image, dst=image, alpha=factor, beta=_ROUND_DOWN)


def change_contrast(image: Image, factor: float) -> None:
    """Scale the distance of all levels from the mean gray level of the image, an integer, by a factor ≥ 0."""
    means = cv2.mean(image)
    gray = int((means[0] if _is_gray(image) else float(_LUMA @ means[:3])) + 0.5)
    offset = (1 - factor) * gray + _ROUND_DOWN
    if factor <= 1:
        cv2.convertScaleAbs(image, dst=image, alpha=factor, beta=offset)
    else:  # convertScaleAbs would return the absolute value of negative sums
        cv2.addWeighted(image, factor, image, 0, offset, dst=image)


def change_saturation(image: Image, factor: float) -> None:
    """Scale the distance of every pixel from its own gray level by a factor ≥ 0; no effect on gray images."""
    if _is_gray(image):
        return
    matrix = np.full((3, 4), _ROUND_DOWN)
    matrix[:, :3] = factor * np.eye(3) + (1 - factor) * _LUMA
    cv2.transform(image, matrix, dst=image)


def rotate_hue(image: Image, turns: float) -> None:
    """Rotate the hue by a fraction of the color circle, in HSV with float32; no effect on gray images."""
    if _is_gray(image):
        return
    colors = image.astype(np.float32)
    # Hue and saturation don't depend on the scale of the value.
    cv2.cvtColor(colors, cv2.COLOR_RGB2HSV, dst=colors)
    hue = colors[..., 0]
    hue += np.float32(_HUE_DEGREES * (turns % 1))  # OpenCV accepts 0 to 720 degrees
    cv2.cvtColor(colors, cv2.COLOR_HSV2RGB, dst=colors)
    cv2.convertScaleAbs(colors, dst=image)


def remove_color(image: Image) -> None:
    """Replace all channels by the gray level."""
    if not _is_gray(image):
        cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB, dst=image)


def posterize(image: Image, bits: int) -> None:
    """Keep the highest bits of every level, 0 to 8."""
    np.bitwise_and(image, np.uint8(0xFF << (8 - bits) & 0xFF), out=image)


def solarize(image: Image, threshold: float) -> None:
    """Invert all levels ≥ threshold."""
    cv2.LUT(image, _as_table(np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS)), dst=image)


def stretch_contrast(image: Image) -> None:
    """Map the darkest level of each channel to 0 and the brightest to 255, as `ImageOps.autocontrast`."""
    _map_channels(image, _stretching_table)


def equalize(image: Image) -> None:
    """Make the histogram of each channel as flat as possible, as `ImageOps.equalize`."""
    _map_channels(image, _equalizing_table)


def shift_channels(image: Image, shift: float, *, rounds: bool) -> None:
    """Add a number to all levels, clipped to the minimum and maximum of the image.

    Args:
        image: With any number of channels.
        shift: The number to add.
        rounds: Whether to round to the nearest level; otherwise down, as in Keras if a brightness change follows.
    """
    low, high, *_ = cv2.minMaxLoc(image.reshape(len(image), -1))
    levels = np.clip(_LEVELS + np.float32(shift), low, high)
    cv2.LUT(image, _as_table(np.rint(levels) if rounds else levels), dst=image)


def multiply_levels(image: Image, factor: float, *, offset: float) -> None:
    """Multiply all levels by a factor and round down exactly, as Keras's `brightness_range`.

    Args:
        image: With 1 or 3 channels.
        factor: ≥ 0.
        offset: As returned by `offsets_that_floor`.
    """
    if offset:
        cv2.convertScaleAbs(image, dst=image, alpha=factor, beta=offset)
    else:
        cv2.LUT(image, _as_table(np.minimum(_LEVELS * np.float32(factor), 255)), dst=image)


def offsets_that_floor(factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the offset to add to level × factor so that rounding to the nearest integer rounds down.

    It is between -0.5 and -0.5 plus the smallest distance to the next integer, over all levels.

    Args:
        factors: Shape (k,).

    Returns:
        Shape (k,); 0 if there is no such offset.
    """
    # Values ≥ 255 are clipped in any case.
    products = np.minimum(_LEVELS * factors.astype(np.float32)[:, None], 255)
    room = 1 - (products - np.floor(products)).max(axis=1)
    return np.where(room > 2 * _ROUNDING, room / 2 - 0.5, 0.0)


def _is_gray(image: Image) -> bool:
    return bool(image.shape[2] == 1)


def _map_channels(image: Image, make_table: Callable[[Image], Table]) -> None:
    """Map the levels of every channel with a table computed from it."""
    planes: Sequence[Any] = cv2.split(image)
    for plane in planes:
        cv2.LUT(plane, make_table(plane), dst=plane)
    cv2.merge(planes, image)


def _stretching_table(plane: NDArray[np.uint8]) -> Table:
    low, high, *_ = cv2.minMaxLoc(plane)
    scale = 255.0 / (high - low) if high > low else 1.0
    offset = -low * scale if high > low else 0.0
    return _as_table(np.clip(np.arange(256) * scale + offset, 0, 255))


def _equalizing_table(plane: NDArray[np.uint8]) -> Table:
    counts = cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    step = int(plane.size - counts[counts.nonzero()[0][-1]]) // 255
    if not step:
        return np.arange(256, dtype=np.uint8)
    below = np.cumsum(counts) - counts
    return _as_table(np.minimum((step // 2 + below) // step, 255))


def _as_table(levels: NDArray[Any]) -> Table:
    """Round 256 levels from 0 to 255 down."""
    table: Table = levels.astype(np.uint8)
    return table
