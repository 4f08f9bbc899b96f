"""What the parameters of `imgtrain.augment.sample` do to pixels: one affine warp and one table per image.

The order of operations is that of Keras's `ImageDataGenerator.apply_transform`: affine, channel shift, flips,
brightness. The flips stand inside the warp's matrix, because the channel shift treats all places alike.

OpenCV cuts even a small picture among threads of its own. Where several images are warped at once, that is slower than
a thread for each image: `opencv_on_one_thread`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imgtrain.augment.buffers import Buffers

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
_LEVELS = np.arange(256, dtype=np.float32)
_RGB, _RGBA = 3, 4
# How far from a place the interpolation looks, rounded up.
_REACH = 2
# A picture that is laid out with its surroundings may take so many times its own room.
_MOST_ROOM = 4.0
# Errors of float32 stay below this in what is rounded to a level.
_ROUNDING = 5e-5
_buffers = Buffers()


def warp_batch(
    pixels: NDArray[np.uint8],
    params: NDArray[Any],
    augmentation: AugmentationConfig,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Change each image as its parameters say.

    An alpha channel is moved and channel-shifted like the others, and keeps its brightness, as in Keras.

    Args:
        pixels: Shape (k, height, width, channels) with 1, 3 or 4 channels; is not changed.
        params: Array of dtype `PARAMS_DTYPE`, shape (k,).
        augmentation: How pixels are interpolated and the outside is filled; its ranges are not looked at.
        out: C-contiguous, of the same shape, and apart from `pixels` in memory; made if not given.

    Returns:
        `out`.
    """
    if out is None:
        out = np.empty(pixels.shape, np.uint8)
    matrices = warp_matrices(params, *pixels.shape[1:3])
    stays = (matrices == _IDENTITY).all(axis=(1, 2))
    if stays.all():
        out[...] = pixels
    elif pixels.shape[3] == _RGB:
        # OpenCV warps four channels faster than three.
        four, moved = (_buffers.take((*pixels.shape[:3], _RGBA)) for _ in range(2))
        cv2.cvtColor(_as_one_picture(pixels), cv2.COLOR_RGB2RGBA, dst=_as_one_picture(four))
        _move(four, matrices, stays, augmentation, moved)
        cv2.cvtColor(_as_one_picture(moved), cv2.COLOR_RGBA2RGB, dst=_as_one_picture(out))
    else:
        _move(pixels, matrices, stays, augmentation, out)
    _recolour(out, params)
    return out


@contextmanager
def opencv_on_one_thread() -> Iterator[None]:
    """Keep OpenCV, in the whole process, from starting threads inside its operations; results do not change."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _as_one_picture(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images.reshape(-1, *images.shape[2:])


def _move(
    pixels: NDArray[np.uint8],
    matrices: NDArray[np.float64],
    stays: NDArray[np.bool_],
    augmentation: AugmentationConfig,
    out: NDArray[np.uint8],
) -> None:
    """Apply the affine maps.

    OpenCV warps faster where it need not look at borders, so each picture is first laid out with as much of its
    surroundings as its map reaches.
    """
    height, width = pixels.shape[1:3]
    border, fill = _BORDERS[augmentation.fill_mode], (augmentation.cval,) * 4
    flags = _INTERPOLATIONS[augmentation.interpolation_order] | cv2.WARP_INVERSE_MAP
    margins = _margins(matrices, height, width)
    if border == cv2.BORDER_CONSTANT:  # nothing to look up outside
        margins[:] = 0
    shifted = matrices.copy()
    shifted[:, :, 2] += margins[:, 0]
    for source, target, stay, matrix, ((left, top), (right, bottom)) in zip(
        pixels, out, stays.tolist(), shifted, margins.tolist(), strict=True
    ):
        if stay:
            target[...] = source
            continue
        laid_out = source
        if left or top or right or bottom:
            laid_out = cv2.copyMakeBorder(source, top, bottom, left, right, border)
        cv2.warpAffine(
            laid_out, matrix, (width, height), dst=target, flags=flags, borderMode=border, borderValue=fill
        )


def _margins(matrices: NDArray[np.float64], height: int, width: int) -> NDArray[np.intp]:
    """Return how many pixels each map reaches beyond (left, top) and (right, bottom), shape (k, 2, 2).

    0 for all four where that would take too much room.
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


def _recolour(images: NDArray[np.uint8], params: NDArray[Any]) -> None:
    """Shift and brighten each image in place."""
    alpha = images.shape[3] == _RGBA
    shifts, factors = params["channel_shift"].tolist(), params["brightness"].tolist()
    offsets = _offsets_that_floor(params["brightness"]).tolist()
    for image, shift, factor, offset in zip(images, shifts, factors, offsets, strict=True):
        if shift or (factor != 1 and (alpha or not offset)):
            low, high = 0.0, 255.0
            if shift:
                low, high, *_ = cv2.minMaxLoc(image.reshape(len(image), -1))
            cv2.LUT(image, _colour_table(shift, factor, low, high, alpha=alpha), dst=image)
        elif factor != 1:
            cv2.convertScaleAbs(image, dst=image, alpha=factor, beta=offset)


def _offsets_that_floor(factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what to add to level × factor so that rounding it to the nearest gives what rounding down would.

    That lies between -0.5 and -0.5 plus the smallest distance to the next whole number, over all levels.

    Args:
        factors: Shape (k,).

    Returns:
        Shape (k,); 0 where there is no room for the offset.
    """
    # What is 255 or more is 255 either way.
    products = np.minimum(_LEVELS * factors.astype(np.float32)[:, None], 255)
    room = 1 - (products - np.floor(products)).max(axis=1)
    return np.where(room > 2 * _ROUNDING, room / 2 - 0.5, 0.0)


def warp_matrices(params: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
    """Return the affine maps from a place (column, row) in the result to its place in the original.

    With the centre ((width - 1) / 2, (height - 1) / 2) as the origin, a place is first mirrored, then zoomed,
    sheared, shifted and turned; this is Keras's `C · R(θ) · T · S · Z · C⁻¹` followed by the flips.

    Args:
        params: Array of dtype `PARAMS_DTYPE`, shape (k,).
        height: Of the images, in pixels.
        width: Of the images, in pixels.

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
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre + (rotation @ shift[..., None])[..., 0] - linear @ centre
    return np.concatenate([linear, offset[..., None]], axis=-1)


def _matrix2(a: Any, b: Any, c: Any, d: Any) -> NDArray[np.float64]:
    """Stack matrices [[a, b], [c, d]] from numbers or arrays of shape (k,)."""
    return np.stack(np.broadcast_arrays(a, b, c, d), axis=-1).reshape(-1, 2, 2)


def _colour_table(shift: float, factor: float, low: float, high: float, *, alpha: bool) -> NDArray[np.uint8]:
    """Return what becomes of each pixel value.

    Args:
        shift: Is added first.
        factor: Of the brightness.
        low: Darkest pixel value of the image after the warp; the channel shift does not go below it.
        high: Brightest pixel value of the image after the warp.
        alpha: Whether the last of four channels keeps its brightness.

    Returns:
        Shape (256,) for all channels alike, or (1, 256, 4).
    """
    levels: NDArray[np.float32] = np.clip(_LEVELS + np.float32(shift), low, high)
    if factor == 1:
        return np.rint(levels).astype(np.uint8)
    # Keras hands the image to Pillow for this, which multiplies whole levels in float32 and rounds down.
    levels = np.floor(levels)
    table: NDArray[np.uint8] = np.clip(levels * np.float32(factor), 0, 255).astype(np.uint8)
    if not alpha:
        return table
    return np.stack([table, table, table, levels.astype(np.uint8)], axis=-1)[None]
