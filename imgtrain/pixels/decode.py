"""The decoder, used everywhere: image files to uint8 pixels of one size and color mode.

The result equals Pillow's `open`, `exif_transpose`, `convert` and `resize`, pixel by pixel, except for grayscale of
more than 8 bits, which is scaled instead of clipped; see docs/decisions/0010-decoding.md.
"""

from __future__ import annotations

import errno
import functools
import io
import logging
import os
import re
import stat
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from imgtrain.pixels.image_stats import ImageStats, measure_image_stats, summarize_pixels
from imgtrain.run.system import open_binary
from imgtrain.text import printable

if TYPE_CHECKING:
    from imgtrain.config.schema import DataConfig
    from imgtrain.run.model_metadata import ModelMetadata

__all__ = [
    "DECODER_VERSION",
    "MOST_PIXELS",
    "MOST_PIXELS_ON_A_SIDE",
    "TOO_LARGE",
    "DecodeSettings",
    "DecodedImage",
    "UndecodableImage",
    "decode_image",
    "decode_pixels",
    "kind_of_reason",
]

DECODER_VERSION = 4
"""Incremented if the same file and settings give other pixels, hashes or statistics, so that caches are rebuilt."""

MOST_PIXELS = 178_956_970
"""Larger images are rejected before decoding; the same limit as Pillow's."""

MOST_PIXELS_ON_A_SIDE = 1_000_000
"""Longer images are rejected before decoding, as by libpng; resizing many million pixels by one takes gigabytes."""

TOO_LARGE = "too large"
"""Kind of the reason of images that exceed these limits."""

_EXIF_ORIENTATION = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MODES = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "L"}
_BLACK: dict[str, Any] = {"RGB": (0, 0, 0), "RGBA": (0, 0, 0, 255), "L": 0}
# Tried first, because almost all files have one of these formats.
_COMMON_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# EPS executes Ghostscript on the file's contents; the others contain no pixels.
_REFUSED_FORMATS = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})
_TIFF_BITS_PER_SAMPLE = 258

# Some Pillow modules also log the errors they raise; without a handler, Python would print them.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _NoPillowWarnings:
    """Suppresses Python warnings from Pillow's code while at least one thread decodes.

    `warnings.catch_warnings` replaces the list of filters of all threads, so it isn't thread-safe. Here the first
    thread adds one filter, and the last one removes it.
    """

    _filter: Any = ("ignore", None, Warning, re.compile(r"PIL\b"), 0)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads_inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._threads_inside += 1
            # Other code's catch_warnings may have replaced the list since the first thread entered.
            if self._filter not in warnings.filters:
                warnings.filters.insert(0, self._filter)  # type: ignore[attr-defined]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads_inside -= 1
            if not self._threads_inside and self._filter in warnings.filters:
                warnings.filters.remove(self._filter)  # type: ignore[attr-defined]


_NO_PILLOW_WARNINGS = _NoPillowWarnings()


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """The size and color mode to convert images to.

    Attributes:
        height: Pixels.
        width: Pixels.
        color_mode: `rgb`, `rgba` or `grayscale`.
        interpolation: `bilinear`, `nearest`, `bicubic`, `lanczos`, `box` or `hamming`, as in Pillow.
        resize: `stretch` ignores the aspect ratio, `crop` keeps it and crops the center, `pad` keeps it and pads with
            opaque black.
        background: (red, green, blue) in [0, 255] to blend transparent pixels with; None ignores transparency. Not
            used with `rgba`.
    """

    height: int
    width: int
    color_mode: str = "rgb"
    interpolation: str = "bilinear"
    resize: str = "stretch"
    background: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, data: DataConfig | ModelMetadata) -> DecodeSettings:
        """Return the settings of a configuration's `data` section, or of a model file."""
        height, width, _ = data.image_shape
        return cls(height, width, data.color_mode, data.interpolation, data.resize, data.background)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every decoded image."""
        return self.height, self.width, Image.getmodebands(_MODES[self.color_mode])


class UndecodableImage(Exception):  # noqa: N818 (it names the file's state; callers turn it into an error)
    """A file that Pillow cannot decode completely.

    Attributes:
        reason: A short description without the path: the kind, or the kind, a colon and details.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def kind_of_reason(reason: str) -> str:
    """Return the kind of an `UndecodableImage.reason`, such as `TOO_LARGE`."""
    return reason.split(":", maxsplit=1)[0]


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """A decoded image.

    Attributes:
        pixels: (height, width, channels) uint8, with the size and color mode of the settings.
        width: Width of the full-size image, after applying the EXIF orientation.
        height: Height of the full-size image, after applying the EXIF orientation.
        digest: 16-byte hash (XXH3, 128 bits) of the full-size upright image in 8-bit RGBA; the same for identical
            images, whatever the file format, target size or color mode.
        stats: Statistics of the full-size image and its file: a scalar of dtype `IMAGE_STATS`.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    digest: bytes
    stats: ImageStats


def decode_image(file: Path | str | BinaryIO, settings: DecodeSettings) -> DecodedImage:
    """Decode the first frame of a file, apply its EXIF orientation, and convert its size and color mode.

    Thread-safe.

    Args:
        file: A path, or a seekable binary stream, which is left open.
        settings: Size and color mode.

    Raises:
        UndecodableImage: The file cannot be decoded, for any reason.
    """
    if not isinstance(file, str | Path):
        return _decode_stream(file, settings)
    try:
        with _open_regular_file(file) as stream:
            return _decode_stream(stream, settings)
    except OSError as error:
        raise UndecodableImage(f"unreadable: {error.strerror or error}") from error


def decode_pixels(image: Image.Image, settings: DecodeSettings) -> NDArray[np.uint8]:
    """Convert an upright image to the color mode and size of the settings: (height, width, channels) uint8."""
    image = _to_8_bits(image)
    if settings.background is not None and settings.color_mode != "rgba" and image.has_transparency_data:
        image = _blend(image, settings.background)
    converted = _convert(image, _MODES[settings.color_mode])
    resized = _resize(converted, settings)
    return np.asarray(resized, np.uint8).reshape(settings.shape)


def _open_regular_file(path: Path | str) -> BinaryIO:
    # Without O_NONBLOCK, opening a pipe would wait for a writer forever.
    descriptor = open_binary(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        is_folder = stat.S_ISDIR(status.st_mode)
        raise UndecodableImage("a folder, not a file" if is_folder else "not a regular file")
    return os.fdopen(descriptor, "rb")


def _decode_stream(stream: BinaryIO, settings: DecodeSettings) -> DecodedImage:
    try:
        with _NO_PILLOW_WARNINGS, Image.open(stream, formats=_formats()) as image:
            _raise_if_huge(image)
            image.load()
            # `load` may have changed the size: in some files the header is wrong.
            _raise_if_huge(image)
            orientation = _orientation(image)
            transpose = _TRANSPOSES.get(orientation)
            upright = _to_8_bits(image)
            if transpose is not None:
                upright = upright.transpose(transpose)
            summary = summarize_pixels(_convert(upright, "RGBA" if upright.has_transparency_data else "RGB"))
            return DecodedImage(
                pixels=decode_pixels(upright, settings),
                width=upright.width,
                height=upright.height,
                digest=summary.digest,
                stats=measure_image_stats(image, summary, orientation=orientation),
            )
    except UndecodableImage:
        raise
    # Pillow raises many types of errors for corrupt files: ValueError, TypeError, KeyError, IndexError,
    # SyntaxError, EOFError, struct.error, AssertionError, MemoryError, RecursionError …
    except Exception as error:
        raise UndecodableImage(_reason(error, stream)) from error


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    others = [name for name in Image.ID if name not in _COMMON_FORMATS and name not in _REFUSED_FORMATS]
    return (*_COMMON_FORMATS, *others)


def _raise_if_huge(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise UndecodableImage(
            f"{TOO_LARGE}: {image.width:,} by {image.height:,} pixels, the limit is {MOST_PIXELS:,} in all"
        )
    if max(image.size) > MOST_PIXELS_ON_A_SIDE:
        raise UndecodableImage(
            f"{TOO_LARGE}: {image.width:,} by {image.height:,} pixels, the limit is {MOST_PIXELS_ON_A_SIDE:,} on a side"
        )


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    # Corrupt EXIF data doesn't invalidate the pixels.
    except Exception:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale grayscale of more than 8 bits to L; leave other modes unchanged.

    16-bit grayscale keeps its high byte, like Pillow's 16-bit color modes. 32-bit integers and floats, which have no
    defined white level, are normalized to the minimum and maximum of the image.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> (_gray_bits(image) - 8)).astype(np.uint8))
    if image.mode not in ("I", "F"):
        return image
    values = np.asarray(image)
    if image.mode == "I" and image.format == "PPM":  # Pillow scales any maximum to 65,535
        return Image.fromarray((values >> 8).astype(np.uint8))
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    values = np.clip(np.nan_to_num(values, nan=low), low, high)
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _gray_bits(image: Image.Image) -> int:
    bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (16,))[0]
    return bits if 8 < bits <= 16 else 16


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    if image.mode == "LAB" and mode == "L":  # the only pair that Pillow cannot convert directly
        image = image.convert("RGB")
    return image.convert(mode)


def _blend(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Return a transparent image on a background of one color, in RGB."""
    transparent = _convert(image, "RGBA")
    opaque = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(opaque, transparent).convert("RGB")


def _resize(image: Image.Image, settings: DecodeSettings) -> Image.Image:
    size = (settings.width, settings.height)
    resample = Image.Resampling[settings.interpolation.upper()]
    if settings.resize == "stretch":
        return image if image.size == size else image.resize(size, resample)
    if settings.resize == "crop":
        # The largest centered box with the target's aspect ratio; Pillow accepts fractions of pixels.
        scale = min(image.width / settings.width, image.height / settings.height)
        half_width, half_height = settings.width * scale / 2, settings.height * scale / 2
        across, down = image.width / 2, image.height / 2
        box = (
            max(0.0, across - half_width),
            max(0.0, down - half_height),
            min(float(image.width), across + half_width),
            min(float(image.height), down + half_height),
        )
        return image.resize(size, resample, box=box)
    scale = min(settings.width / image.width, settings.height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    padded = Image.new(image.mode, size, _BLACK[image.mode])
    padded.paste(
        image.resize(inner, resample), ((settings.width - inner[0]) // 2, (settings.height - inner[1]) // 2)
    )
    return padded


def _reason(error: Exception, stream: BinaryIO) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError):
        return f"{TOO_LARGE}: {error}"
    if isinstance(error, OSError) and error.errno in {errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE}:
        return f"unreadable: {error.strerror}"
    if isinstance(error, UnidentifiedImageError):
        return _explain_unidentified(stream)
    # Python's object representations (<_io.BufferedReader name='…'>) contain addresses or the path.
    message = printable(re.sub(r"<_io\.[^>]*>", "the file", str(error)).split("\n", 1)[0])[:200]
    if "truncated" in message.lower() or isinstance(error, EOFError):
        return f"truncated: {message or 'unexpected end of file'}"
    return f"corrupt: {message}" if message and isinstance(error, OSError) else _with_type(error, message)


def _with_type(error: Exception, message: str) -> str:
    return f"corrupt: {type(error).__name__}{f': {message}' if message else ''}"


def _explain_unidentified(stream: BinaryIO) -> str:
    try:
        stream.seek(0)
        start = stream.read(24)
    except (OSError, io.UnsupportedOperation):
        return "not an image"
    if not start:
        return "empty file"
    if start[4:8] == b"ftyp" and start[8:12] in {b"heic", b"heix", b"mif1", b"msf1"}:
        return "a HEIC image, which is not supported; save it as JPEG or PNG"
    return f"not an image, or its header is corrupt: starts with {start!r}"
