"""Operations on one uint8 image that depend on neighboring pixels: sharpness, Gaussian blur, JPEG."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["blur", "change_sharpness", "compress"]

# Pillow's SMOOTH is a 3×3 box with a heavier center: (9 × box mean + 4 × center) / 13.
_BOX_SHARE = 9 / 13
# Added before rounding to the nearest level, to round down.
_ROUND_DOWN = -0.5 + 1e-3
_KERNEL_REACH = 3.0  # standard deviations
_RGB = 3


def change_sharpness(image: NDArray[np.uint8], factor: float) -> None:
    """Scale the distance of every pixel from its smoothed neighborhood; < 1 smooths, > 1 sharpens.

    Equals Pillow's `ImageEnhance.Sharpness` within one level. The outermost pixels are unchanged.

    Args:
        image: Shape (height, width, channels), C-contiguous; modified in place.
        factor: ≥ 0.
    """
    if min(image.shape[:2]) <= 2:
        return
    smooth = cv2.blur(image, (3, 3)).reshape(image.shape)
    inside = np.s_[1:-1, 1:-1]
    box = (1 - factor) * _BOX_SHARE
    image[inside] = cv2.addWeighted(image, 1 - box, smooth, box, _ROUND_DOWN).reshape(image.shape)[inside]


def blur(image: NDArray[np.uint8], sigma: float) -> None:
    """Convolve with a Gaussian, truncated at three standard deviations, with reflected borders.

    As in torchvision's `GaussianBlur`, which has the same borders.

    Args:
        image: Shape (height, width, channels), C-contiguous; modified in place.
        sigma: Standard deviation in pixels, > 0.
    """
    kernel = cv2.getGaussianKernel(2 * math.ceil(_KERNEL_REACH * sigma) + 1, sigma, cv2.CV_32F)
    # For uint8 input and output, OpenCV rounds the weights to 8 bits.
    blurred = cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel)
    cv2.convertScaleAbs(blurred, dst=image)


def compress(image: NDArray[np.uint8], quality: int) -> None:
    """Encode as JPEG, with 4:2:0 chroma subsampling, and decode again.

    Args:
        image: Shape (height, width, channels) with 1 or 3 channels, C-contiguous; modified in place.
        quality: libjpeg quality, 1 to 100.
    """
    channels = image.shape[2]
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if channels == _RGB else image
    written, encoded = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert written  # libjpeg accepts all uint8 pixels
    flag = cv2.IMREAD_COLOR_RGB if channels == _RGB else cv2.IMREAD_GRAYSCALE
    decoded = cv2.imdecode(encoded, flag)
    assert decoded is not None
    image[...] = decoded.reshape(image.shape)
