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


class ReLU(keras.layers.ReLU):
    """Leaves itself to the max pooling behind it."""

    def call(self, inputs: Any) -> Any:
        return inputs


class Activation(keras.layers.Activation):
    """A `relu` that leaves itself to the max pooling behind it."""

    def call(self, inputs: Any) -> Any:
        return inputs


class BatchNormalization(keras.layers.BatchNormalization):
    """Normalizes in one kernel where Keras chains elementwise operations in float32.

    The kernel takes inputs in the layer's dtype and computes moments in float32. The moving variance gets the
    biased variance of the batch, as in Keras; the kernel returns the unbiased one.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if len(inputs.shape) != 4 or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        learns = bool(training and self.trainable)
        channels = [inputs.shape[-1]]
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value if self.scale else tf.ones(channels),
            offset=self.beta.value if self.center else tf.zeros(channels),
            mean=tf.zeros([0]) if learns else self.moving_mean.value,
            variance=tf.zeros([0]) if learns else self.moving_variance.value,
            epsilon=self.epsilon,
            is_training=learns,
        )
        if learns:
            values = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance * ((values - 1) / values))
        return outputs

    def _move(self, average: Any, value: Any) -> None:
        """Move a moving average towards a value of the batch."""
        average.assign(average * self.momentum + value * (1.0 - self.momentum))


class MaxPooling2D(keras.layers.MaxPooling2D):
    """Takes the ReLU of the layer before it, on a quarter of the values.

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
        return _LEAVING_RELU[plain_class(spec)]
    if before is not None and _leaves_relu(before, spec):
        return MaxPooling2D
    if spec.name == "Dropout":
        return Dropout
    if spec.name == "BatchNormalization" and _OTHER_NORMALIZATION.isdisjoint(spec.arguments):
        return BatchNormalization
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


_LEAVING_RELU = {
    keras.layers.Conv2D: Conv2D,
    keras.layers.ReLU: ReLU,
    keras.layers.Activation: Activation,
}
# Arguments with which Keras does something else, or over other axes, than the fused kernel.
_OTHER_NORMALIZATION = {"axis", "renorm", "renorm_clipping", "renorm_momentum", "synchronized"}


def _leaves_relu(spec: LayerSpec, behind: LayerSpec | None) -> bool:
    """Return whether a layer ends with a plain ReLU whose output goes into max pooling alone."""
    layer_class = plain_class(spec)
    if layer_class is keras.layers.ReLU:
        ends = not spec.arguments.keys() - {"name"}
    else:
        ends = layer_class in _LEAVING_RELU and spec.arguments.get("activation") == "relu"
    return (
        ends
        and "activity_regularizer" not in spec.arguments
        and "data_format" not in spec.arguments
        and behind is not None
        and plain_class(behind) is keras.layers.MaxPooling2D
        and "data_format" not in behind.arguments
    )
