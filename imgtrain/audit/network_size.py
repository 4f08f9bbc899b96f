"""Estimate the size of a network from its configuration, without TensorFlow.

`imgtrain train` measures the actual network; this estimate finds networks that don't fit into memory earlier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imgtrain.config.schema import Config, LayerSpec

__all__ = ["NetworkSize", "estimate_network"]

_SAME_SHAPE = frozenset(
    {"Activation", "AlphaDropout", "Dropout", "ELU", "GaussianDropout", "GaussianNoise", "LeakyReLU", "ReLU"}
    | {"Rescaling", "Softmax", "SpatialDropout2D"}
)
_POOLING = frozenset({"AveragePooling2D", "MaxPooling2D"})
_GLOBAL = frozenset({"GlobalAveragePooling2D", "GlobalMaxPooling2D"})

_Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NetworkSize:
    """The size of a network.

    Attributes:
        parameters: Number of parameters.
        activations: Number of output values of all layers for one image.
        multiplications: Multiplications of a forward pass for one image.
        unknown: Names of layers that cannot be estimated; the numbers only include the layers before the first one.
    """

    parameters: int
    activations: int
    multiplications: int
    unknown: tuple[str, ...] = ()


def estimate_network(config: Config, *, classes: int) -> NetworkSize:
    """Estimate the network of a configuration, including the output layer."""
    shape: _Shape = config.data.image_shape
    parameters = activations = multiplications = 0
    layers = list(config.model.layers)
    for index, layer in enumerate(layers):
        try:
            shape, weights, work = _layer(layer, shape)
        except (KeyError, TypeError, ValueError):
            return NetworkSize(
                parameters, activations, multiplications, tuple(layer.name for layer in layers[index:])
            )
        parameters, multiplications = parameters + weights, multiplications + work
        activations += math.prod(shape)
    if layers[-1].arguments.get("activation") not in ("softmax", "sigmoid"):
        units = 1 if config.data.class_mode == "binary" else classes
        size = shape[-1]  # pooled before the output layer if not flat
        parameters += (size + 1) * units
        multiplications += size * units
    return NetworkSize(parameters, activations, multiplications)


def _layer(layer: LayerSpec, shape: _Shape) -> tuple[_Shape, int, int]:
    """Return (output shape, parameters, multiplications).

    Raises:
        KeyError: The layer is unknown here, or an argument is missing.
        ValueError: The layer doesn't match its input.
    """
    if layer.name in _SAME_SHAPE:
        return shape, 0, 0
    if layer.name == "BatchNormalization":
        return shape, 4 * shape[-1], 2 * math.prod(shape)
    if layer.name == "Flatten":
        return (math.prod(shape),), 0, 0
    if layer.name == "Dense":
        units = int(layer.arguments["units"])
        return (*shape[:-1], units), (shape[-1] + _bias(layer)) * units, math.prod(shape) * units
    height, width, channels = shape
    if layer.name in _GLOBAL:
        return (channels,), 0, 0
    return _windowed(layer, (height, width), channels)


def _windowed(layer: LayerSpec, sides: tuple[int, int], channels: int) -> tuple[_Shape, int, int]:
    """Return the same for a layer with a sliding window over (height, width)."""
    given = layer.arguments
    pools = layer.name in _POOLING
    window = _pair(given.get("pool_size", 2) if pools else given["kernel_size"])
    strides = _pair(given.get("strides") or (window if pools else 1))
    sides = _output_sides(sides, window, strides, given)
    count, area = math.prod(sides), math.prod(window)
    inner = channels * int(given.get("depth_multiplier", 1))
    if pools:
        size = channels, 0, 0
    elif layer.name == "Conv2D":
        filters, seen = int(given["filters"]), channels // int(given.get("groups", 1))
        size = filters, (area * seen + _bias(layer)) * filters, count * area * seen * filters
    elif layer.name == "DepthwiseConv2D":
        size = inner, (area + _bias(layer)) * inner, count * area * inner
    elif layer.name == "SeparableConv2D":
        filters = int(given["filters"])
        size = filters, area * inner + (inner + _bias(layer)) * filters, count * inner * (area + filters)
    else:
        raise KeyError(layer.name)
    return (*sides, size[0]), size[1], size[2]


def _bias(layer: LayerSpec) -> int:
    return 1 if layer.arguments.get("use_bias", True) else 0


def _pair(given: Any) -> tuple[int, int]:
    first, second = (given, given) if isinstance(given, int) else given
    return int(first), int(second)


def _output_sides(
    sides: tuple[int, int], window: tuple[int, int], strides: tuple[int, int], given: Mapping[str, Any]
) -> tuple[int, int]:
    if given.get("padding", "valid") == "same":
        output = tuple(math.ceil(side / step) for side, step in zip(sides, strides, strict=True))
    else:
        dilated = [
            (size - 1) * rate + 1
            for size, rate in zip(window, _pair(given.get("dilation_rate", 1)), strict=True)
        ]
        output = tuple(
            (side - size) // step + 1 for side, size, step in zip(sides, dilated, strides, strict=True)
        )
    if min(output) < 1:
        raise ValueError("the window is larger than its input")
    return output[0], output[1]
