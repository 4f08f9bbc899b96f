"""Build the Keras network of a configuration, which takes raw pixels, and the copy to save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imgtrain.batches.batches import Batches
from imgtrain.batches.featurewise import FeaturewiseStatistics, fit_featurewise_statistics
from imgtrain.config.head import has_soft_labels
from imgtrain.config.preprocessing import needs_featurewise_statistics
from imgtrain.config.schema import Config, PreprocessingConfig
from imgtrain.dataset.plan import Plan
from imgtrain.model.abstract_build import allocated_at_the_end
from imgtrain.model.backbone import find_backbone, read_backbone, set_trainable, set_weights
from imgtrain.model.compile import compile_network
from imgtrain.model.layer_stack import LayerStack
from imgtrain.model.precision import POLICIES
from imgtrain.model.preprocess import preprocessing_layers
from imgtrain.model.runtime import keras
from imgtrain.model.training_layers import plain_configuration

__all__ = [
    "begin_fine_tuning",
    "build_and_compile",
    "build_network",
    "float32_copy",
    "read_layers",
    "saved_layers",
]


def build_and_compile(plan: Plan, train: Batches, precision: str, *, for_training: bool = False) -> Any:
    """Return the compiled network, with preprocessing fitted on the training images."""
    config = plan.config
    statistics = None
    if needs_featurewise_statistics(config.preprocessing):
        statistics = fit_featurewise_statistics(train.unchanged_images(), config.preprocessing)
    model = build_network(
        config,
        class_count=len(plan.class_names),
        statistics=statistics,
        precision=precision,
        for_training=for_training,
    )
    compile_network(
        model,
        config,
        precision=precision,
        for_training=for_training,
        soft_labels=has_soft_labels(config),
    )
    return model


def build_network(
    config: Config,
    *,
    class_count: int,
    statistics: FeaturewiseStatistics | None,
    precision: str = "float32",
    for_training: bool = False,
) -> keras.Sequential:
    """Return the network with initial weights: preprocessing, the configured layers, and the output layer.

    Input shape: raw pixels (batch, height, width, channels), uint8 or float, 0–255. Output shape: float32
    probabilities, (batch, 1) of the second class for `binary`, otherwise (batch, classes). The weights only depend on
    the configuration, because the global seeds are set to `training.seed` first.

    Args:
        config: The configuration, without problems in `check_output`.
        class_count: Number of classes.
        statistics: Result of `fit_featurewise_statistics`; None if `needs_featurewise_statistics` is false.
        precision: `float32`, `bfloat16` or `float16`, for the layers between preprocessing and output.
        for_training: Whether to use the faster layers of `training_layers`; `float32_copy` returns a network to save.

    Raises:
        ConfigError: A layer doesn't accept its arguments or input, or exceeds the available memory; or the backbone
            cannot be read.
    """
    backbone = read_backbone(config)
    keras.utils.set_random_seed(config.training.seed)
    stack = LayerStack(config, policy=POLICIES[precision], for_training=for_training)
    # A backbone usually takes raw pixels.
    if backbone is None or config.preprocessing != PreprocessingConfig(rescale=1):
        for layer in preprocessing_layers(
            config.preprocessing, image_shape=config.data.image_shape, statistics=statistics
        ):
            stack.add_preprocessing(layer)
    with allocated_at_the_end():
        if backbone is not None:
            stack.add_backbone(backbone)
        stack.add_all(class_count)
    if backbone is not None:
        # Not earlier: TensorFlow never computes gradients of variables that are allocated while frozen.
        set_trainable(stack.backbone, backbone.trainable)
        if backbone.weights is not None:
            set_weights(stack.backbone, backbone.weights)
    return keras.Sequential(stack.layers, name="network")


def begin_fine_tuning(model: keras.Sequential, config: Config, *, precision: str) -> None:
    """Unfreeze layers of the backbone, and compile the network for the second stage of training.

    Args:
        model: A network built with a frozen backbone, for training.
        config: The configuration of the second stage: the result of `fine_tuning_config`.
        precision: The precision of the network.
    """
    settings = config.training.fine_tune
    assert settings is not None
    set_trainable(find_backbone(model), settings.first_layer)
    compile_network(
        model, config, precision=precision, for_training=True, soft_labels=has_soft_labels(config)
    )


def float32_copy(model: keras.Sequential, config: Config) -> keras.Sequential:
    """Return the network to save: stock Keras layers with the same weights, in float32, with a new optimizer."""
    shape = model.input_shape[1:]
    pixels = keras.layers.InputLayer(shape=shape, dtype="float32", name="pixels")
    copy = keras.Sequential([pixels, *read_layers(saved_layers(model))], name=model.name)
    set_weights(copy, model.get_weights())
    compile_network(copy, config)
    return copy


def saved_layers(model: keras.Sequential) -> list[Mapping[str, Any]]:
    """Return the configs of a network's layers, except the input, as saved: stock Keras layers in float32."""
    layers: list[Mapping[str, Any]] = _in_float32(plain_configuration(model.get_config()["layers"]))
    return layers[1:]


def read_layers(configs: Sequence[Mapping[str, Any]]) -> list[keras.Layer]:
    """Return layers created from their configs, in the format of `.keras` or `.h5` files.

    `Sequential.from_config` does the same, but rebuilds the whole network after each layer.
    """
    return [
        keras.Sequential.from_config({"name": "network", "layers": [config]}).layers[0] for config in configs
    ]


def _in_float32(value: Any) -> Any:
    """Return a layer's config with all dtype policies replaced by float32."""
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy":
            return {**value, "config": {"name": "float32"}}
        return {key: _in_float32(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_float32(item) for item in value]
    return value
