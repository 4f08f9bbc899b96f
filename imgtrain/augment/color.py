"""Color operations on one uint8 image, in place.

Names and formulas are those of Pillow's `ImageEnhance` and `ImageOps`, which torchvision's transforms follow; results
are rounded down, as in Pillow. Operations that map levels independently of position and channel are composed into a
table of 256 entries, which is applied when an operation needs the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageColors", "channel_shift_table", "offsets_that_floor"]

_LEVELS = np.arange(256, dtype=np.float32)
# ITU-R 601-2 luma, as in Pillow's conversion to "L".
_LUMA = np.array([0.299, 0.587, 0.114])
# Added before rounding to the nearest level: rounds down, unless the sum is within this of the next level.
_ROUND_DOWN = -0.5 + 1e-3
# Upper bound of float32 errors before rounding to a level.
_ROUNDING = 5e-5
_HUE_DEGREES = 360.0

Table = NDArray[np.uint8]


class ImageColors:
    """Applies a series of color operations to one image.

    Call `finish` after the last one. `change_saturation`, `rotate_hue` and `remove_color` have no effect on gray
    images.
    """

    def __init__(self, image: NDArray[np.uint8]) -> None:
        """Start with an image.

        Args:
            image: Shape (height, width, channels) with 1 or 3 channels, C-contiguous; modified in place.
        """
        self._image = image
        self._table: Table | None = None
        self._scale: tuple[float, float] | None = None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The image after all operations so far; can be modified in place."""
        self.finish()
        return self._image

    def finish(self) -> None:
        """Apply pending operations."""
        if self._table is not None:
            cv2.LUT(self._image, self._table, dst=self._image)
        elif self._scale is not None:
            factor, offset = self._scale
            cv2.convertScaleAbs(self._image, dst=self._image, alpha=factor, beta=offset)
        self._table = self._scale = None

    def map_levels(self, table: Table) -> None:
        """Replace every level by its entry in a table of shape (256,)."""
        if self._scale is not None:
            self._table, self._scale = _brightness_table(self._scale[0]), None
        self._table = table if self._table is None else table[self._table]

    def change_brightness(self, factor: float, *, offset: float = 0.0) -> None:
        """Multiply all levels by a factor.

        Args:
            factor: ≥ 0.
            offset: If not 0, the offset with which rounding to the nearest level rounds down.
        """
        if offset and self._table is None and self._scale is None:
            self._scale = (factor, offset)
        else:
            self.map_levels(_brightness_table(factor))

    def change_contrast(self, factor: float) -> None:
        """Scale the distance of all levels from the mean gray level of the image, an integer."""
        means = cv2.mean(self.pixels)
        gray = means[0] if self._is_gray else float(_LUMA @ means[:3])
        self.map_levels(_contrast_table(int(gray + 0.5), factor))

    def change_saturation(self, factor: float) -> None:
        """Scale the distance of every pixel from its own gray level."""
        if self._is_gray:
            return
        matrix = np.full((3, 4), _ROUND_DOWN)
        matrix[:, :3] = factor * np.eye(3) + (1 - factor) * _LUMA
        cv2.transform(self.pixels, matrix, dst=self._image)

    def rotate_hue(self, turns: float) -> None:
        """Rotate the hue of every pixel by a fraction of the color circle, in HSV with float32."""
        if self._is_gray:
            return
        colors = self.pixels * np.float32(1 / 255)
        cv2.cvtColor(colors, cv2.COLOR_RGB2HSV, dst=colors)
        hue = colors[..., 0]
        hue += np.float32(_HUE_DEGREES * (turns % 1))  # OpenCV accepts 0 to 720 degrees
        cv2.cvtColor(colors, cv2.COLOR_HSV2RGB, dst=colors)
        cv2.convertScaleAbs(colors, dst=self._image, alpha=255)

    def remove_color(self) -> None:
        """Replace all channels by the gray level."""
        if self._is_gray:
            return
        gray = cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY)
        cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB, dst=self._image)

    def posterize(self, bits: int) -> None:
        """Keep the highest bits of every level, 0 to 8."""
        self.map_levels(np.arange(256, dtype=np.uint8) & np.uint8(0xFF << (8 - bits) & 0xFF))

    def solarize(self, threshold: float) -> None:
        """Invert all levels ≥ threshold."""
        self.map_levels(_as_table(np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS)))

    def stretch_contrast(self) -> None:
        """Map the darkest level of each channel to 0 and the brightest to 255, as `ImageOps.autocontrast`."""
        self._map_channels(_stretching_table)

    def equalize(self) -> None:
        """Make the histogram of each channel as flat as possible, as `ImageOps.equalize`."""
        self._map_channels(_equalizing_table)

    @property
    def _is_gray(self) -> bool:
        return bool(self._image.shape[2] == 1)

    def _map_channels(self, make_table: Callable[[NDArray[np.uint8]], Table]) -> None:
        """Map the levels of every channel with a table computed from it."""
        planes: Sequence[Any] = cv2.split(self.pixels)
        for plane in planes:
            cv2.LUT(plane, make_table(plane), dst=plane)
        cv2.merge(planes, self._image)


def _brightness_table(factor: float) -> Table:
    """Return each level multiplied by a factor ≥ 0, shape (256,)."""
    return _as_table(np.minimum(_LEVELS * np.float32(factor), 255))


def channel_shift_table(shift: float, low: float, high: float, *, rounds: bool) -> Table:
    """Return each level plus a shift.

    Args:
        shift: The shift.
        low: Lower limit of the result.
        high: Upper limit of the result.
        rounds: Whether to round to the nearest level; otherwise rounds down, as Keras does before changing brightness.

    Returns:
        Shape (256,).
    """
    levels = np.clip(_LEVELS + np.float32(shift), low, high)
    return _as_table(np.rint(levels) if rounds else levels)


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


def _contrast_table(middle: int, factor: float) -> Table:
    levels = middle + np.float32(factor) * (_LEVELS - np.float32(middle))
    return _as_table(np.clip(levels, 0, 255))


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
