"""Statistics of an image for the audit, computed while it is decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgtrain.pixels.pixel_summary import SMALL_SIDE, PixelSummary

__all__ = ["IMAGE_STATS", "ImageStats", "measure_image_stats"]

IMAGE_STATS = np.dtype(
    [
        ("format", "S8"),  # Pillow's name of the file format: JPEG, PNG …
        ("mode", "S8"),  # Pillow's name of the color mode in the file: RGB, L, P, CMYK …
        ("transparent", "?"),  # whether it may have transparent pixels
        ("orientation", "u1"),  # EXIF: 1 is upright, 2 to 8 are rotated or mirrored; 1 if missing
        ("animated", "?"),  # whether the file contains several frames
        ("color", "u1", (3,)),  # mean red, green and blue of the upright image
        ("border", "u1", (3,)),  # mean red, green and blue of its outermost pixels
        ("border_spread", "u1"),  # standard deviation of these, mean of the three channels
        ("thumbnail", "u1", (SMALL_SIDE, SMALL_SIDE)),  # the upright image in grayscale, averaged
    ]
)
"""The statistics of one image; all zero if it is not decodable."""

ImageStats = np.void

# Formats with several images that are not frames: sizes of an icon, depth maps of a photo.
_STILL_FORMATS = frozenset({"ICO", "ICNS", "MPO", "CUR"})
_RED_GREEN_BLUE = np.array([0.299, 0.587, 0.114], np.float32)


def measure_image_stats(source: Image.Image, summary: PixelSummary, *, orientation: int) -> ImageStats:
    """Return the statistics of an image.

    Args:
        source: The loaded image.
        summary: Summary of the upright image in 8 bits.
        orientation: The EXIF orientation.

    Returns:
        A scalar of dtype `IMAGE_STATS`.
    """
    border, border_spread = _mean_and_spread(summary.border)
    stats: Any = np.zeros((), IMAGE_STATS)
    stats["format"] = (source.format or "").encode("ascii", "replace")
    stats["mode"] = source.mode.encode("ascii", "replace")
    stats["transparent"] = source.has_transparency_data
    stats["orientation"] = orientation if 1 <= orientation <= 8 else 1
    stats["animated"] = _is_animated(source)
    stats["color"] = np.rint(summary.small.mean((0, 1)))
    stats["border"] = np.rint(border)
    stats["border_spread"] = np.rint(border_spread)
    stats["thumbnail"] = np.rint(summary.small @ _RED_GREEN_BLUE)
    return stats[()]  # type: ignore[no-any-return]


def _mean_and_spread(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float]:
    """Return the mean of (n, 3) pixels, (3,), and the standard deviation averaged over the channels."""
    # Matrix products, because NumPy's mean and std are slow for so few columns.
    values = pixels.astype(np.float64)
    equal_shares = np.full(len(values), 1 / len(values))
    mean = equal_shares @ values
    values -= mean
    np.square(values, out=values)
    return mean, float(np.sqrt(equal_shares @ values).mean())


def _is_animated(image: Image.Image) -> bool:
    try:
        return image.format not in _STILL_FORMATS and bool(getattr(image, "is_animated", False))
    # The first frame is valid even if others are corrupt.
    except Exception:
        return False
