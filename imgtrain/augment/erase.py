"""Random erasing: fill a rectangle of the image with noise.

Zhong et al., "Random Erasing Data Augmentation" (2017), variant RE-R, with torchvision's ranges of area and aspect
ratio (`RandomErasing`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.augment.random_streams import Stream, make_generator

__all__ = ["NOISE_BYTES", "choose_rectangles", "erase"]

NOISE_BYTES = 2**20
"""Size of the random noise that rectangles take a slice of."""

_AREA = (0.02, 0.33)  # share of the image
_RATIO = (0.3, 3.3)  # height / width


def choose_rectangles(uniforms: NDArray[np.float64], height: int, width: int) -> NDArray[np.intp]:
    """Convert uniform numbers to the rectangles to erase.

    torchvision resamples rectangles that are too large for the image; here, the ratio is drawn from those that fit.

    Args:
        uniforms: In [0, 1), shape (4, k): area, ratio, and position along both axes.
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        Left, top, right (exclusive) and bottom (exclusive), shape (4, k).
    """
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * uniforms[0]) * (height * width)
    low, high = (np.log(np.clip(limit, area / width**2, height**2 / area)) for limit in _RATIO)
    ratio = np.exp(low + (high - low) * uniforms[1])
    heights = np.clip(np.rint(np.sqrt(area * ratio)), 1, height).astype(np.intp)
    widths = np.clip(np.rint(np.sqrt(area / ratio)), 1, width).astype(np.intp)
    lefts = (uniforms[2] * (width - widths + 1)).astype(np.intp)
    tops = (uniforms[3] * (height - heights + 1)).astype(np.intp)
    return np.stack([lefts, tops, lefts + widths, tops + heights])


def erase(image: NDArray[np.uint8], rectangle: tuple[int, int, int, int], *, noise_start: int) -> None:
    """Fill a rectangle with uniform noise of all levels in all channels.

    Args:
        image: Shape (height, width, channels); modified in place.
        rectangle: Left, top, right (exclusive) and bottom (exclusive).
        noise_start: Offset of the noise, in [0, `NOISE_BYTES`).
    """
    left, top, right, bottom = rectangle
    part = image[top:bottom, left:right]
    noise = _noise()[noise_start : noise_start + part.size]
    if len(noise) < part.size:
        noise = np.resize(np.concatenate([noise, _noise()]), part.size)
    part[...] = noise.reshape(part.shape)


@cache
def _noise() -> NDArray[np.uint8]:
    """Return constant random bytes, shape (NOISE_BYTES,).

    Creating a generator for every rectangle would take longer than generating its noise.
    """
    philox: Any = make_generator(Stream.NOISE, seed=0, epoch=0).bit_generator
    noise: NDArray[np.uint8] = philox.random_raw(NOISE_BYTES // 8).astype("<u8").view(np.uint8)
    return noise
