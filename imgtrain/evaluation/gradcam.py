"""Grad-CAM: which places of an image spoke for an answer.

Source: R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
2017. The channels of the last convolution are weighted by how much each of them raises the answer's logit, and
added up; what speaks against it is left out.

A Sequential model is run layer by layer, nested ones included, because Keras 3 gives the inner tensors of a
Sequential model no names that another model could be made of.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imgtrain.model.runtime import keras, tf

__all__ = ["grad_cam"]


def grad_cam(model: Any, images: NDArray[np.uint8], labels: NDArray[np.int32]) -> NDArray[np.float32] | None:
    """Return where each image speaks for a class: (n, height, width), 0 to 1; None without convolutions.

    Args:
        model: A Keras Sequential that takes raw pixels and ends in a softmax, or in one sigmoid unit.
        images: (n, height, width, channels).
        labels: The class of each image that is asked about, (n,).
    """
    layers = _flatten(model)
    place = _last_convolution(layers)
    if place is None:
        return None
    maps = [
        _explain(layers, place, images[start : start + 16], labels[start : start + 16])
        for start in range(0, len(images), 16)
    ]
    height, width = images.shape[1:3]
    return np.stack(
        [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for part in maps for one in part]
    )


def _explain(
    layers: list[Any], place: int, images: NDArray[np.uint8], labels: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return the maps at the convolution's own resolution."""
    values = tf.cast(images, tf.float32)
    for layer in layers[: place + 1]:
        values = layer(values, training=False)
    features = tf.cast(values, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        values = features
        for layer in layers[place + 1 : -1]:
            values = layer(values, training=False)
        logits = _logits(layers[-1], values)
        if logits.shape[1] == 1:  # what speaks for the first class speaks against the second
            answers = logits[:, 0] * tf.where(labels == 1, 1.0, -1.0)
        else:
            answers = tf.gather(logits, labels, batch_dims=1)
    gradients = tape.gradient(answers, features)
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    maps = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)).numpy()
    return maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)


def _logits(layer: Any, values: Any) -> Any:
    """Return what the last layer would give without its softmax or sigmoid, whose slope vanishes where it is sure."""
    if isinstance(layer, keras.layers.Dense):
        logits = tf.matmul(tf.cast(values, tf.float32), tf.cast(layer.kernel, tf.float32))
        return logits + layer.bias if layer.use_bias else logits
    if isinstance(layer, keras.layers.Activation | keras.layers.Softmax):
        return values
    probabilities = layer(values, training=False)
    return tf.math.log(tf.maximum(probabilities, keras.config.epsilon()))


def _flatten(model: Any) -> list[Any]:
    """Return the layers of a Sequential and of the Sequentials in it; any other model counts as a layer."""
    layers = []
    for layer in model.layers:
        if isinstance(layer, keras.Sequential):
            layers += _flatten(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            layers.append(layer)
    return layers


def _last_convolution(layers: list[Any]) -> int | None:
    """Return the place of the layer whose output is explained, such as the activation behind a convolution.

    It is the last one with an image for output and weights in it, or one behind it that keeps its size: what
    follows, a pooling, would only make the map coarser.
    """
    shapes = [layer.output.shape if layer._inbound_nodes else None for layer in layers]
    convolutions = [
        place
        for place, (layer, shape) in enumerate(zip(layers, shapes, strict=True))
        if shape is not None and len(shape) == 4 and layer.trainable_weights and shape[1] * shape[2] > 1
    ]
    if not convolutions:
        return None
    place = convolutions[-1]
    while place + 2 < len(layers) and shapes[place + 1] == shapes[place]:
        place += 1
    return place
