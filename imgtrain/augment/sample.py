"""All random numbers of the augmentation, before any pixel is touched: one set of parameters per image drawn.

The ranges and their meanings are those of Keras's `ImageDataGenerator.get_random_transform`, with two
differences: width is horizontal and height vertical (Keras exchanges them), and whether a shift is a fraction
or pixels depends on its size alone (see `check_shift_ranges`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.augment.random_streams import PHILOX_BLOCK, Stream, make_generator

if TYPE_CHECKING:
    from imgtrain.config.schema import AugmentationConfig

__all__ = ["PARAMS_DTYPE", "epoch_order", "make_identity_params", "sample_params"]

PARAMS_DTYPE = np.dtype(
    [
        ("theta_degrees", np.float64),  # positive turns the picture counter-clockwise
        ("shift_x_pixels", np.float64),  # where a pixel is fetched: positive moves the picture to the left
        ("shift_y_pixels", np.float64),  # positive moves the picture up
        ("shear_degrees", np.float64),
        ("zoom_x", np.float64),  # below 1 magnifies
        ("zoom_y", np.float64),
        ("flip_horizontal", np.bool_),
        ("flip_vertical", np.bool_),
        ("channel_shift", np.float64),  # added to pixel values 0-255
        ("brightness", np.float64),  # factor on pixel values
    ]
)
"""The augmentation parameters of one image."""


class _Column(IntEnum):
    """Which uniform number of a stream index belongs to which option, so that no option changes another's numbers."""

    THETA = 0
    SHIFT_X = 1
    SHIFT_X_SIGN = 2
    SHIFT_Y = 3
    SHIFT_Y_SIGN = 4
    SHEAR = 5
    ZOOM_X = 6
    ZOOM_Y = 7
    FLIP_HORIZONTAL = 8
    FLIP_VERTICAL = 9
    CHANNEL_SHIFT = 10
    BRIGHTNESS = 11


# Four columns are free for options to come: another count would change the numbers of every stream index but one.
_UNIFORMS_PER_INDEX = 16
_BLOCKS_PER_INDEX = _UNIFORMS_PER_INDEX // PHILOX_BLOCK


def epoch_order(*, seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    """Return the numbers 0 to `count` - 1, shape (count,), in the random order of this epoch."""
    return make_generator(Stream.ORDER, seed=seed, epoch=epoch).permutation(count)


def make_identity_params(count: int) -> NDArray[Any]:
    """Return the parameters of `count` images that stay as they are: dtype `PARAMS_DTYPE`, shape (count,)."""
    params = np.zeros(count, PARAMS_DTYPE)
    for factor in ("zoom_x", "zoom_y", "brightness"):
        params[factor] = 1.0
    return params


def sample_params(
    augmentation: AugmentationConfig,
    *,
    seed: int,
    epoch: int,
    stream_indices: NDArray[np.intp],
    height: int,
    width: int,
) -> NDArray[Any]:
    """Draw what happens to some images in one epoch.

    The parameters of an image depend on its stream index and the other arguments, not on which other images are
    asked for.

    Args:
        augmentation: The ranges.
        seed: From 0 to 2**64 - 1.
        epoch: From 0.
        stream_indices: Which part of the epoch's random stream each image takes, from 0, in any order, shape (k,).
        height: Of the images, in pixels; shifts may be fractions of it.
        width: Of the images, in pixels.

    Returns:
        Array of dtype `PARAMS_DTYPE`, shape (k,).
    """
    params = make_identity_params(len(stream_indices))
    if augmentation.changes_nothing:
        return params
    uniforms = _draw_uniforms(stream_indices, seed=seed, epoch=epoch).T
    if augmentation.rotation_range:
        params["theta_degrees"] = _spread(uniforms[_Column.THETA], augmentation.rotation_range)
    params["shift_x_pixels"] = _shifts_pixels(
        augmentation.width_shift_range, width, uniforms[_Column.SHIFT_X], uniforms[_Column.SHIFT_X_SIGN]
    )
    params["shift_y_pixels"] = _shifts_pixels(
        augmentation.height_shift_range, height, uniforms[_Column.SHIFT_Y], uniforms[_Column.SHIFT_Y_SIGN]
    )
    if augmentation.shear_range:
        params["shear_degrees"] = _spread(uniforms[_Column.SHEAR], augmentation.shear_range)
    zoom = augmentation.zoom_range
    low, high = zoom if isinstance(zoom, tuple) else (1 - zoom, 1 + zoom)
    params["zoom_x"] = _between(uniforms[_Column.ZOOM_X], low, high)
    params["zoom_y"] = _between(uniforms[_Column.ZOOM_Y], low, high)
    if augmentation.horizontal_flip:
        params["flip_horizontal"] = uniforms[_Column.FLIP_HORIZONTAL] < 0.5
    if augmentation.vertical_flip:
        params["flip_vertical"] = uniforms[_Column.FLIP_VERTICAL] < 0.5
    if augmentation.channel_shift_range:
        params["channel_shift"] = _spread(uniforms[_Column.CHANNEL_SHIFT], augmentation.channel_shift_range)
    if augmentation.brightness_range is not None:
        params["brightness"] = _between(uniforms[_Column.BRIGHTNESS], *augmentation.brightness_range)
    return params


def _draw_uniforms(stream_indices: NDArray[np.intp], *, seed: int, epoch: int) -> NDArray[np.float64]:
    """Return the uniform numbers in [0, 1) that belong to each stream index, shape (k, _UNIFORMS_PER_INDEX)."""
    generator = make_generator(Stream.AUGMENTATION, seed=seed, epoch=epoch)
    philox: Any = generator.bit_generator
    uniforms = np.empty((len(stream_indices), _UNIFORMS_PER_INDEX))
    next_index = 0
    for numbers, stream_index in zip(uniforms, stream_indices.tolist(), strict=True):
        # Jumping is cheap, forwards and (modulo the counter's period) backwards.
        philox.advance((stream_index - next_index) * _BLOCKS_PER_INDEX)
        generator.random(out=numbers)
        next_index = stream_index + 1
    return uniforms


def _between(uniforms: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return low + (high - low) * uniforms


def _spread(uniforms: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    return _between(uniforms, -limit, limit)


def _shifts_pixels(
    given: float | Sequence[float],
    side_pixels: int,
    uniforms: NDArray[np.float64],
    sign_uniforms: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Turn uniform numbers, shape (k,), into shifts along a side of the image, shape (k,)."""
    sizes = np.atleast_1d(np.asarray(given, np.float64))
    sizes_pixels = np.where(np.abs(sizes) < 1, sizes * side_pixels, sizes)
    if isinstance(given, Sequence):
        chosen = sizes_pixels[(uniforms * len(sizes)).astype(np.intp)]
        return np.where(sign_uniforms < 0.5, -chosen, chosen)
    return _spread(uniforms, sizes_pixels[0])
