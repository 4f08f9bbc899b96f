"""Measure the network: its summary, its weights, and the memory needed for training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

from imgtrain.config.layers import format_shape
from imgtrain.config.schema import Config
from imgtrain.errors import ConfigError, Problem
from imgtrain.events import ModelBuilt
from imgtrain.model.runtime import keras, tf
from imgtrain.run.machine import memory_bytes

__all__ = [
    "explain_out_of_memory",
    "measure_network",
    "variable_bytes",
]

# Number of optimizer slots per weight, by class name in lower case; 2 for others.
_SLOTS = {"sgd": 0, "rmsprop": 2, "adagrad": 1, "lion": 1, "adafactor": 1, "muon": 1}


def measure_network(model: keras.Sequential, config: Config) -> ModelBuilt:
    """Return the summary of a network and its size in training.

    The memory for training is an estimate: weights, their gradients and optimizer slots, and the outputs of all layers
    for one batch, for the forward and the backward pass.
    """
    trainable = sum(variable_bytes(weight) for weight in model.trainable_weights)
    total = sum(variable_bytes(weight) for weight in model.weights)
    activations = config.data.batch_size * _activation_bytes(model)
    return ModelBuilt(
        rows=tuple(
            (
                f"{layer.name} ({type(layer).__name__})",
                format_shape(layer.output.shape[1:]),
                layer.count_params(),
                _trainable_parameters(layer),
            )
            for layer in model.layers
        ),
        parameters=model.count_params(),
        trainable_parameters=_trainable_parameters(model),
        weight_bytes=total,
        training_bytes=total + trainable * (1 + _slots(config)) + 2 * activations,
    )


@contextmanager
def explain_out_of_memory(model: keras.Sequential, config: Config) -> Iterator[None]:
    """Convert out-of-memory errors to an error that suggests a smaller batch size.

    Raises:
        ConfigError: TensorFlow or NumPy ran out of memory.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        size = config.data.batch_size
        measured = measure_network(model, config)
        images = 2 * _activation_bytes(model) * size
        left = memory_bytes() - (measured.training_bytes - images)
        # The estimate doesn't include temporary memory of operations, so suggest at most half.
        fitting = min(size // 2, max(left, 0) * size // images)
        hint = f"try data.batch_size: {fitting}" if fitting else "use a smaller network or data.target_size"
        raise ConfigError(
            Problem(config.where("data", "batch_size"), f"out of memory with batch_size {size}", hint)
        ) from error


def variable_bytes(variable: keras.Variable) -> int:
    """Return the memory of a variable, whether it is allocated or not."""
    return prod(variable.shape) * _bytes_of(variable.dtype)


def _trainable_parameters(layer: keras.Layer) -> int:
    return sum(prod(weight.shape) for weight in layer.trainable_weights)


def _activation_bytes(model: keras.Model) -> int:
    """Return the memory of the layers' outputs for one image that training keeps."""
    return sum(_output_bytes(layer) for layer in model.layers)


def _output_bytes(layer: keras.Layer) -> int:
    if isinstance(layer, keras.Model):
        # Without gradients, outputs are freed as soon as they are used.
        inner = [_output_bytes(one) for one in layer.layers]
        return sum(inner) if layer.trainable_weights else max(inner)
    return prod(layer.output.shape[1:]) * _bytes_of(layer.output.dtype)


def _slots(config: Config) -> int:
    optimizer = config.training.optimizer
    slots = _SLOTS.get(optimizer.name.lower(), 2)
    if optimizer.name.lower() == "sgd" and optimizer.arguments.get("momentum"):
        slots += 1
    return slots + bool(optimizer.arguments.get("centered")) + bool(optimizer.arguments.get("amsgrad"))


def _bytes_of(dtype: str) -> int:
    return {"bool": 1, "float16": 2, "bfloat16": 2, "float64": 8, "int64": 8}.get(dtype, 4)
