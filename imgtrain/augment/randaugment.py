"""RandAugment: a few random operations per image, all with the same magnitude.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (2019), with the
operations and the magnitudes 0 to 30 of torchvision's `RandAugment`. Two differences: geometric operations are part of
the image's single affine warp, so pixels are interpolated only once and before color operations; and pixels outside the
image are filled as in the warp.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.augment import color
from imgtrain.augment.filters import change_sharpness

__all__ = ["MOST_LAYERS", "Operation", "apply_color_operation", "choose_operations", "compose_geometry"]

MOST_LAYERS = 8
"""Maximum number of operations per image, limited by the random stream."""

_BINS = 30  # magnitudes besides 0
_SHEAR = 0.3
_TRANSLATION = 150 / 331  # of the side
_ROTATION_DEGREES = 30.0
_FACTOR = 0.9  # beside 1
_BITS = 4  # that posterize takes away


class Operation(IntEnum):
    """The operations in torchvision's order."""

    IDENTITY = 0
    SHEAR_X = 1
    SHEAR_Y = 2
    TRANSLATE_X = 3
    TRANSLATE_Y = 4
    ROTATE = 5
    BRIGHTNESS = 6
    COLOR = 7
    CONTRAST = 8
    SHARPNESS = 9
    POSTERIZE = 10
    SOLARIZE = 11
    AUTO_CONTRAST = 12
    EQUALIZE = 13


def choose_operations(
    uniforms: NDArray[np.float64], *, magnitude: int, height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Convert uniform numbers to operations and their arguments.

    Args:
        uniforms: In [0, 1), shape (layers, 2, k): operation and sign.
        magnitude: From 0 to 30.
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        Values of `Operation` and their arguments (shear as a tangent, translation in pixels, rotation in degrees,
        factors, bits to keep, or the threshold of solarize), both of shape (k, layers).
    """
    operations = (uniforms[:, 0] * len(Operation)).astype(np.uint8)
    signs = np.where(uniforms[:, 1] < 0.5, 1, -1)
    strengths, signed = _strengths(magnitude, height, width)
    arguments = strengths[operations] * np.where(signed[operations], signs, 1)
    factors = (operations >= Operation.BRIGHTNESS) & (operations <= Operation.SHARPNESS)
    return operations.T, np.where(factors, 1 + arguments, arguments).T


def _strengths(magnitude: int, height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the argument of each operation, and whether it has a random sign; both of shape (operations,)."""
    share = magnitude / _BINS
    strengths, signed = np.zeros(len(Operation)), np.zeros(len(Operation), np.bool_)
    signed[Operation.SHEAR_X : Operation.POSTERIZE] = True
    strengths[[Operation.SHEAR_X, Operation.SHEAR_Y]] = share * _SHEAR
    strengths[Operation.TRANSLATE_X] = int(share * _TRANSLATION * width)
    strengths[Operation.TRANSLATE_Y] = int(share * _TRANSLATION * height)
    strengths[Operation.ROTATE] = share * _ROTATION_DEGREES
    strengths[Operation.BRIGHTNESS : Operation.POSTERIZE] = share * _FACTOR
    strengths[Operation.POSTERIZE] = 8 - round(share * _BITS)
    strengths[Operation.SOLARIZE] = 255 * (1 - share)
    return strengths, signed


def compose_geometry(matrices: NDArray[np.float64], params: NDArray[Any], height: int, width: int) -> None:
    """Add the geometric operations to the affine maps.

    Args:
        matrices: Maps from (column, row) in the result to the original, shape (k, 2, 3); modified in place.
        params: Array of dtype `PARAMS_DTYPE`, shape (k,).
        height: Image height in pixels.
        width: Image width in pixels.
    """
    if not params["operations"].any():  # a few percent of the time of a batch
        return
    for layer in range(MOST_LAYERS):
        operations, arguments = params["operations"][:, layer], params["arguments"][:, layer]
        moved = np.flatnonzero((operations >= Operation.SHEAR_X) & (operations <= Operation.ROTATE))
        if len(moved):
            inverse = _inverse_maps(operations[moved], arguments[moved], height, width)
            matrices[moved] = matrices[moved] @ inverse


def _inverse_maps(
    operations: NDArray[np.uint8], arguments: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float64]:
    """Return the maps from (column, row) in the result to the original, shape (k, 3, 3)."""
    inverse = np.tile(np.eye(3), (len(operations), 1, 1))
    # Shears keep the corner of the image, half a pixel outside the center of the first pixel.
    for operation, row, column in ((Operation.SHEAR_X, 0, 1), (Operation.SHEAR_Y, 1, 0)):
        chosen = operations == operation
        inverse[chosen, row, column] = arguments[chosen]
        inverse[chosen, row, 2] = arguments[chosen] / 2
    for operation, row in ((Operation.TRANSLATE_X, 0), (Operation.TRANSLATE_Y, 1)):
        chosen = operations == operation
        inverse[chosen, row, 2] = -arguments[chosen]
    chosen = operations == Operation.ROTATE
    angles = np.deg2rad(arguments[chosen])
    cosines, sines = np.cos(angles), np.sin(angles)
    turns = np.stack([cosines, -sines, sines, cosines], axis=-1).reshape(-1, 2, 2)
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    inverse[chosen, :2, :2], inverse[chosen, :2, 2] = turns, center - turns @ center
    return inverse


def apply_color_operation(image: NDArray[np.uint8], operation: int, argument: float) -> None:
    """Apply one operation to an image; geometric operations are ignored, because the warp has applied them.

    Args:
        image: Shape (height, width, channels) with 1 or 3 channels, C-contiguous; modified in place.
        operation: A value of `Operation`.
        argument: As returned by `choose_operations`.
    """
    match operation:
        case Operation.BRIGHTNESS:
            color.change_brightness(image, argument)
        case Operation.COLOR:
            color.change_saturation(image, argument)
        case Operation.CONTRAST:
            color.change_contrast(image, argument)
        case Operation.SHARPNESS:
            change_sharpness(image, argument)
        case Operation.POSTERIZE:
            color.posterize(image, int(argument))
        case Operation.SOLARIZE:
            color.solarize(image, argument)
        case Operation.AUTO_CONTRAST:
            color.stretch_contrast(image)
        case Operation.EQUALIZE:
            color.equalize(image)
