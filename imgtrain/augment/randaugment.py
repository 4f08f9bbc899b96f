"""RandAugment: a few random operations per image, all with the same magnitude.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (2019), with the
operations and the magnitudes 0 to 30 of torchvision's `RandAugment`. Two differences: geometric operations are part of
the image's single affine warp, so pixels are interpolated only once and before color operations; and pixels outside the
image are filled as in the warp.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.augment.color import ImageColors
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


_GEOMETRIC = (Operation.SHEAR_X, Operation.ROTATE)  # the first and the last one


def choose_operations(
    uniforms: NDArray[np.float64], *, magnitude: int, height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Convert uniform numbers to operations and their arguments.

    Args:
        uniforms: In [0, 1), shape (layers, 2, k): operation and sign.
        magnitude: From 0 to 30.
        height: Of the images, in pixels.
        width: Of the images, in pixels.

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
        height: Of the images, in pixels.
        width: Of the images, in pixels.
    """
    operations, arguments = params["operations"], params["arguments"]
    geometric = (operations >= _GEOMETRIC[0]) & (operations <= _GEOMETRIC[1])
    for image, layer in np.argwhere(geometric).tolist():
        matrices[image] = matrices[image] @ _inverse_map(
            operations[image, layer], float(arguments[image, layer]), height, width
        )


def _inverse_map(operation: int, argument: float, height: int, width: int) -> NDArray[np.float64]:
    """Return the map from (column, row) in the result to the original, shape (3, 3)."""
    inverse = np.eye(3)
    match operation:
        # Shears keep the corner of the image, half a pixel outside the center of the first pixel.
        case Operation.SHEAR_X:
            inverse[0, 1:] = argument, argument / 2
        case Operation.SHEAR_Y:
            inverse[1, [0, 2]] = argument, argument / 2
        case Operation.TRANSLATE_X:
            inverse[0, 2] = -argument
        case Operation.TRANSLATE_Y:
            inverse[1, 2] = -argument
        case Operation.ROTATE:
            angle = math.radians(argument)
            turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            center = np.array([(width - 1) / 2, (height - 1) / 2])
            inverse[:2, :2], inverse[:2, 2] = turn, center - turn @ center
    return inverse


def apply_color_operation(colors: ImageColors, operation: int, argument: float) -> None:
    """Apply one operation to an image; geometric operations are ignored, because the warp has applied them.

    Args:
        colors: The image.
        operation: A value of `Operation`.
        argument: As returned by `choose_operations`.
    """
    match operation:
        case Operation.BRIGHTNESS:
            colors.change_brightness(argument)
        case Operation.COLOR:
            colors.change_saturation(argument)
        case Operation.CONTRAST:
            colors.change_contrast(argument)
        case Operation.SHARPNESS:
            change_sharpness(colors.pixels, argument)
        case Operation.POSTERIZE:
            colors.posterize(int(argument))
        case Operation.SOLARIZE:
            colors.solarize(argument)
        case Operation.AUTO_CONTRAST:
            colors.stretch_contrast()
        case Operation.EQUALIZE:
            colors.equalize()
