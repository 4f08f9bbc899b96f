"""Apply augmentation parameters to pixels.

Order of operations: the affine map, including the geometric operations of RandAugment; Keras's channel shift, flips
(as part of the map, because the channel shift doesn't depend on the position) and brightness; then, as in timm and the
recipes of torchvision, the other operations of RandAugment, color jitter, grayscale, Gaussian blur, JPEG, erasing.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imgtrain.augment import color
from imgtrain.augment.color import offsets_that_floor
from imgtrain.augment.erase import erase
from imgtrain.augment.filters import blur, compress
from imgtrain.augment.randaugment import apply_color_operation
from imgtrain.augment.warp import warp_batch

if TYPE_CHECKING:
    from imgtrain.config.schema import AugmentationConfig

__all__ = ["augment_batch"]

_RGB, _RGBA = 3, 4
_JITTER_ORDERS = tuple(permutations(range(4)))
_NO_JITTER = (1.0, 1.0, 1.0, 0.0)


def augment_batch(
    pixels: NDArray[np.uint8],
    params: NDArray[Any],
    augmentation: AugmentationConfig,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Augment each image with its parameters.

    An alpha channel is warped, channel-shifted and erased like the other channels, but otherwise unchanged.

    Args:
        pixels: Shape (k, height, width, channels) with 1, 3 or 4 channels; not modified.
        params: Array of dtype `PARAMS_DTYPE`, shape (k,).
        augmentation: Interpolation and fill mode; its ranges are ignored.
        out: Output array, C-contiguous, of the same shape, not overlapping `pixels`; created if None.

    Returns:
        `out`.
    """
    out = warp_batch(pixels, params, augmentation, out)
    _shift_and_brighten(out, params)
    changed = _changed_further(params)
    # Python numbers are faster to access one by one than array elements.
    columns = [params[name][changed].tolist() for name in _Changes._fields]
    for image, *values in zip(changed.tolist(), *columns, strict=True):
        _change(out[image], _Changes(*values))
    return out


def _shift_and_brighten(images: NDArray[np.uint8], params: NDArray[Any]) -> None:
    """Apply Keras's channel shift and brightness in place; shape (k, height, width, channels)."""
    shifts, factors = params["channel_shift"].tolist(), params["brightness"].tolist()
    offsets = offsets_that_floor(params["brightness"]).tolist()
    alpha = images.shape[3] == _RGBA
    for image, shift, factor, offset in zip(images, shifts, factors, offsets, strict=True):
        if shift:
            color.shift_channels(image, shift, rounds=factor == 1)
        if factor != 1:
            colors = image[..., :_RGB].copy() if alpha else image
            color.multiply_levels(colors, factor, offset=offset)
            if alpha:
                image[..., :_RGB] = colors


class _Changes(NamedTuple):
    """The parameters of one image for the operations that Keras doesn't have; a subset of `PARAMS_DTYPE`."""

    operations: list[int]
    arguments: list[float]
    jitter_order: int
    jitter: list[float]
    grayscale: bool
    blur_sigma: float
    jpeg_quality: int
    erase_box: tuple[int, int, int, int]
    erase_noise: int


def _changed_further(params: NDArray[Any]) -> NDArray[np.intp]:
    """Return the positions of the images with operations that Keras doesn't have."""
    changed = params["grayscale"] | (params["blur_sigma"] != 0) | (params["jpeg_quality"] != 0)
    changed |= params["operations"].any(axis=1) | params["erase_box"].any(axis=1)
    changed |= (params["jitter"] != _NO_JITTER).any(axis=1)
    return np.flatnonzero(changed)


def _change(image: NDArray[np.uint8], changes: _Changes) -> None:
    """Apply the operations that Keras doesn't have to one image, shape (height, width, channels), in place."""
    alpha = image.shape[2] == _RGBA
    colors = image[..., :_RGB].copy() if alpha else image
    for operation, argument in zip(changes.operations, changes.arguments, strict=True):
        if operation:
            apply_color_operation(colors, operation, argument)
    _jitter(colors, changes.jitter, _JITTER_ORDERS[changes.jitter_order])
    if changes.grayscale:
        color.remove_color(colors)
    if changes.blur_sigma:
        blur(colors, changes.blur_sigma)
    if changes.jpeg_quality:
        compress(colors, changes.jpeg_quality)
    if alpha:
        image[..., :_RGB] = colors
    left, top, right, bottom = changes.erase_box
    if right > left:
        erase(image, (left, top, right, bottom), noise_start=changes.erase_noise)


def _jitter(image: NDArray[np.uint8], jitter: list[float], order: tuple[int, ...]) -> None:
    brightness, contrast, saturation, hue = jitter
    for operation in order:
        match operation:
            case 0 if brightness != 1:
                color.change_brightness(image, brightness)
            case 1 if contrast != 1:
                color.change_contrast(image, contrast)
            case 2 if saturation != 1:
                color.change_saturation(image, saturation)
            case 3 if hue:
                color.rotate_hue(image, hue)
