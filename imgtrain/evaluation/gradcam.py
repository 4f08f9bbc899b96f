"""Grad-CAM: which regions of an image increase the score of a class.

Source: R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
2017. The map is the sum of the last convolution's channels, weighted by the mean gradient of the class's logit;
negative values are set to 0.

One thing differs: the channels are compared with those of an image of a single color, that of the image's border.
Biases, and the zeros with which convolutions pad their inputs, make channels large where nothing is to be seen; without
the comparison, they appear as bright stripes along black borders.

Layers are called one by one, including those of nested Sequential models: in Keras 3, a model cannot be built from
the tensors inside a nested Sequential model.
"""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imgtrain.model.runtime import keras, tf

__all__ = ["grad_cam"]


def grad_cam(model: Any, images: NDArray[np.uint8], labels: NDArray[np.int32]) -> NDArray[np.float32] | None:
    """Return a heat map per image, (n, height, width) from 0 to 1; None if the model has no convolutions.

    Args:
        model: A `keras.Sequential` that takes raw pixels and ends with softmax or one sigmoid unit.
        images: (n, height, width, channels).
        labels: The class to explain for each image, (n,).
    """
    layers = _flatten(model)
    last = _last_convolution(layers)
    if last is None:
        return None
    maps = [
        _explain(layers, last, images[start : start + 16], labels[start : start + 16])
        for start in range(0, len(images), 16)
    ]
    height, width = images.shape[1:3]
    return np.stack(
        [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for part in maps for one in part]
    )


def _explain(
    layers: list[Any], last: int, images: NDArray[np.uint8], labels: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return the maps at the resolution of the convolution."""
    start = min(_first_layer_to_compare(layers, images.shape), last)
    values = _apply(layers[:start], tf.cast(images, tf.float32))
    features = tf.cast(_apply(layers[start : last + 1], values), tf.float32)
    plain = tf.cast(_apply(layers[start : last + 1], _fill_with_border(values)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = _logits(layers[-1], _apply(layers[last + 1 : -1], features))
        if logits.shape[1] == 1:  # the logit of the first class is the negative of the second's
            explained = logits[:, 0] * tf.where(labels == 1, 1.0, -1.0)
        else:
            explained = tf.gather(logits, labels, batch_dims=1)
    gradients = tape.gradient(explained, features)
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    maps = tf.nn.relu(tf.reduce_sum(weights * (features - plain), axis=-1)).numpy()
    return maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)


def _apply(layers: list[Any], values: Any) -> Any:
    for layer in layers:
        values = layer(values, training=False)
    return values


def _first_layer_to_compare(layers: list[Any], shape: tuple[int, ...]) -> int:
    """Return the index of the first layer after the preprocessing, which keeps the shape and has nothing to learn."""
    kept = itertools.takewhile(
        lambda layer: (
            (not layer.weights or isinstance(layer, keras.layers.Normalization))
            and layer._inbound_nodes
            and layer.output.shape[1:3] == shape[1:3]
        ),
        layers,
    )
    return len(list(kept))


def _fill_with_border(values: Any) -> Any:
    """Return images (n, height, width, channels) of one color, the median of the outermost pixels of each image."""
    pixels = np.asarray(values, np.float32)
    sides = (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1])
    color = np.median(np.concatenate(sides, axis=1), axis=1)
    return tf.cast(np.broadcast_to(color[:, None, None], pixels.shape), values.dtype)


def _logits(layer: Any, values: Any) -> Any:
    """Return the output of the last layer without its softmax or sigmoid, whose gradient vanishes near 0 and 1."""
    if isinstance(layer, keras.layers.Dense):
        logits = tf.matmul(tf.cast(values, tf.float32), tf.cast(layer.kernel, tf.float32))
        return logits + layer.bias if layer.use_bias else logits
    if isinstance(layer, keras.layers.Activation | keras.layers.Softmax):
        return values
    probabilities = layer(values, training=False)
    return tf.math.log(tf.maximum(probabilities, keras.config.epsilon()))


def _flatten(model: Any) -> list[Any]:
    """Return the layers of a Sequential and its nested Sequentials; other nested models count as one layer."""
    layers = []
    for layer in model.layers:
        if isinstance(layer, keras.Sequential):
            layers += _flatten(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            layers.append(layer)
    return layers


def _last_convolution(layers: list[Any]) -> int | None:
    """Return the index of the layer to explain: the last one with weights whose output is an image.

    Layers after it that keep the shape, such as its activation, are included; a pooling layer, which would make the map
    coarser, is not.
    """
    shapes = [layer.output.shape if layer._inbound_nodes else None for layer in layers]
    convolutions = [
        index
        for index, (layer, shape) in enumerate(zip(layers, shapes, strict=True))
        if shape is not None and len(shape) == 4 and layer.weights and shape[1] * shape[2] > 1
    ]
    if not convolutions:
        return None
    last = convolutions[-1]
    while last + 2 < len(layers) and shapes[last + 1] == shapes[last]:
        last += 1
    return last
