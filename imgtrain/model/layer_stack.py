"""Call the configured layers one by one on symbolic input.

Errors then name the layer and its line, and layers that exceed the available memory are rejected before they are
allocated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NoReturn

from imgtrain.config.head import output_layer, snake_case
from imgtrain.config.layers import (
    UnfitInput,
    dilated_window,
    format_shape,
    format_trace,
    layer_problem,
    no_image,
    not_flat,
    small_image,
)
from imgtrain.config.schema import Config, LayerSpec
from imgtrain.errors import ConfigError, Problem
from imgtrain.model.backbone import Backbone, check_layer_name
from imgtrain.model.keras_errors import first_sentences
from imgtrain.model.measure import variable_bytes
from imgtrain.model.preprocess import PREPROCESSING_NAMES
from imgtrain.model.runtime import keras
from imgtrain.model.training_layers import plain_class, training_class
from imgtrain.run.machine import memory_bytes
from imgtrain.text import format_bytes

__all__ = ["LayerStack"]

# Training needs the weights, their gradients and, with Adam, two moments: four times the weights.
_WEIGHTS_IN_TRAINING = 4


class LayerStack:
    """The layers added so far, called on symbolic input.

    Attributes:
        layers: The input layer, preprocessing, backbone, configured layers and output layer.
        shapes: The output shapes of the configured layers and the output layer, including the batch dimension.
        backbone: The backbone; None if there is none.
        head: Position in `layers` of the first configured layer.
    """

    def __init__(self, config: Config, *, policy: str, for_training: bool = False) -> None:
        """Start with the input layer.

        Args:
            config: The configuration.
            policy: Keras dtype policy of the configured layers.
            for_training: Whether to use the faster layers of `training_layers`.
        """
        self._config = config
        self._policy = policy
        self._for_training = for_training
        first = keras.layers.InputLayer(shape=config.data.image_shape, dtype="float32", name="pixels")
        self.layers = [first]
        self._tensor = first.output
        self._trace = [("input", self._tensor.shape[1:])]
        self._position = 0
        self._first_dense_on_image: int | None = None
        self._weight_bytes = 0
        self.shapes: list[tuple[int | None, ...]] = []
        self.backbone: keras.Model | None = None
        self.head = 1

    def add_preprocessing(self, layer: keras.Layer) -> None:
        """Add a layer that is not configured, before the configured ones."""
        self._tensor = layer(self._tensor)
        self.layers.append(layer)
        self.head += 1

    def add_backbone(self, backbone: Backbone) -> None:
        """Add a backbone, all of it trainable, and its global pooling.

        Raises:
            ConfigError: It cannot take images of this size, or doesn't contain the layer to train from.
        """
        settings = self._config.model.backbone
        assert settings is not None
        for layer in backbone.adapters:
            self.add_preprocessing(layer)
        try:
            network = backbone.build(policy=self._policy, for_training=self._for_training)
            features = network(self._tensor)
        # Keras and TensorFlow raise various exceptions for invalid shapes.
        except Exception as error:
            height, width = self._config.data.size
            what = f"{backbone.label} cannot take images of {height}×{width}: {first_sentences(error)}"
            where = self._config.where("data", "target_size")
            raise ConfigError(Problem(where, what, "use the size that it was trained with")) from error
        fine_tune = self._config.training.fine_tune
        for name, *path in (
            (settings.trainable, "model", "backbone", "trainable"),
            ("all" if fine_tune is None else fine_tune.first_layer, "training", "fine_tune", "from"),
        ):
            if isinstance(name, str) and name != "all" and (hint := check_layer_name(network, name)):
                raise ConfigError(
                    Problem(self._config.where(*path), f"{backbone.label} has no layer {name!r}", hint)
                )
        self.backbone, self._tensor = network, features
        self.layers.append(network)
        self.head += 1
        self._trace.append((backbone.label, features.shape[1:]))
        if len(features.shape) == 4:
            pooling = {
                "avg": keras.layers.GlobalAveragePooling2D,
                "max": keras.layers.GlobalMaxPooling2D,
            }[settings.pooling]
            self.add_preprocessing(pooling(name="backbone_pooling", dtype=self._policy))
            self._trace.append((pooling.__name__, self._tensor.shape[1:]))

    def add_all(self, class_count: int) -> None:
        """Add the configured layers and the output layer.

        Raises:
            ConfigError: A layer is invalid; with the layer, its location, and the shapes so far.
        """
        written = self._config.model.layers
        added = output_layer(self._config, class_count)
        for spec in written if added else written[:-1]:
            self._add(spec)
        self._add_output(added or written[-1])

    def _add_output(self, spec: LayerSpec) -> None:
        """Add the output layer, which computes in float32."""
        if len(self._tensor.shape) != 2:
            before = self._first_dense_on_image or self._position + 1
            self._position += 1
            unfit = not_flat(self._tensor.shape[1:], before=before)
            self._fail(spec, unfit.what, unfit.hint)
        self._add(spec, policy="float32", name="output")

    def _add(self, spec: LayerSpec, *, policy: str | None = None, name: str | None = None) -> None:
        """Create a layer, call it on the output of the last one, and count its weights."""
        self._position += 1
        shape = self._tensor.shape
        if _has_activity_loss(spec):
            # Keras cannot add activity losses of another dtype to the loss.
            policy = "float32"
        with self._keras_errors_about(spec):
            arguments = {key: _as_tuple(value) for key, value in spec.arguments.items()}
            arguments = {"name": name or self._free_name(spec.name), **arguments}
            layer = self._layer_class(spec)(**arguments, dtype=policy or self._policy)
        if unfit := _unfit_input(layer, shape):
            self._fail(spec, unfit.what, unfit.hint)
        with self._keras_errors_about(spec):
            output = layer(self._tensor)
        if (
            not keras.backend.is_keras_tensor(output)
            or output.shape[0] is not None
            or None in output.shape[1:]
        ):
            self._fail(spec, "its output must be one array of fixed shape per image")
        if layer.name in {*PREPROCESSING_NAMES, *(other.name for other in self.layers)}:
            self._fail(spec, f"duplicate layer name {layer.name!r}")
        self._raise_if_too_large(spec, layer, output)
        if _wanted_rank(layer) >= 4:
            self._first_dense_on_image = None
        elif spec.name == "Dense" and len(shape) > 2 and self._first_dense_on_image is None:
            self._first_dense_on_image = self._position
        self.layers.append(layer)
        self.shapes.append(output.shape)
        self._tensor = output
        self._trace.append((spec.name, output.shape[1:]))

    def _layer_class(self, spec: LayerSpec) -> type[keras.Layer]:
        if not self._for_training:
            return plain_class(spec)
        written = [None, *self._config.model.layers, None, None]
        return training_class(written[self._position - 1], spec, written[self._position + 1])

    @contextmanager
    def _keras_errors_about(self, spec: LayerSpec) -> Iterator[None]:
        try:
            yield
        # Keras and TensorFlow raise various exceptions for invalid arguments and shapes.
        except Exception as error:
            raise ConfigError(self._problem(spec, first_sentences(error))) from error

    def _free_name(self, layer_class: str) -> str:
        """Return a unique name that only depends on the configuration, not on Keras's global counters."""
        same = sum(spec.name == layer_class for spec in self._config.model.layers[: self._position])
        return f"{snake_case(layer_class)}_{same}"

    def _raise_if_too_large(self, spec: LayerSpec, layer: keras.Layer, output: keras.KerasTensor) -> None:
        memory = memory_bytes()
        sizes = [(variable_bytes(weight), tuple(weight.shape)) for weight in layer.weights]
        self._weight_bytes += sum(size for size, _ in sizes)
        training_bytes = _WEIGHTS_IN_TRAINING * self._weight_bytes
        if sizes and training_bytes > memory:
            size, shape = max(sizes)
            what = (
                f"its weights of {format_shape(shape)} take {format_bytes(size)}; training "
                f"takes {_WEIGHTS_IN_TRAINING} times the weights, {format_bytes(training_bytes)} so far; "
                f"this machine has {format_bytes(memory)}"
            )
            hint = "use GlobalAveragePooling2D instead of Flatten, more pooling before it, fewer units"
            self._fail(spec, what, f"{hint}, or a smaller data.target_size")
        batch_bytes = 4 * self._config.data.batch_size * prod(output.shape[1:])
        if batch_bytes > memory:
            what = (
                f"its output of {format_shape(output.shape[1:])} takes {format_bytes(batch_bytes)} for one "
                f"batch, and this machine has {format_bytes(memory)}"
            )
            self._fail(spec, what, "use a smaller data.batch_size or data.target_size")

    def _fail(self, spec: LayerSpec, what: str, hint: str = "") -> NoReturn:
        raise ConfigError(self._problem(spec, what, hint))

    def _problem(self, spec: LayerSpec, what: str, hint: str = "") -> Problem:
        trace = format_trace(self._trace)
        return layer_problem(
            self._config, self._position, spec.name, what, f"{hint}; {trace}" if hint else trace
        )


def _has_activity_loss(spec: LayerSpec) -> bool:
    return spec.name == "ActivityRegularization" or spec.arguments.get("activity_regularizer") is not None


def _as_tuple(value: Any) -> Any:
    """Return a list as a tuple, because Keras tracks lists and cannot copy them for an .h5 file."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _unfit_input(layer: keras.Layer, shape: tuple[int, ...]) -> UnfitInput | None:
    """Return what is wrong with a layer's input and what to do, where Keras's own words would not help."""
    if _wanted_rank(layer) >= 4 > len(shape):
        return no_image(shape[1:])
    window = _window(layer)
    if window and len(shape) == 4 and (shape[1] < window[0] or shape[2] < window[1]):
        return small_image((shape[1], shape[2]), window, pools=hasattr(layer, "pool_size"))
    return None


def _wanted_rank(layer: keras.Layer) -> int:
    """Return the minimum number of dimensions of a layer's input, including the batch; 0 if there is none."""
    spec = layer.input_spec
    return (spec.ndim or spec.min_ndim or 0) if isinstance(spec, keras.layers.InputSpec) else 0


def _window(layer: keras.Layer) -> tuple[int, int] | None:
    """Return the minimum input size (height, width) of a pooling or convolution."""
    size = getattr(layer, "pool_size", None) or getattr(layer, "kernel_size", None)
    if getattr(layer, "padding", None) != "valid" or "Transpose" in type(layer).__name__:
        return None
    if not (isinstance(size, tuple) and len(size) == 2):
        return None
    return dilated_window(size, getattr(layer, "dilation_rate", (1, 1)))
