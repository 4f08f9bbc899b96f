"""Estimate the size of a network from its configuration, without TensorFlow.

`imgtrain train` measures the actual network; this estimate finds networks that don't fit into memory earlier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from imgtrain.config.layers import POOLING, Shape, output_shape, pair
from imgtrain.config.schema import Config, LayerSpec

__all__ = ["NetworkSize", "estimate_network"]


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
    shape: Shape = config.data.image_shape
    parameters = activations = multiplications = 0
    layers = list(config.model.layers)
    for index, layer in enumerate(layers):
        try:
            output = output_shape(layer, shape)
            weights, work = _weights_and_work(layer, shape, output)
        except (KeyError, TypeError, ValueError):
            return NetworkSize(
                parameters, activations, multiplications, tuple(layer.name for layer in layers[index:])
            )
        parameters, multiplications = parameters + weights, multiplications + work
        activations += math.prod(output)
        shape = output
    if layers[-1].arguments.get("activation") not in ("softmax", "sigmoid"):
        units = 1 if config.data.class_mode == "binary" else classes
        size = shape[-1]  # pooled before the output layer if not flat
        parameters += (size + 1) * units
        multiplications += size * units
    return NetworkSize(parameters, activations, multiplications)


def _weights_and_work(layer: LayerSpec, shape: Shape, output: Shape) -> tuple[int, int]:
    """Return the parameters and multiplications of a layer that `output_shape` knows."""
    channels, given = shape[-1], layer.arguments
    if layer.name == "BatchNormalization":
        return 4 * channels, 2 * math.prod(shape)
    if layer.name == "Dense":
        return (channels + _bias(layer)) * output[-1], math.prod(shape) * output[-1]
    if "kernel_size" not in given or layer.name in POOLING:
        return 0, 0
    area, count, filters = math.prod(pair(given["kernel_size"])), math.prod(output[:-1]), output[-1]
    if layer.name == "Conv2D":
        seen = channels // int(given.get("groups", 1))
        return (area * seen + _bias(layer)) * filters, count * area * seen * filters
    if layer.name == "DepthwiseConv2D":
        return (area + _bias(layer)) * filters, count * area * filters
    inner = channels * int(given.get("depth_multiplier", 1))
    return area * inner + (inner + _bias(layer)) * filters, count * inner * (area + filters)


def _bias(layer: LayerSpec) -> int:
    return 1 if layer.arguments.get("use_bias", True) else 0
