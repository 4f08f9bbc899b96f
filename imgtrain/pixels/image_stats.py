"""Measure an image while it is decoded: its hash, thumbnail, border and other statistics.

The pixels are read once. Pillow stores color pixels as four bytes, the last of which is alpha or undefined. They are
copied in stripes that fit into the processor's cache.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "IMAGE_STATS",
    "SMALL_SIDE",
    "ImageStats",
    "PixelSummary",
    "measure_image_stats",
    "summarize_pixels",
]

SMALL_SIDE = 16

_STRIPE_PIXELS = 1 << 18
_OPAQUE = np.frombuffer(b"\0\0\0\xff", np.uint32)
# Pixels are first summed in blocks; the minimum number of blocks across each pixel of the thumbnail.
_BLOCKS = 2
# Sums of more values up to 255 don't fit into 16 bits.
_MOST_16_BIT_ROWS = 257


@dataclass(frozen=True, slots=True, eq=False)
class PixelSummary:
    """The summary of an image.

    Attributes:
        digest: 16-byte hash (XXH3, 128 bits) of its size and its pixels in 8-bit RGBA.
        small: (SMALL_SIDE, SMALL_SIDE, 3) float32 in [0, 255]: RGB thumbnail with triangle filtering, as in Pillow's
            bilinear reduction.
        border: (n, 3) uint8 RGB of the outermost pixels; the corners are included twice.
        hidden_colors: Whether its completely transparent pixels have several colors.
    """

    digest: bytes
    small: NDArray[np.float32]
    border: NDArray[np.uint8]
    hidden_colors: bool


def summarize_pixels(picture: Image.Image) -> PixelSummary:
    """Summarize an image.

    Args:
        picture: 8-bit RGB or RGBA.
    """
    width, height = picture.size
    block_height, block_width = (max(1, side // (_BLOCKS * SMALL_SIDE)) for side in (height, width))
    down, across = math.ceil(height / block_height), math.ceil(width / block_width)
    hasher = xxhash.xxh3_128(f"{width}x{height}".encode())
    strips = np.zeros((down, across * block_width * 4), np.float32)
    edges: list[NDArray[np.uint8]] = []
    hidden: set[int] = set()
    top = 0
    for stripe in _stripes(picture, block_height):
        hasher.update(stripe.data)
        if picture.mode == "RGBA" and len(hidden) < 2:
            hidden |= _extremes_of_hidden(stripe)
        for sums in _add_rows(stripe, block_height):
            strips[top : top + len(sums), : width * 4] = sums
            top += len(sums)
        # Copies, because views would keep the whole stripe alive.
        edges += [stripe[:, 0].copy(), stripe[:, -1].copy()]
        if len(edges) == 2:
            edges.append(stripe[0].copy())
    edges.append(stripe[-1])
    one_color = np.tile(np.eye(4, dtype=np.float32), (block_width, 1))
    blocks = strips.reshape(down * across, block_width * 4) @ one_color
    rows = _shares(height, block_height) @ blocks.reshape(down, across * 4)
    small = _shares(width, block_width) @ rows.reshape(SMALL_SIDE, across, 4)
    return PixelSummary(hasher.digest(), small[..., :3], np.concatenate(edges)[:, :3], len(hidden) > 1)


def _stripes(picture: Image.Image, multiple: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the rows from the top, (n, width, 4) RGBA; n is a multiple of `multiple` except for the last."""
    width, height = picture.size
    rows = max(1, _STRIPE_PIXELS // width // multiple) * multiple
    rgb = picture.mode == "RGB"
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        part = picture if rows >= height else picture.crop((0, top, width, bottom))
        stripe = np.frombuffer(part.tobytes("raw", "RGBX" if rgb else "RGBA"), np.uint32)
        if rgb:
            stripe = stripe | _OPAQUE
        yield stripe.view(np.uint8).reshape(bottom - top, width, 4)


def _extremes_of_hidden(stripe: NDArray[np.uint8]) -> set[int]:
    """Return the lowest and highest value of the completely transparent pixels, which are one if all are the same."""
    hidden = stripe.view(np.uint32)[stripe[..., 3:] == 0]
    return {int(hidden.min()), int(hidden.max())} if hidden.size else set()


def _add_rows(stripe: NDArray[np.uint8], count: int) -> Iterator[NDArray[np.unsignedinteger]]:
    """Yield the sums of every `count` rows, (n // count, width · 4), and of the remaining rows, (1, …)."""
    dtype = np.uint16 if count <= _MOST_16_BIT_ROWS else np.uint32
    rows = stripe.reshape(len(stripe), -1)
    whole = len(rows) // count * count
    yield rows[:whole].reshape(whole // count, count, rows.shape[1]).sum(1, dtype=dtype)
    if whole < len(rows):
        yield rows[whole:].sum(0, keepdims=True, dtype=dtype)


@functools.lru_cache(maxsize=32)
def _shares(length: int, block: int) -> NDArray[np.float32]:
    """Return the weight of each block for each pixel of the thumbnail: (SMALL_SIDE, ceil(length / block))."""
    blocks = length / block
    scale = blocks / SMALL_SIDE
    middles = (np.arange(SMALL_SIDE) + 0.5) * scale
    starts = np.arange(math.ceil(blocks))
    distances = np.abs(starts + 0.5 - middles[:, None]) / max(1.0, scale)
    pixels = np.minimum(block, length - starts * block)
    weights = np.maximum(0, 1 - distances)
    shares: NDArray[np.float64] = weights / weights.sum(1, keepdims=True) / pixels
    return shares.astype(np.float32)


IMAGE_STATS = np.dtype(
    [
        ("format", "S8"),  # Pillow's name of the file format: JPEG, PNG …
        ("mode", "S8"),  # Pillow's name of the color mode in the file: RGB, L, P, CMYK …
        ("transparent", "?"),  # whether it may have transparent pixels
        ("hidden_colors", "?"),  # whether its completely transparent pixels have several colors
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
    stats["hidden_colors"] = summary.hidden_colors
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
