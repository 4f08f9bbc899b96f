"""Check that the network of a configuration can be trained, saved and loaded, before decoding images.

Performs a dry run: traces the training step and inference, and creates, writes and reads the saved copy, with variables
that are never allocated. If this fails, the cause is searched layer by layer.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from imgtrain.config.layers import format_shape, layer_problem
from imgtrain.config.schema import Config
from imgtrain.config.wording import format_value
from imgtrain.errors import ConfigError, Problem
from imgtrain.model.abstract_build import never_allocated
from imgtrain.model.backbone import read_backbone, set_trainable
from imgtrain.model.build import read_layers, saved_layers
from imgtrain.model.compile import compile_network
from imgtrain.model.initial_state import saving_initial_state
from imgtrain.model.keras_errors import first_sentences
from imgtrain.model.layer_stack import LayerStack
from imgtrain.model.precision import POLICIES
from imgtrain.model.runtime import keras, tf

__all__ = ["check_network"]


def check_network(config: Config, *, class_count: int, precision: str = "float32") -> list[Problem]:
    """Return problems of the network, optimizer or model file that would make a run fail.

    Doesn't allocate weights, and takes a few tenths of a second for typical networks.

    Args:
        config: The configuration, without problems in `check_output`.
        class_count: Number of classes.
        precision: The precision of training.
    """
    suffix = Path(config.output.model).suffix
    problems: list[Problem] = []
    checks: tuple[Callable[[], list[Problem]], ...] = (
        lambda: _check_layers(config, class_count, precision, suffix),
        lambda: _check_compiled(config, suffix),
    )
    for check in checks:
        try:
            problems += check()
        except ConfigError as error:
            problems += error.problems
    return problems


class _Unfit(Exception):  # noqa: N818 (an answer to a question, not an error)
    """Something would fail in a run; the arguments are the problem and a hint."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what, self.hint = what, hint


def _check_layers(config: Config, class_count: int, precision: str, suffix: str) -> list[Problem]:
    backbone = read_backbone(config)
    # Without preprocessing, which needs image statistics and changes neither shape nor dtype.
    with never_allocated():
        stack = LayerStack(config, policy=POLICIES[precision], for_training=True)
        if backbone is not None:
            stack.add_backbone(backbone)
        stack.add_all(class_count)
    if backbone is not None:
        set_trainable(stack.backbone, backbone.trainable)
        if suffix == ".h5" and (unknown := _unknown_to_h5(stack.backbone)):
            what = f"Keras cannot load it from an .h5 file, because it contains {', '.join(unknown)}"
            return [Problem(config.where("model", "backbone"), what, "set output.model to model.keras")]
    # The dry run leaves out the backbone: Keras can train, save and load its own networks, and what it loaded.
    layers = stack.layers[stack.head :]
    first = layers[0].input
    frozen = stack.backbone is None or not (
        stack.backbone.trainable_weights or config.training.fine_tune is not None
    )
    try:
        _rehearse(
            [keras.layers.InputLayer(first.shape[1:], dtype=first.dtype), *layers], suffix, is_first=frozen
        )
    except _Unfit as whole:
        input_shapes = [first.shape, *stack.shapes[:-1]]
        problems = []
        for position, (layer, shape) in enumerate(zip(layers, input_shapes, strict=True), start=1):
            try:
                is_first = position == 1 and frozen
                _rehearse([keras.layers.InputLayer(shape[1:]), layer], suffix, is_first=is_first)
            except _Unfit as unfit:
                name = type(layer).__name__
                problems.append(layer_problem(config, position, name, unfit.what, unfit.hint))
        return problems or [Problem(config.where("model", "layers"), whole.what, whole.hint)]
    return []


def _unknown_to_h5(network: keras.Model) -> list[str]:
    """Return the classes of a network's operations that Keras cannot load from an .h5 file."""
    found = []
    for operation in getattr(network, "operations", network.layers):
        if isinstance(operation, keras.Model):
            found += _unknown_to_h5(operation)
        elif not hasattr(keras.layers, type(operation).__name__) or not isinstance(
            operation, keras.layers.Layer
        ):
            found.append(type(operation).__name__)
    return sorted(set(found))


def _rehearse(layers: Sequence[keras.Layer], suffix: str, *, is_first: bool) -> None:
    """Perform the dry run with some layers.

    Args:
        layers: An input layer, followed by layers that may be allocated or not.
        suffix: `.keras` or `.h5`.
        is_first: Whether these are the first layers of the network; others must propagate gradients to their input.

    Raises:
        _Unfit: A run would fail.
    """
    with _failing("Keras cannot connect it to other layers"), never_allocated():
        trained = keras.Sequential(layers)
    with _failing("Keras cannot train it"):
        _trace_training(trained, to_input=not is_first)
    with _failing("Keras cannot read its configuration back"), never_allocated():
        configs = saved_layers(trained)
        saved = keras.Sequential([layers[0], *read_layers(configs)])
    with _failing("Keras cannot predict with it"):
        shape = _trace_inference(saved)
    if shape != trained.output_shape:
        in_training, otherwise = (format_shape(output[1:]) for output in (trained.output_shape, shape))
        raise _Unfit(f"its output is {in_training} in training and {otherwise} otherwise")
    for config, layer in zip(configs, saved.layers, strict=True):
        _compare(config["config"], layer.get_config(), "its configuration")
    file, hint = _name_file(suffix)
    with _failing(f"Keras cannot save it to {file}", hint):
        configs = _save(saved, suffix)
    with _failing(f"Keras cannot load it from {file}", hint), never_allocated():
        loaded = read_layers(configs)
    for before, after in zip(saved.layers, loaded, strict=True):
        _compare(before.get_config(), after.get_config(), file, hint)


def _name_file(suffix: str) -> tuple[str, str]:
    """Return the kind of model file with an article, and a hint for what it doesn't support."""
    return ("an .h5 file", "set output.model to model.keras") if suffix == ".h5" else ("a .keras file", "")


@contextmanager
def _failing(what: str, hint: str = "") -> Iterator[None]:
    try:
        yield
    # The errors of Keras, TensorFlow, h5py, json and pickle have no common base class.
    except Exception as error:
        raise _Unfit(f"{what}: {first_sentences(error)}", hint) from error


def _trace_training(model: keras.Sequential, *, to_input: bool) -> None:
    """Trace a training step: the loss, including regularization, and its gradient."""
    variables = model.trainable_variables

    def step(images: Any, *values: Any) -> Any:
        with keras.StatelessScope(initialize_variables=False) as scope:
            for variable, value in zip(variables, values, strict=True):
                scope.add_update((variable, value))
            with tf.GradientTape() as tape:
                sources = [*values, images] if to_input else [*values]
                tape.watch(sources)
                outputs = model(images, training=True)
                loss = sum(model.losses, start=tf.reduce_sum(tf.cast(outputs, tf.float32)))
        return tape.gradient(loss, sources)

    signature = [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]
    _trace(step, _images(model), *signature)


def _trace_inference(model: keras.Sequential) -> tuple[int | None, ...]:
    """Trace inference, and return the output shape."""
    with keras.StatelessScope(initialize_variables=False):
        outputs = _trace(partial(model, training=False), _images(model)).structured_outputs
    return tuple(outputs.shape)


def _images(model: keras.Sequential) -> Any:
    return tf.TensorSpec(model.input_shape, tf.float32)


def _trace(function: Callable[..., Any], *signature: Any) -> Any:
    return tf.function(function, autograph=False).get_concrete_function(*signature)


def _save(model: keras.Sequential, suffix: str) -> list[Mapping[str, Any]]:
    """Save a network with one number per weight array; return the configs of its layers from the file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        with keras.StatelessScope(initialize_variables=False) as scope:
            for variable in model.variables:
                scope.add_update((variable, tf.zeros([1] * len(variable.shape), variable.dtype)))
            model.save(path)
        if suffix == ".h5":
            import h5py

            with h5py.File(path) as file:
                config = json.loads(file.attrs["model_config"])
        else:
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
    layers: list[Mapping[str, Any]] = config["config"]["layers"]
    return layers[1:]


def _compare(saved: Mapping[str, Any], loaded: Mapping[str, Any], source: str, hint: str = "") -> None:
    """Compare a layer's arguments before and after saving.

    Raises:
        _Unfit: An argument has changed.
    """
    before, after = map(_plain, (saved, loaded))
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            was, became = (format_value(config.get(key)) for config in (before, after))
            raise _Unfit(f"Keras restores {key}: {was} from {source} as {became}", hint)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's config with tuples as lists, and lists of one axis as a number."""
    plain: dict[str, Any] = json.loads(json.dumps(config, default=repr))
    axis = plain.get("axis")
    return {**plain, "axis": axis[0]} if isinstance(axis, list) and len(axis) == 1 else plain


def _check_compiled(config: Config, suffix: str) -> list[Problem]:
    """Save and load the smallest network with the configuration's optimizer, loss and metrics."""
    with _float32_policy():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        compile_network(model, config)
        try:
            with TemporaryDirectory() as folder, saving_initial_state(model):
                path = Path(folder) / f"model{suffix}"
                model.save(path)
                keras.models.load_model(path)
        # The errors of Keras and h5py have no common base class.
        except Exception as error:
            file, hint = _name_file(suffix)
            what = f"Keras cannot load {config.training.optimizer.name} from {file}: {first_sentences(error)}"
            return [Problem(config.where("training", "optimizer"), what, hint)]
    return []


@contextmanager
def _float32_policy() -> Iterator[None]:
    """Set the global dtype policy to float32 in the block: with float16, Keras would add loss scaling when loading."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
