"""Sample the augmentation parameters of images.

Ranges and meanings are those of Keras's `ImageDataGenerator.get_random_transform`, with two differences: width is
horizontal and height vertical (Keras swaps them), and whether a shift is a fraction or pixels only depends on its
value (see `check_shift_ranges`). Color jitter, grayscale, Gaussian blur and JPEG are those of torchvision
(`ColorJitter`, `RandomGrayscale`, `GaussianBlur`, `JPEG`). RandAugment, erasing and mixing have separate modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.augment.erase import NOISE_BYTES, choose_rectangles
from imgtrain.augment.randaugment import MOST_LAYERS, choose_operations
from imgtrain.augment.random_streams import Stream, draw_uniforms, make_generator

if TYPE_CHECKING:
    from imgtrain.config.schema import AugmentationConfig

__all__ = ["PARAMS_DTYPE", "epoch_order", "make_identity_params", "sample_params"]

PARAMS_DTYPE = np.dtype(
    [
        ("theta_degrees", np.float64),  # positive rotates counter-clockwise
        ("shift_x_pixels", np.float64),  # offset in the original: positive shifts the image to the left
        ("shift_y_pixels", np.float64),  # positive shifts the image up
        ("shear_degrees", np.float64),
        ("zoom_x", np.float64),  # < 1 zooms in
        ("zoom_y", np.float64),
        ("flip_horizontal", np.bool_),
        ("flip_vertical", np.bool_),
        ("channel_shift", np.float64),  # added to pixel values 0-255
        ("brightness", np.float64),  # factor on pixel values
        ("operations", np.uint8, (MOST_LAYERS,)),  # of RandAugment
        ("arguments", np.float64, (MOST_LAYERS,)),  # of these operations
        (
            "jitter_order",
            np.uint8,
        ),  # index of the order of brightness, contrast, saturation and hue, one of 24
        ("jitter", np.float64, (4,)),  # their factors, and the hue in turns
        ("grayscale", np.bool_),
        ("blur_sigma", np.float64),  # pixels
        ("jpeg_quality", np.uint8),  # 0 is no compression
        ("erase_box", np.intp, (4,)),  # left, top, right, bottom
        ("erase_noise", np.intp),  # where in `NOISE_BYTES` the noise begins
    ]
)
"""The augmentation parameters of one image; see the options of the same names."""


class _Column(IntEnum):
    """The numbers of `Stream.AUGMENTATION` used for each option; options don't affect each other's numbers."""

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


class _AppearanceColumn(IntEnum):
    """The same for `Stream.APPEARANCE`."""

    JITTER_ORDER = 0
    JITTER = 1  # to 4: brightness, contrast, saturation, hue
    GRAYSCALE = 5
    BLUR_SIGMA = 6
    JPEG_QUALITY = 7
    ERASING = 8
    ERASE_BOX = 9  # to 12
    ERASE_NOISE = 13


# Some numbers are reserved for future options, because changing the count would change all numbers.
_AUGMENTATION_NUMBERS = 16
_APPEARANCE_NUMBERS = 32
_JITTER_ORDERS = 24


def epoch_order(*, seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    """Return the numbers 0 to `count` - 1, shape (count,), in the random order of this epoch."""
    return make_generator(Stream.ORDER, seed=seed, epoch=epoch).permutation(count)


def make_identity_params(count: int) -> NDArray[Any]:
    """Return parameters that leave `count` images unchanged: dtype `PARAMS_DTYPE`, shape (count,)."""
    params = np.zeros(count, PARAMS_DTYPE)
    for factor in ("zoom_x", "zoom_y", "brightness"):
        params[factor] = 1.0
    params["jitter"][:, :3] = 1.0
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
    """Sample the parameters of images in one epoch.

    The parameters of an image only depend on its stream index and the other arguments, not on other images.

    Args:
        augmentation: The ranges.
        seed: From 0 to 2**64 - 1.
        epoch: From 0.
        stream_indices: The part of the epoch's random stream for each image, ≥ 0, in any order, shape (k,).
        height: Image height in pixels; shifts may be fractions of it.
        width: Image width in pixels.

    Returns:
        Array of dtype `PARAMS_DTYPE`, shape (k,).
    """
    params = make_identity_params(len(stream_indices))
    if augmentation.changes_nothing:
        return params
    drawn = partial(draw_uniforms, seed=seed, epoch=epoch, stream_indices=stream_indices)
    _set_geometry(
        params, drawn(Stream.AUGMENTATION, count=_AUGMENTATION_NUMBERS), augmentation, height, width
    )
    if randaugment := augmentation.randaugment:
        layers = drawn(Stream.RANDAUGMENT, count=2 * MOST_LAYERS).reshape(MOST_LAYERS, 2, -1)[
            : randaugment.layers
        ]
        operations, arguments = choose_operations(
            layers, magnitude=randaugment.magnitude, height=height, width=width
        )
        params["operations"][:, : randaugment.layers] = operations
        params["arguments"][:, : randaugment.layers] = arguments
    if _changes_appearance(augmentation):
        uniforms = drawn(Stream.APPEARANCE, count=_APPEARANCE_NUMBERS)
        _set_appearance(params, uniforms, augmentation, height, width)
    return params


def _set_geometry(
    params: NDArray[Any],
    uniforms: NDArray[np.float64],
    augmentation: AugmentationConfig,
    height: int,
    width: int,
) -> None:
    """Set the parameters of `ImageDataGenerator` from uniform numbers of shape (numbers, k)."""
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


def _changes_appearance(augmentation: AugmentationConfig) -> bool:
    return bool(
        augmentation.color_jitter
        or augmentation.grayscale
        or augmentation.gaussian_blur
        or augmentation.jpeg_quality
        or augmentation.erasing
    )


def _set_appearance(
    params: NDArray[Any],
    uniforms: NDArray[np.float64],
    augmentation: AugmentationConfig,
    height: int,
    width: int,
) -> None:
    """Set color jitter, grayscale, blur, JPEG and erasing, from uniform numbers of shape (numbers, k)."""
    if jitter := augmentation.color_jitter:
        params["jitter_order"] = uniforms[_AppearanceColumn.JITTER_ORDER] * _JITTER_ORDERS
        for position, reach in enumerate((jitter.brightness, jitter.contrast, jitter.saturation)):
            params["jitter"][:, position] = _between(
                uniforms[_AppearanceColumn.JITTER + position], max(0.0, 1 - reach), 1 + reach
            )
        params["jitter"][:, 3] = _spread(uniforms[_AppearanceColumn.JITTER + 3], jitter.hue)
    params["grayscale"] = uniforms[_AppearanceColumn.GRAYSCALE] < augmentation.grayscale
    if augmentation.gaussian_blur is not None:
        params["blur_sigma"] = _between(uniforms[_AppearanceColumn.BLUR_SIGMA], *augmentation.gaussian_blur)
    if augmentation.jpeg_quality is not None:
        low, high = augmentation.jpeg_quality
        params["jpeg_quality"] = _between(uniforms[_AppearanceColumn.JPEG_QUALITY], low, high + 1)
    erased = uniforms[_AppearanceColumn.ERASING] < augmentation.erasing
    box = uniforms[_AppearanceColumn.ERASE_BOX : _AppearanceColumn.ERASE_NOISE]
    params["erase_box"] = np.where(erased, choose_rectangles(box, height, width), 0).T
    params["erase_noise"] = np.where(erased, uniforms[_AppearanceColumn.ERASE_NOISE] * NOISE_BYTES, 0)


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
    """Convert uniform numbers, shape (k,), to shifts along a side of the image, shape (k,)."""
    sizes = np.atleast_1d(np.asarray(given, np.float64))
    sizes_pixels = np.where(np.abs(sizes) < 1, sizes * side_pixels, sizes)
    if isinstance(given, Sequence):
        chosen = sizes_pixels[(uniforms * len(sizes)).astype(np.intp)]
        return np.where(sign_uniforms < 0.5, -chosen, chosen)
    return _spread(uniforms, sizes_pixels[0])
