"""What a picture is like besides its pixels: what the audit compares, taken once, while the picture is decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["THUMBNAIL_SIDE", "TRAITS", "Traits", "measure_traits"]

THUMBNAIL_SIDE = 16

TRAITS = np.dtype(
    [
        ("format", "S8"),  # Pillow's name of the file format: JPEG, PNG …
        ("mode", "S8"),  # Pillow's name of the colour mode in the file: RGB, L, P, CMYK …
        ("transparent", "?"),  # whether a pixel may let the background through
        ("orientation", "u1"),  # EXIF: 1 is upright, 2 to 8 are turned or mirrored; 1 if not said
        ("animated", "?"),  # whether more than one picture is in the file
        ("colour", "u1", (3,)),  # mean red, green and blue of the upright picture
        ("border", "u1", (3,)),  # mean red, green and blue of its outermost pixels
        ("border_spread", "u1"),  # standard deviation of these, mean of the three channels
        ("thumbnail", "u1", (THUMBNAIL_SIDE, THUMBNAIL_SIDE)),  # the upright picture in grey, averaged
    ]
)
"""The traits of one picture; all zero where a file cannot be decoded."""

Traits = np.void

# Files of several pictures that no program plays: sizes of an icon, depth maps beside a photo.
_STILL_FORMATS = frozenset({"ICO", "ICNS", "MPO", "CUR"})
_RED_GREEN_BLUE = np.array([0.299, 0.587, 0.114], np.float32)


def measure_traits(source: Image.Image, upright: Image.Image, *, orientation: int) -> Traits:
    """Return the traits of a picture.

    Args:
        source: The opened file, loaded.
        upright: The same picture in 8 bits, turned.
        orientation: What EXIF says.

    Returns:
        A scalar of dtype `TRAITS`.
    """
    rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
    small = _shrink(rgb)
    edge = _edge(rgb)
    traits: Any = np.zeros((), TRAITS)
    traits["format"] = (source.format or "").encode("ascii", "replace")
    traits["mode"] = source.mode.encode("ascii", "replace")
    traits["transparent"] = source.has_transparency_data
    traits["orientation"] = orientation if 1 <= orientation <= 8 else 1
    traits["animated"] = _is_animated(source)
    traits["colour"] = np.rint(small.mean((0, 1)))
    traits["border"] = np.rint(edge.mean(0))
    traits["border_spread"] = np.rint(edge.std(0).mean())
    traits["thumbnail"] = np.rint(small @ _RED_GREEN_BLUE)
    return traits[()]  # type: ignore[no-any-return]


def _shrink(rgb: Image.Image) -> NDArray[np.float32]:
    """Return every pixel's share in a small picture, (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)."""
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.asarray(rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), np.float32)


def _edge(rgb: Image.Image) -> NDArray[np.float32]:
    """Return the outermost pixels, (n, 3)."""
    width, height = rgb.size
    boxes = [
        (0, 0, width, 1),
        (0, height - 1, width, height),
        (0, 0, 1, height),
        (width - 1, 0, width, height),
    ]
    strips = b"".join(rgb.crop(box).tobytes() for box in boxes)
    return np.frombuffer(strips, np.uint8).reshape(-1, 3).astype(np.float32)


def _is_animated(image: Image.Image) -> bool:
    try:
        return image.format not in _STILL_FORMATS and bool(getattr(image, "is_animated", False))
    # The picture itself is whole, whatever is wrong with those behind it.
    except Exception:
        return False
