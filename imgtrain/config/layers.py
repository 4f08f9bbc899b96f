"""Shapes of the usual layers, computed from their arguments: layers that don't fit are found without TensorFlow.

Shapes are those of one image, without the batch: (height, width, channels), or (values,) after Flatten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from imgtrain.config.head import ends_with_output
from imgtrain.config.schema import Config, LayerSpec
from imgtrain.errors import Problem

__all__ = [
    "POOLING",
    "Shape",
    "UnfitInput",
    "check_shapes",
    "dilated_window",
    "format_shape",
    "format_trace",
    "layer_problem",
    "no_image",
    "not_flat",
    "output_shape",
    "pair",
    "small_image",
]

Shape = tuple[int, ...]

POOLING = frozenset({"AveragePooling2D", "MaxPooling2D"})
_CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2D", "SeparableConv2D"})
_GLOBAL_POOLING = frozenset({"GlobalAveragePooling2D", "GlobalMaxPooling2D"})
_FOR_IMAGES = POOLING | _CONVOLUTIONS | _GLOBAL_POOLING
_SAME_SHAPE = frozenset(
    {"Activation", "AlphaDropout", "BatchNormalization", "Dropout", "ELU", "GaussianDropout", "GaussianNoise"}
    | {"LeakyReLU", "ReLU", "Rescaling", "Softmax", "SpatialDropout2D"}
)


class UnfitInput(ValueError):  # noqa: N818 (named after what it tells)
    """A layer cannot take its input.

    Attributes:
        what: What is wrong.
        hint: What to do.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what, hint)
        self.what, self.hint = what, hint


def check_shapes(config: Config) -> list[Problem]:
    """Return the problem of the first layer that cannot take its input, as far as all layers before are known here."""
    if config.model.backbone is not None:
        return []  # its output shape is not known here
    shape: Shape = config.data.image_shape
    trace = [("input", shape)]
    dense_on_image = None
    position = 0
    *hidden, last = config.model.layers
    if not ends_with_output(config):
        hidden.append(last)
        last = LayerSpec.model_validate({"Dense": 1})
    for position, layer in enumerate(hidden, start=1):
        if layer.name in _FOR_IMAGES:
            dense_on_image = None
        elif layer.name == "Dense" and len(shape) > 1 and dense_on_image is None:
            dense_on_image = position
        try:
            shape = output_shape(layer, shape)
        except UnfitInput as unfit:
            hint = f"{unfit.hint}; {format_trace(trace)}"
            return [layer_problem(config, position, layer.name, unfit.what, hint)]
        except (KeyError, TypeError, ValueError):
            return []
        trace.append((layer.name, shape))
    if len(shape) == 1:
        return []
    no_row = not_flat(shape, before=dense_on_image or position + 1)
    hint = f"{no_row.hint}; {format_trace(trace)}"
    return [layer_problem(config, position + 1, last.name, no_row.what, hint)]


def output_shape(layer: LayerSpec, shape: Shape) -> Shape:
    """Return the output shape of a layer.

    Raises:
        UnfitInput: The layer cannot take its input. It is a ValueError.
        KeyError: The layer is unknown here, or an argument is missing.
        TypeError: An argument is invalid; or ValueError.
    """
    given = layer.arguments
    if layer.name in _SAME_SHAPE:
        return shape
    if layer.name == "Flatten":
        return (math.prod(shape),)
    if layer.name == "Dense":
        return (*shape[:-1], int(given["units"]))
    if layer.name not in _FOR_IMAGES:
        raise KeyError(layer.name)
    if len(shape) < 3:
        raise no_image(shape)
    height, width, channels = shape
    if layer.name in _GLOBAL_POOLING:
        return (1, 1, channels) if given.get("keepdims") else (channels,)
    sides = _output_sides(layer, (height, width))
    if layer.name == "DepthwiseConv2D":
        return (*sides, channels * int(given.get("depth_multiplier", 1)))
    return (*sides, channels if layer.name in POOLING else int(given["filters"]))


def no_image(shape: Shape) -> UnfitInput:
    """Return the problem of a layer for images with another input."""
    return UnfitInput(
        f"needs an image (height×width×channels), its input is {format_shape(shape)} values",
        "layers for images go before Flatten and GlobalAveragePooling2D",
    )


def small_image(sides: tuple[int, int], window: tuple[int, int], *, pools: bool) -> UnfitInput:
    """Return the problem of a window that is larger than its input."""
    part = "pool" if pools else "kernel"
    return UnfitInput(
        f"input is {format_shape(sides)}, the {part} needs {format_shape(window)}",
        "remove this layer or a pooling layer before it, use `padding: same`, or a larger data.target_size",
    )


def not_flat(shape: Shape, *, before: int) -> UnfitInput:
    """Return the problem of an output layer whose input is not one row of values per image.

    Args:
        shape: Its input.
        before: The position, counted from 1, of the layer that a Flatten is missing before.
    """
    return UnfitInput(
        f"the output needs one row of values per image, its input is {format_shape(shape)}",
        f"add Flatten or GlobalAveragePooling2D before layer {before}",
    )


def layer_problem(config: Config, position: int, name: str, what: str, hint: str = "") -> Problem:
    """Return a problem with a layer.

    Args:
        config: The configuration.
        position: Of the layer, counted from 1; one more than there are is the output layer that is added.
        name: The class of the layer.
        what: What is wrong with it.
        hint: What to do.
    """
    written = position <= len(config.model.layers)
    place = ("model", "layers", position - 1) if written else ("model", "layers")
    which = f"layer {position}, {name}{'' if written else ' (the output layer, added automatically)'}"
    return Problem(config.where(*place), f"{which}: {what}", hint)


def format_shape(shape: Sequence[int | None]) -> str:
    """Return a shape as text: `148×148×16`."""
    return "×".join("?" if side is None else f"{side}" for side in shape)


def format_trace(trace: Sequence[tuple[str, Sequence[int | None]]]) -> str:
    """Return the names and output shapes of the layers so far as text."""
    return f"shapes so far: {' → '.join(f'{name} {format_shape(shape)}' for name, shape in trace)}"


def dilated_window(window: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """Return the pixels (height, width) that a window covers."""
    height, width = (1 + (side - 1) * rate for side, rate in zip(window, dilation, strict=True))
    return height, width


def pair(given: Any) -> tuple[int, int]:
    """Return an argument that is one number for height and width, or two.

    Raises:
        TypeError: It is neither; or ValueError.
    """
    first, second = (given, given) if isinstance(given, int) else given
    return int(first), int(second)


def _output_sides(layer: LayerSpec, sides: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) that a layer with a sliding window leaves."""
    given, pools = layer.arguments, layer.name in POOLING
    window = pair(given.get("pool_size", 2) if pools else given["kernel_size"])
    strides = pair(given.get("strides") or (window if pools else 1))
    padding = given.get("padding", "valid").lower()
    if padding == "same":
        height, width = (math.ceil(side / step) for side, step in zip(sides, strides, strict=True))
        return height, width
    if padding != "valid":
        raise KeyError(padding)
    covered = dilated_window(window, pair(given.get("dilation_rate", 1)))
    if sides[0] < covered[0] or sides[1] < covered[1]:
        raise small_image(sides, covered, pools=pools)
    height, width = (
        (side - size) // step + 1 for side, size, step in zip(sides, covered, strides, strict=True)
    )
    return height, width
