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
        unknown: Names of layers that cannot be estimated; the numbers only include the layers before the first one.
    """

    parameters: int
    activations: int
    unknown: tuple[str, ...] = ()


def estimate_network(config: Config, *, classes: int) -> NetworkSize:
    """Estimate the network of a configuration, including the output layer."""
    backbone = config.model.backbone
    if backbone is not None:
        return NetworkSize(0, 0, unknown=(backbone.name or str(backbone.source),))
    shape: Shape = config.data.image_shape
    parameters = activations = 0
    layers = list(config.model.layers)
    for index, layer in enumerate(layers):
        try:
            output = output_shape(layer, shape)
            parameters += _weights(layer, shape, output)
        except (KeyError, TypeError, ValueError):
            return NetworkSize(parameters, activations, tuple(layer.name for layer in layers[index:]))
        activations += math.prod(output)
        shape = output
    if layers[-1].arguments.get("activation") not in ("softmax", "sigmoid"):
        units = 1 if config.data.class_mode == "binary" else classes
        parameters += (shape[-1] + 1) * units  # pooled before the output layer if not flat
    return NetworkSize(parameters, activations)


def _weights(layer: LayerSpec, shape: Shape, output: Shape) -> int:
    """Return the parameters of a layer that `output_shape` knows."""
    channels, given = shape[-1], layer.arguments
    if layer.name == "BatchNormalization":
        return 4 * channels
    if layer.name == "Dense":
        return (channels + _bias(layer)) * output[-1]
    if "kernel_size" not in given or layer.name in POOLING:
        return 0
    area, filters = math.prod(pair(given["kernel_size"])), output[-1]
    if layer.name == "Conv2D":
        return (area * (channels // int(given.get("groups", 1))) + _bias(layer)) * filters
    if layer.name == "DepthwiseConv2D":
        return (area + _bias(layer)) * filters
    inner = channels * int(given.get("depth_multiplier", 1))
    return area * inner + (inner + _bias(layer)) * filters


def _bias(layer: LayerSpec) -> int:
    return 1 if layer.arguments.get("use_bias", True) else 0
