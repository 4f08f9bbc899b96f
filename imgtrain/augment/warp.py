"""One affine warp per image: rotation, shifts, shear, zoom, flips, and the geometric operations of RandAugment.

OpenCV splits even small images between its own threads. If several images are warped concurrently, this is slower than
one thread per image; see `opencv_on_one_thread`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imgtrain.augment.randaugment import compose_geometry

if TYPE_CHECKING:
    from imgtrain.config.schema import AugmentationConfig

__all__ = ["opencv_on_one_thread", "warp_batch", "warp_matrices"]

_INTERPOLATIONS = {0: cv2.INTER_NEAREST, 1: cv2.INTER_LINEAR, 3: cv2.INTER_CUBIC}
_BORDERS = {
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "reflect": cv2.BORDER_REFLECT,
    "wrap": cv2.BORDER_WRAP,
}
_IDENTITY = np.eye(2, 3)
_RGB = 3
# Radius of the interpolation, rounded up.
_REACH = 2
# Maximum size of a padded image relative to the original.
_MOST_ROOM = 4.0


def warp_batch(
    pixels: NDArray[np.uint8],
    params: NDArray[Any],
    augmentation: AugmentationConfig,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Warp each image with its parameters.

    Args:
        pixels: Shape (k, height, width, channels) with 1, 3 or 4 channels; not modified.
        params: Array of dtype `PARAMS_DTYPE`, shape (k,).
        augmentation: Interpolation and fill mode; its ranges are ignored.
        out: Output array, C-contiguous, of the same shape, not overlapping `pixels`; created if None.

    Returns:
        `out`.
    """
    if out is None:
        out = np.empty(pixels.shape, np.uint8)
    matrices = warp_matrices(params, *pixels.shape[1:3])
    stays = (matrices == _IDENTITY).all(axis=(1, 2))
    if stays.all():
        out[...] = pixels
    else:
        _move(pixels, matrices, stays, augmentation, out)
    return out


@contextmanager
def opencv_on_one_thread() -> Iterator[None]:
    """Disable OpenCV's internal threading in the whole process; results don't change."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _move(
    pixels: NDArray[np.uint8],
    matrices: NDArray[np.float64],
    stays: NDArray[np.bool_],
    augmentation: AugmentationConfig,
    out: NDArray[np.uint8],
) -> None:
    """Apply the affine maps.

    OpenCV is faster if it doesn't have to handle borders, so each image is first padded as far as its map reaches. It
    is also faster with four channels than with three; images are converted one at a time, to stay in the processor's
    cache.
    """
    height, width = pixels.shape[1:3]
    border, fill = _BORDERS[augmentation.fill_mode], (augmentation.cval,) * 4
    flags = _INTERPOLATIONS[augmentation.interpolation_order] | cv2.WARP_INVERSE_MAP
    margins = _margins(matrices, height, width)
    if border == cv2.BORDER_CONSTANT:  # the outside is constant
        margins[:] = 0
    shifted = matrices.copy()
    shifted[:, :, 2] += margins[:, 0]
    rgb = pixels.shape[3] == _RGB
    four_channels, moved = (np.empty((height, width, 4), np.uint8) for _ in range(2))
    for source, target, stay, matrix, ((left, top), (right, bottom)) in zip(
        pixels, out, stays.tolist(), shifted, margins.tolist(), strict=True
    ):
        if stay:
            target[...] = source
            continue
        laid_out = cv2.cvtColor(source, cv2.COLOR_RGB2RGBA, dst=four_channels) if rgb else source
        if left or top or right or bottom:
            laid_out = cv2.copyMakeBorder(laid_out, top, bottom, left, right, border)
        warped = moved if rgb else target
        cv2.warpAffine(
            laid_out, matrix, (width, height), dst=warped, flags=flags, borderMode=border, borderValue=fill
        )
        if rgb:
            cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB, dst=target)


def _margins(matrices: NDArray[np.float64], height: int, width: int) -> NDArray[np.intp]:
    """Return how many pixels each map extends beyond (left, top) and (right, bottom), shape (k, 2, 2).

    All four are 0 if the padded image would be too large.
    """
    right, bottom = width - 1, height - 1
    corners = np.array([[0, right, 0, right], [0, 0, bottom, bottom], [1, 1, 1, 1]])
    reached = matrices @ corners
    before = np.floor(-reached.min(axis=2)) + _REACH
    behind = np.ceil(reached.max(axis=2) - [right, bottom]) + _REACH
    margins = np.maximum(np.stack([before, behind], axis=1), 0)
    room = (np.array([width, height]) + margins.sum(axis=1)).prod(axis=1)
    margins[~(room <= _MOST_ROOM * width * height)] = 0
    whole: NDArray[np.intp] = margins.astype(np.intp)
    return whole


def warp_matrices(params: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
    """Return the affine maps from (column, row) in the result to the original.

    With the center ((width - 1) / 2, (height - 1) / 2) as the origin, coordinates are flipped, zoomed, sheared, shifted
    and rotated: Keras's `C · R(θ) · T · S · Z · C⁻¹`, and the flips. RandAugment's operations come before all of these,
    in reverse order.

    Args:
        params: Array of dtype `PARAMS_DTYPE`, shape (k,).
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        Shape (k, 2, 3).
    """
    theta, shear = np.deg2rad(params["theta_degrees"]), np.deg2rad(params["shear_degrees"])
    scale_x = np.where(params["flip_horizontal"], -params["zoom_x"], params["zoom_x"])
    scale_y = np.where(params["flip_vertical"], -params["zoom_y"], params["zoom_y"])
    shift = np.stack([params["shift_x_pixels"], params["shift_y_pixels"]], axis=-1)
    rotation = _matrix2(np.cos(theta), -np.sin(theta), np.sin(theta), np.cos(theta))
    shear_and_scale = _matrix2(scale_x, -np.sin(shear) * scale_y, 0, np.cos(shear) * scale_y)
    linear = rotation @ shear_and_scale
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = center + (rotation @ shift[..., None])[..., 0] - linear @ center
    matrices = np.concatenate([linear, offset[..., None]], axis=-1)
    compose_geometry(matrices, params, height, width)
    return matrices


def _matrix2(a: Any, b: Any, c: Any, d: Any) -> NDArray[np.float64]:
    """Stack matrices [[a, b], [c, d]] from numbers or arrays of shape (k,)."""
    return np.stack(np.broadcast_arrays(a, b, c, d), axis=-1).reshape(-1, 2, 2)
