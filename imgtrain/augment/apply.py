"""Apply augmentation parameters to pixels.

Order of operations: the affine map, including the geometric operations of RandAugment; Keras's channel shift, flips
(as part of the map, because the channel shift doesn't depend on the position) and brightness; then, as in timm and the
recipes of torchvision, the other operations of RandAugment, color jitter, grayscale, Gaussian blur, JPEG, erasing.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imgtrain.augment.color import ImageColors, channel_shift_table, offsets_that_floor
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
    offsets = offsets_that_floor(params["brightness"])
    for image in _changed_after_warp(params).tolist():
        _change(out[image], params[image], brightness_offset=float(offsets[image]))
    return out


def _changed_after_warp(params: NDArray[Any]) -> NDArray[np.intp]:
    """Return the positions of the images with operations after the warp."""
    changed = (params["channel_shift"] != 0) | (params["brightness"] != 1) | params["grayscale"]
    changed |= (params["blur_sigma"] != 0) | (params["jpeg_quality"] != 0)
    changed |= params["operations"].any(axis=1) | params["erase_box"].any(axis=1)
    changed |= (params["jitter"] != _NO_JITTER).any(axis=1)
    return np.flatnonzero(changed)


def _change(image: NDArray[np.uint8], params: np.void, *, brightness_offset: float) -> None:
    """Apply the operations after the warp to one image, shape (height, width, channels), in place."""
    alpha = image.shape[2] == _RGBA
    brightness = float(params["brightness"])
    if shift := float(params["channel_shift"]):
        _shift_channels(image, shift, rounds=brightness == 1)
    colors = ImageColors(image[..., :_RGB].copy() if alpha else image)
    if brightness != 1:
        colors.change_brightness(brightness, offset=brightness_offset)
    operations = params["operations"]
    if operations.any():
        for operation, argument in zip(operations.tolist(), params["arguments"].tolist(), strict=True):
            apply_color_operation(colors, operation, argument)
    _jitter(colors, params["jitter"].tolist(), _JITTER_ORDERS[params["jitter_order"]])
    if params["grayscale"]:
        colors.remove_color()
    if params["blur_sigma"]:
        blur(colors.pixels, float(params["blur_sigma"]))
    if params["jpeg_quality"]:
        compress(colors.pixels, int(params["jpeg_quality"]))
    finished = colors.pixels
    if alpha:
        image[..., :_RGB] = finished
    if params["erase_box"].any():
        erase(image, tuple(params["erase_box"].tolist()), noise_seed=int(params["erase_noise_seed"]))


def _shift_channels(image: NDArray[np.uint8], shift: float, *, rounds: bool) -> None:
    """Shift all channels, clipped to the minimum and maximum of the warped image."""
    low, high, *_ = cv2.minMaxLoc(image.reshape(len(image), -1))
    cv2.LUT(image, channel_shift_table(shift, low, high, rounds=rounds), dst=image)


def _jitter(colors: ImageColors, jitter: list[float], order: tuple[int, ...]) -> None:
    brightness, contrast, saturation, hue = jitter
    for operation in order:
        match operation:
            case 0 if brightness != 1:
                colors.change_brightness(brightness)
            case 1 if contrast != 1:
                colors.change_contrast(contrast)
            case 2 if saturation != 1:
                colors.change_saturation(saturation)
            case 3 if hue:
                colors.rotate_hue(hue)
