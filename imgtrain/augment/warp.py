"""What the rows of `imgtrain.augment.sample` do to pixels: one affine warp and one table per image.

The order of operations is that of Keras's `ImageDataGenerator.apply_transform`: affine, channel shift, flips,
brightness. The flips stand inside the warp's matrix, because the channel shift treats all places alike.

OpenCV's number of threads, a setting of the whole process, is left alone: it does not change the result, nor, at
150 and 512 pixels, measurably the speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from imgtrain.config.schema import AugmentationConfig

__all__ = ["warp_batch", "warp_matrices"]

_INTERPOLATIONS = {0: cv2.INTER_NEAREST, 1: cv2.INTER_LINEAR, 3: cv2.INTER_CUBIC}
_BORDERS = {
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "reflect": cv2.BORDER_REFLECT,
    "wrap": cv2.BORDER_WRAP,
}
_IDENTITY = np.eye(2, 3)
_LEVELS = np.arange(256, dtype=np.float32)
_RGBA = 4


def warp_batch(
    pixels: NDArray[np.uint8],
    rows: NDArray[Any],
    augmentation: AugmentationConfig,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Change each image as its row says.

    An alpha channel is moved and channel-shifted like the others, and keeps its brightness, as in Keras.

    Args:
        pixels: Shape (k, height, width, channels) with 1, 3 or 4 channels; is not changed.
        rows: Of type `ROW`, shape (k,).
        augmentation: How pixels are interpolated and the outside is filled; its ranges are not looked at.
        out: C-contiguous, of the same shape, and apart from `pixels` in memory; made if not given.

    Returns:
        `out`.
    """
    if out is None:
        out = np.empty(pixels.shape, np.uint8)
    height, width, channels = pixels.shape[1:]
    flags = _INTERPOLATIONS[augmentation.interpolation_order] | cv2.WARP_INVERSE_MAP
    border = _BORDERS[augmentation.fill_mode]
    fill = (augmentation.cval,) * 4
    matrices = warp_matrices(rows, height, width)
    stays = (matrices == _IDENTITY).all(axis=(1, 2))
    recolours = (rows["channel_shift"] != 0) | (rows["brightness"] != 1)
    for source, target, matrix, row, stay, recolour in zip(
        pixels, out, matrices, rows, stays, recolours, strict=True
    ):
        if stay and not recolour:
            target[...] = source
            continue
        if not stay:
            cv2.warpAffine(
                source, matrix, (width, height), dst=target, flags=flags, borderMode=border, borderValue=fill
            )
        if recolour:
            moved = source if stay else target
            low, high, *_ = cv2.minMaxLoc(moved.reshape(height, -1)) if row["channel_shift"] else (0, 255)
            cv2.LUT(moved, _colour_table(row, low, high, alpha=channels == _RGBA), dst=target)
    return out


def warp_matrices(rows: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
    """Return the affine maps from a place (column, row) in the result to its place in the original.

    With the centre ((width - 1) / 2, (height - 1) / 2) as the origin, a place is first mirrored, then zoomed,
    sheared, shifted and turned; this is Keras's `C · R(θ) · T · S · Z · C⁻¹` followed by the flips.

    Args:
        rows: Of type `ROW`, shape (k,).
        height: Of the images, in pixels.
        width: Of the images, in pixels.

    Returns:
        Shape (k, 2, 3).
    """
    theta, shear = np.deg2rad(rows["theta_degrees"]), np.deg2rad(rows["shear_degrees"])
    scale_x = np.where(rows["flip_horizontal"], -rows["zoom_x"], rows["zoom_x"])
    scale_y = np.where(rows["flip_vertical"], -rows["zoom_y"], rows["zoom_y"])
    shift = np.stack([rows["shift_x_pixels"], rows["shift_y_pixels"]], axis=-1)
    rotation = _matrix2(np.cos(theta), -np.sin(theta), np.sin(theta), np.cos(theta))
    shear_and_scale = _matrix2(scale_x, -np.sin(shear) * scale_y, 0, np.cos(shear) * scale_y)
    linear = rotation @ shear_and_scale
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre + (rotation @ shift[..., None])[..., 0] - linear @ centre
    return np.concatenate([linear, offset[..., None]], axis=-1)


def _matrix2(a: Any, b: Any, c: Any, d: Any) -> NDArray[np.float64]:
    """Stack matrices [[a, b], [c, d]] from numbers or arrays of shape (k,)."""
    return np.stack(np.broadcast_arrays(a, b, c, d), axis=-1).reshape(-1, 2, 2)


def _colour_table(row: Any, low: float, high: float, *, alpha: bool) -> NDArray[np.uint8]:
    """Return what becomes of each pixel value.

    Args:
        row: One row of type `ROW`.
        low: Darkest pixel value of the image after the warp; the channel shift does not go below it.
        high: Brightest pixel value of the image after the warp.
        alpha: Whether the last of four channels keeps its brightness.

    Returns:
        Shape (256,) for all channels alike, or (1, 256, 4).
    """
    levels: NDArray[np.float32] = np.clip(_LEVELS + np.float32(row["channel_shift"]), low, high)
    if row["brightness"] == 1:
        return np.rint(levels).astype(np.uint8)
    # Keras hands the image to Pillow for this, which multiplies whole levels in float32 and rounds down.
    levels = np.floor(levels)
    table: NDArray[np.uint8] = np.clip(levels * np.float32(row["brightness"]), 0, 255).astype(np.uint8)
    if not alpha:
        return table
    return np.stack([table, table, table, levels.astype(np.uint8)], axis=-1)[None]
