"""Pretrained networks: the feature extractor of a network of `keras.applications`, or of a saved model.

A backbone is first read as the configuration of a plain float32 network and its weights, and then built for the image
size, precision and purpose of the run. Its preprocessing consists of built-in layers before it, so the saved model
takes raw pixels and loads without imgtrain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.schema import Config
from imgtrain.errors import ConfigError, Problem, RunFileError, did_you_mean
from imgtrain.model.abstract_build import forget_layer_names, never_allocated
from imgtrain.model.archive import load_network
from imgtrain.model.backbone_weights import read_application_weights
from imgtrain.model.preprocess import PREPROCESSING_NAMES, application_layers, grey_to_rgb
from imgtrain.model.runtime import keras
from imgtrain.model.training_layers import TRAINING_CLASSES, training_configuration
from imgtrain.run.color_modes import CHANNELS
from imgtrain.run.model_metadata import find_model_file

__all__ = [
    "Backbone",
    "check_layer_name",
    "find_backbone",
    "leaf_layers",
    "read_backbone",
    "set_trainable",
    "set_weights",
]

# These convert raw pixels, for which bfloat16 and float16 are too coarse.
_FLOAT32_LAYERS = ("InputLayer", "Normalization", "Rescaling")


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """A network without its classifier, not built yet.

    Attributes:
        label: Its name for messages: `ResNet50`, or the path of the model.
        image_shape: (height, width, channels) of the images that it takes in this run.
        adapters: Built-in layers that convert the pixels for it.
        network: Its serialized Keras configuration, in float32; the input shape may be another one.
        weights: The values of all its weights; None for new random ones.
        trainable: Which layers are trained, as in `set_trainable`.
    """

    label: str
    image_shape: tuple[int, int, int]
    adapters: tuple[keras.Layer, ...]
    network: Mapping[str, Any]
    weights: Sequence[NDArray[Any]] | None
    trainable: bool | str

    def build(self, *, policy: str, for_training: bool) -> keras.Model:
        """Return the network with unspecified weights.

        Args:
            policy: Keras dtype policy of its layers.
            for_training: Whether to use the faster layers of `training_layers`.

        Raises:
            Exception: Keras cannot build it for images of this size.
        """
        network = _with_policy(self.network, policy)
        return _build(training_configuration(network) if for_training else network, self.image_shape)


def read_backbone(config: Config) -> Backbone | None:
    """Read the backbone of a configuration; None if it has none.

    Args:
        config: A configuration without problems in `check_backbone`.

    Raises:
        ConfigError: The weights cannot be downloaded or don't belong to the network, or the model in `from` cannot be
            loaded or takes other images.
    """
    spec = config.model.backbone
    if spec is None:
        return None
    height, width, channels = config.data.image_shape
    if spec.name is not None:
        application = load_catalogue().application(spec.name)
        shape = (height, width, 3)
        return Backbone(
            spec.name,
            shape,
            application_layers(application.pixels, channels=channels),
            _application_network(spec.name, shape),
            read_application_weights(config, spec.name, spec.weights),
            spec.trainable,
        )
    assert spec.source is not None
    try:
        model = _load_source(find_model_file(spec.source))
    except RunFileError as error:
        where = config.where("model", "backbone", "from")
        raise ConfigError(
            Problem(where, f"{problem.where} {problem.what}", problem.hint) for problem in error.problems
        ) from None
    taken = model.inputs[0].shape[3]
    if channels not in (taken, 1) or taken not in (channels, 3):
        what = f"{spec.source} takes images with {taken} channels; color_mode {config.data.color_mode} has {channels}"
        mode = next(mode for mode, count in CHANNELS.items() if count == taken)
        raise ConfigError(Problem(config.where("data", "color_mode"), what, f"set data.color_mode to {mode}"))
    features = _without_classifier(model)
    return Backbone(
        str(spec.source),
        (height, width, taken),
        (grey_to_rgb(),) if channels != taken else (),
        keras.saving.serialize_keras_object(features),
        features.get_weights(),
        spec.trainable,
    )


def leaf_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Yield the layers of a model and of the models inside it, in order, except inputs."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaf_layers(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer


def set_weights(model: keras.Model, weights: Sequence[NDArray[Any]]) -> None:
    """Set all weights of a model, and what its layers derive from them."""
    model.set_weights(weights)
    for layer in leaf_layers(model):
        # Keras only does this when it loads a file.
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def find_backbone(model: keras.Model) -> keras.Model:
    """Return the backbone of a network built with one."""
    return next(
        layer
        for layer in model.layers
        if isinstance(layer, keras.Model) and layer.name not in PREPROCESSING_NAMES
    )


def check_layer_name(network: keras.Model, name: str) -> str:
    """Return a hint if a backbone has no layer with this name; empty if it has one."""
    leaves = [layer for layer in leaf_layers(network) if layer.weights]
    if any(layer.name == name for layer in leaf_layers(network)):
        return ""
    near = did_you_mean(name, [layer.name for layer in leaf_layers(network)])
    return near or f"available: {_shorten(', '.join(layer.name for layer in leaves))}"


def set_trainable(network: keras.Model, trainable: bool | str) -> None:
    """Set which layers of a backbone are trained.

    Unless all are trained, the backbone runs in inference mode: batch normalization uses and keeps its moving
    statistics, and dropout has no effect.

    Args:
        network: The backbone.
        trainable: Whether all or none are trained, or the name of the first trained layer; `all` for all layers in
            inference mode.
    """
    leaves = list(leaf_layers(network))
    names = [layer.name for layer in leaves]
    first = names.index(trainable) if isinstance(trainable, str) and trainable != "all" else 0
    network.trainable = trainable is not False
    for position, layer in enumerate(leaves):
        layer.trainable = (
            trainable is not False and position >= first and layer.name not in PREPROCESSING_NAMES
        )
    if trainable is not True:
        _run_in_inference_mode(network)


def _run_in_inference_mode(network: keras.Model) -> None:
    """Make a network ignore that the model around it is trained."""
    call = type(network).call

    def infer(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return call(network, inputs, training=False, mask=mask)

    network.call = infer


def _load_source(path: Path) -> keras.Model:
    """Load a model to use as a backbone.

    Raises:
        RunFileError: It cannot be loaded, or doesn't take images.
    """
    model = load_network(path)
    shapes = [tensor.shape for tensor in model.inputs] if model.built else []
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] not in CHANNELS.values():
        raise RunFileError(
            Problem(path, "doesn't take images", "it must have one input with 1, 3 or 4 channels")
        )
    return model


def _shorten(text: str, most: int = 400) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def _application_network(name: str, shape: tuple[int, int, int]) -> Mapping[str, Any]:
    # Some layers get numbered names, which must not depend on earlier networks.
    forget_layer_names()
    with never_allocated():
        application = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=shape)
    network: Mapping[str, Any] = keras.saving.serialize_keras_object(application)
    return network


def _without_classifier(model: keras.Model) -> keras.Model:
    """Return the part of a model up to its last feature map, or up to its last layer if it has no convolutions."""
    layers = model.layers
    maps = [position for position, layer in enumerate(layers) if len(layer.output.shape) == 4]
    last = maps[-1] if maps else 0
    if not any(layer.weights and layer.name not in PREPROCESSING_NAMES for layer in layers[: last + 1]):
        last = len(layers) - 2
    if isinstance(model, keras.Sequential):
        first = keras.layers.InputLayer(shape=model.input_shape[1:], dtype="float32", name="pixels")
        return keras.Sequential([first, *layers[: last + 1]], name="backbone")
    return keras.Model(model.inputs[0], layers[last].output, name="backbone")


def _with_policy(value: Any, policy: str) -> Any:
    """Return a serialized network with a dtype policy for all layers but those that convert pixels."""
    if isinstance(value, list):
        return [_with_policy(item, policy) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("class_name") == "DTypePolicy":
        return {**value, "config": {"name": policy}}
    if isinstance(value.get("trainable"), bool):
        # Set after building; see `set_trainable`.
        value = {**value, "trainable": True}
    name = value["config"].get("name") if isinstance(value.get("config"), Mapping) else None
    if value.get("class_name") in _FLOAT32_LAYERS or name in PREPROCESSING_NAMES:
        return value
    return {key: _with_policy(item, policy) for key, item in value.items()}


def _build(network: Mapping[str, Any], shape: Sequence[int]) -> keras.Model:
    """Build a serialized network for an input shape (height, width, channels)."""
    config = network["config"]
    if network["class_name"] != "Sequential":
        inputs = {"batch_shape": [None, *shape]}
        layers = [
            {**layer, "config": {**layer["config"], **inputs}}
            if layer["class_name"] == "InputLayer"
            else layer
            for layer in config["layers"]
        ]
        return _deserialize({**network, "config": {**config, "layers": layers}})
    first = keras.layers.InputLayer(shape=shape, dtype="float32", name="pixels")
    built, tensor = [first], first.output
    for inner in config["layers"]:
        if inner["class_name"] == "InputLayer":
            continue
        is_network = "layers" in inner["config"]
        layer = _build(inner, tensor.shape[1:]) if is_network else _deserialize(inner)
        tensor = layer(tensor)
        built.append(layer)
    return keras.Sequential(built, name=config["name"])


def _deserialize(config: Mapping[str, Any]) -> Any:
    return keras.saving.deserialize_keras_object(config, custom_objects=TRAINING_CLASSES, safe_mode=True)
