"""Faster, equivalent layers for training; the saved model has stock Keras layers.

Each is a subclass with the variables and config of the stock layer, so that weights can be copied between the networks,
and `plain_configuration` only has to change the class.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Any

from imgtrain.config.schema import LayerSpec
from imgtrain.model.runtime import keras, tf

__all__ = [
    "TRAINING_CLASSES",
    "plain_class",
    "plain_configuration",
    "training_class",
    "training_configuration",
]

# TensorFlow's ID of the algorithm used by Keras's Dropout.
_PHILOX = 1
_WITHOUT_RELU = "WithoutReLU"
# Maximum number of pixels, 6×6, of a feature map for which the kernel's gradient is computed as a convolution.
_SMALL_MAP = 36


class Dropout(keras.layers.Dropout):
    """Uses 8 or 16 random bits per value, where Keras draws 32 bits and converts them to float.

    The rate is rounded to a multiple of 1/65,536, and the kept values are scaled accordingly. The state is that of
    Keras: a seed and a counter of calls.
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
        """Return random integers of the full range, packed into 32-bit words."""
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
    """Computes the gradient of its kernel faster on small feature maps, as at the end of most networks."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Return Keras's result; only the implementation of the kernel's gradient differs."""
        usual = self.strides == self.dilation_rate == (1, 1) and self.groups == 1 and self.padding == "same"
        odd = all(side % 2 for side in self.kernel_size)
        channels_last = self.data_format == "channels_last"
        if usual and odd and channels_last and prod(inputs.shape[1:3]) <= _SMALL_MAP:
            return _convolve_small_map(inputs, tf.cast(kernel, inputs.dtype))
        return super().convolution_op(inputs, kernel)


class Conv2DWithoutReLU(Conv2D):
    """Leaves its ReLU to the subsequent max pooling."""

    def call(self, inputs: Any) -> Any:
        outputs = self.convolution_op(inputs, self.kernel)
        return tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _convolve_small_map(inputs: Any, kernel: Any) -> Any:
    """Return the convolution with stride 1 and padding `same`.

    The gradient of the kernel is a convolution too: over the images of the batch instead of the channels, with the
    gradient of the outputs as its kernel. On maps of a few pixels, TensorFlow's own takes up to twice as long.

    Args:
        inputs: Shape (batch, height, width, channels).
        kernel: Shape (kernel height, kernel width, channels, filters), of odd height and width.
    """
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2

    def gradients(upstream: Any) -> tuple[Any, Any]:
        of_inputs = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(inputs), 1, "SAME")
        by_channel = tf.pad(
            tf.transpose(inputs, (3, 1, 2, 0)), ((0, 0), (rows, rows), (columns, columns), (0, 0))
        )
        of_kernel = tf.nn.conv2d(by_channel, tf.transpose(upstream, (1, 2, 0, 3)), 1, "VALID")
        return of_inputs, tf.transpose(of_kernel, (1, 2, 0, 3))

    return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradients


class ReLU(keras.layers.ReLU):
    """Leaves the activation to the subsequent max pooling."""

    def call(self, inputs: Any) -> Any:
        return inputs


class Activation(keras.layers.Activation):
    """Leaves the `relu` activation to the subsequent max pooling."""

    def call(self, inputs: Any) -> Any:
        return inputs


class BatchNormalization(keras.layers.BatchNormalization):
    """Normalizes in a single kernel, where Keras uses a chain of elementwise operations in float32.

    The kernel takes inputs in the layer's dtype and computes moments in float32. The moving variance is updated with
    the biased batch variance, as in Keras; the kernel returns the unbiased one.
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
        """Update a moving average."""
        average.assign(average * self.momentum + value * (1.0 - self.momentum))


class MaxPooling2D(keras.layers.MaxPooling2D):
    """Applies the ReLU of the preceding layer after pooling, on a quarter of the values.

    max(max(x, 0)) equals max(max(x), 0), and the gradient goes to the same element.
    """

    def call(self, inputs: Any) -> Any:
        return tf.nn.relu(super().call(inputs))


def plain_class(spec: LayerSpec) -> type[keras.Layer]:
    """Return the stock Keras class of a configured layer."""
    found: type[keras.Layer] = getattr(keras.layers, spec.name)
    return found


def training_class(before: LayerSpec | None, spec: LayerSpec, behind: LayerSpec | None) -> type[keras.Layer]:
    """Return the class used for training a configured layer.

    Args:
        before: The preceding layer; None for the first.
        spec: The layer.
        behind: The subsequent layer; None for the last.
    """
    if _leaves_relu(spec, behind):
        return _LEAVING_RELU[plain_class(spec)]
    if before is not None and _leaves_relu(before, spec):
        return MaxPooling2D
    if spec.name == "Dropout":
        return Dropout
    if spec.name == "BatchNormalization" and _OTHER_NORMALIZATION.isdisjoint(spec.arguments):
        return BatchNormalization
    return Conv2D if plain_class(spec) is keras.layers.Conv2D else plain_class(spec)


def plain_configuration(value: Any) -> Any:
    """Return the config of a network with stock Keras layers instead of those in this module."""
    if isinstance(value, list):
        return [plain_configuration(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: plain_configuration(item) for key, item in value.items()}
    if value.get("module") == __name__:
        class_name = value["class_name"].removesuffix(_WITHOUT_RELU)
        plain |= {"module": "keras.layers", "class_name": class_name, "registered_name": None}
    return plain


def training_configuration(value: Any) -> Any:
    """Return the serialized config of a network of stock Keras layers with the batch normalization of this module.

    Pass `TRAINING_CLASSES` as custom objects to Keras when creating the network.
    """
    if isinstance(value, list):
        return [training_configuration(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("class_name") == "BatchNormalization" and _is_fusible(value["config"]):
        (registered_name,) = TRAINING_CLASSES
        return {**value, "module": __name__, "registered_name": registered_name}
    return {key: training_configuration(item) for key, item in value.items()}


def _is_fusible(normalization: Mapping[str, Any]) -> bool:
    """Return whether the fused kernel does what the config of a batch normalization of images says."""
    axis = normalization["axis"]
    last = axis in (-1, 3) or (isinstance(axis, list) and axis in ([-1], [3]))
    return last and not (normalization.get("renorm") or normalization.get("synchronized"))


TRAINING_CLASSES: Mapping[str, type[keras.Layer]] = MappingProxyType(
    {"imgtrain>BatchNormalization": BatchNormalization}
)
"""The classes that `training_configuration` uses, by the names that they have there."""

_LEAVING_RELU = {
    keras.layers.Conv2D: Conv2DWithoutReLU,
    keras.layers.ReLU: ReLU,
    keras.layers.Activation: Activation,
}
# Arguments that the fused kernel doesn't support.
_OTHER_NORMALIZATION = {"axis", "renorm", "renorm_clipping", "renorm_momentum", "synchronized"}


def _leaves_relu(spec: LayerSpec, behind: LayerSpec | None) -> bool:
    """Return whether a layer ends with a plain ReLU and is followed by max pooling."""
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
