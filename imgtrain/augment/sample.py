"""All random numbers of the augmentation, before any pixel is touched: one row of parameters per image drawn.

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

__all__ = ["ROW", "epoch_order", "make_identity_rows", "sample_rows"]

ROW = np.dtype(
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
"""What happens to one image."""


class _Column(IntEnum):
    """Which uniform number of a slot belongs to which option, so that no option changes another's numbers."""

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


# Four columns are free for options to come: another count would change the numbers of every slot but one.
_UNIFORMS_PER_SLOT = 16
_BLOCKS_PER_SLOT = _UNIFORMS_PER_SLOT // PHILOX_BLOCK


def epoch_order(*, seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    """Return the numbers 0 to `count` - 1, shape (count,), in the random order of this epoch."""
    return make_generator(Stream.ORDER, seed=seed, epoch=epoch).permutation(count)


def make_identity_rows(count: int) -> NDArray[Any]:
    """Return `count` rows of type `ROW` that change nothing."""
    rows = np.zeros(count, ROW)
    for factor in ("zoom_x", "zoom_y", "brightness"):
        rows[factor] = 1.0
    return rows


def sample_rows(
    augmentation: AugmentationConfig,
    *,
    seed: int,
    epoch: int,
    slots: NDArray[np.intp],
    height: int,
    width: int,
) -> NDArray[Any]:
    """Draw what happens to the images of some slots in one epoch.

    The row of a slot depends on its number and the other arguments, not on which other slots are asked for.

    Args:
        augmentation: The ranges.
        seed: From 0 to 2**64 - 1.
        epoch: From 0.
        slots: Numbers of the images drawn in this epoch, from 0, in any order, shape (k,).
        height: Of the images, in pixels; shifts may be fractions of it.
        width: Of the images, in pixels.

    Returns:
        Rows of type `ROW`, shape (k,).
    """
    rows = make_identity_rows(len(slots))
    if augmentation.changes_nothing:
        return rows
    uniforms = _draw_uniforms(slots, seed=seed, epoch=epoch).T
    if augmentation.rotation_range:
        rows["theta_degrees"] = _spread(uniforms[_Column.THETA], augmentation.rotation_range)
    rows["shift_x_pixels"] = _shifts_pixels(
        augmentation.width_shift_range, width, uniforms[_Column.SHIFT_X], uniforms[_Column.SHIFT_X_SIGN]
    )
    rows["shift_y_pixels"] = _shifts_pixels(
        augmentation.height_shift_range, height, uniforms[_Column.SHIFT_Y], uniforms[_Column.SHIFT_Y_SIGN]
    )
    if augmentation.shear_range:
        rows["shear_degrees"] = _spread(uniforms[_Column.SHEAR], augmentation.shear_range)
    zoom = augmentation.zoom_range
    low, high = zoom if isinstance(zoom, tuple) else (1 - zoom, 1 + zoom)
    rows["zoom_x"] = _between(uniforms[_Column.ZOOM_X], low, high)
    rows["zoom_y"] = _between(uniforms[_Column.ZOOM_Y], low, high)
    if augmentation.horizontal_flip:
        rows["flip_horizontal"] = uniforms[_Column.FLIP_HORIZONTAL] < 0.5
    if augmentation.vertical_flip:
        rows["flip_vertical"] = uniforms[_Column.FLIP_VERTICAL] < 0.5
    if augmentation.channel_shift_range:
        rows["channel_shift"] = _spread(uniforms[_Column.CHANNEL_SHIFT], augmentation.channel_shift_range)
    if augmentation.brightness_range is not None:
        rows["brightness"] = _between(uniforms[_Column.BRIGHTNESS], *augmentation.brightness_range)
    return rows


def _draw_uniforms(slots: NDArray[np.intp], *, seed: int, epoch: int) -> NDArray[np.float64]:
    """Return the uniform numbers in [0, 1) that belong to each slot, shape (k, _UNIFORMS_PER_SLOT)."""
    generator = make_generator(Stream.AUGMENTATION, seed=seed, epoch=epoch)
    philox: Any = generator.bit_generator
    uniforms = np.empty((len(slots), _UNIFORMS_PER_SLOT))
    position = 0
    for row, slot in zip(uniforms, slots.tolist(), strict=True):
        # Jumping is cheap, forwards and (modulo the counter's period) backwards.
        philox.advance((slot - position) * _BLOCKS_PER_SLOT)
        generator.random(out=row)
        position = slot + 1
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
