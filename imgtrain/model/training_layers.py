"""Layers that train as Keras's own do, in less time; the saved model has Keras's own.

Each is a subclass with the name, the variables and the configuration of its base, so that weights pass from one
network to the other and `plain_configuration` needs to change no more than the module.
"""

from __future__ import annotations

from typing import Any

from imgtrain.config.schema import LayerSpec
from imgtrain.model.runtime import keras, tf

__all__ = ["plain_class", "plain_configuration", "training_class"]

# TensorFlow's number of the algorithm; it is the one that Keras's Dropout takes.
_PHILOX = 1


class Dropout(keras.layers.Dropout):
    """Draws 8 or 16 random bits for each value where Keras draws 32 and makes a float of them.

    The share that is dropped is the rate, rounded to a 65,536th; what is kept is scaled by that share, as far as the
    dtype can tell. The state is Keras's: one seed and a counter of calls.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or not 0 < self.rate < 1 or self.noise_shape is not None:
            return super().call(inputs, training=training)
        bits = tf.uint8 if (self.rate * 256).is_integer() else tf.uint16
        levels = 1 << (8 * bits.size)
        dropped = min(round(self.rate * levels), levels - 1)
        kept = tf.cast(self._draw(tf.shape(inputs), bits) >= tf.constant(dropped, bits), inputs.dtype)
        return inputs * (kept * tf.constant(levels / (levels - dropped), inputs.dtype))

    def _draw(self, shape: Any, dtype: Any) -> Any:
        """Return random integers of the full range, as many to a word of 32 bits as fit."""
        count, in_a_word = tf.reduce_prod(shape), 4 // dtype.size
        words = tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=[(count + in_a_word - 1) // in_a_word],
            key=tf.bitcast(tf.cast(self.seed_generator.next(), tf.uint32), tf.uint64)[None],
            counter=tf.zeros(2, tf.uint64),
            alg=_PHILOX,
            dtype=tf.uint32,
        )
        return tf.reshape(tf.reshape(tf.bitcast(words, dtype), [-1])[:count], shape)


class Conv2D(keras.layers.Conv2D):
    """Leaves its ReLU to the max pooling behind it."""

    def call(self, inputs: Any) -> Any:
        outputs = self.convolution_op(inputs, self.kernel)
        return tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs


class MaxPooling2D(keras.layers.MaxPooling2D):
    """Takes the ReLU of the convolution before it, on a quarter of the values.

    The largest of max(x, 0) is max(the largest x, 0), and both orders pass the gradient on to the same place.
    """

    def call(self, inputs: Any) -> Any:
        return tf.nn.relu(super().call(inputs))


def plain_class(spec: LayerSpec) -> type[keras.Layer]:
    """Return Keras's own class of a layer of the configuration."""
    found: type[keras.Layer] = getattr(keras.layers, spec.name)
    return found


def training_class(before: LayerSpec | None, spec: LayerSpec, behind: LayerSpec | None) -> type[keras.Layer]:
    """Return what trains as a layer of the configuration does.

    Args:
        before: The layer before it; None for the first.
        spec: The layer.
        behind: The layer behind it; None for the last.
    """
    if _leaves_relu(spec, behind):
        return Conv2D
    if before is not None and _leaves_relu(before, spec):
        return MaxPooling2D
    if spec.name == "Dropout":
        return Dropout
    return plain_class(spec)


def plain_configuration(value: Any) -> Any:
    """Return the configuration of a network with Keras's own layers in place of those here."""
    if isinstance(value, list):
        return [plain_configuration(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: plain_configuration(item) for key, item in value.items()}
    if value.get("module") == __name__:
        plain |= {"module": "keras.layers", "registered_name": None}
    return plain


def _leaves_relu(spec: LayerSpec, behind: LayerSpec | None) -> bool:
    return (
        plain_class(spec) is keras.layers.Conv2D
        and spec.arguments.get("activation") == "relu"
        and "activity_regularizer" not in spec.arguments
        and "data_format" not in spec.arguments
        and behind is not None
        and plain_class(behind) is keras.layers.MaxPooling2D
        and "data_format" not in behind.arguments
    )
