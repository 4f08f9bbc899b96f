"""What the parameters of `imgtrain.augment.sample` do to pixels.

The order of operations: the affine map (with the geometric operations of RandAugment), then Keras's channel shift,
flips (inside the map, because the channel shift treats all places alike) and brightness, then as in timm and
torchvision's recipes: the other operations of RandAugment, color jitter, grayscale, Gaussian blur, JPEG, erasing.
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
    """Change each image as its parameters say.

    An alpha channel is moved, channel-shifted and erased like the others; all else leaves it as it is.

    Args:
        pixels: Shape (k, height, width, channels) with 1, 3 or 4 channels; is not changed.
        params: Array of dtype `PARAMS_DTYPE`, shape (k,).
        augmentation: How pixels are interpolated and the outside is filled; its ranges are not looked at.
        out: C-contiguous, of the same shape, and apart from `pixels` in memory; made if not given.

    Returns:
        `out`.
    """
    out = warp_batch(pixels, params, augmentation, out)
    offsets = offsets_that_floor(params["brightness"])
    for image in _changed_after_warp(params).tolist():
        _change(out[image], params[image], brightness_offset=float(offsets[image]))
    return out


def _changed_after_warp(params: NDArray[Any]) -> NDArray[np.intp]:
    """Return the positions of the images that the warp alone does not finish."""
    changed = (params["channel_shift"] != 0) | (params["brightness"] != 1) | params["grayscale"]
    changed |= (params["blur_sigma"] != 0) | (params["jpeg_quality"] != 0)
    changed |= params["operations"].any(axis=1) | params["erase_box"].any(axis=1)
    changed |= (params["jitter"] != _NO_JITTER).any(axis=1)
    return np.flatnonzero(changed)


def _change(image: NDArray[np.uint8], params: np.void, *, brightness_offset: float) -> None:
    """Change one image, shape (height, width, channels), after the warp."""
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
    """Shift all channels, within the darkest and brightest level of the image after the warp."""
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
