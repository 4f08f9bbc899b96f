"""The output layer, loss and metrics that match the class mode.

`binary` labels are a float column of 0 and 1, so the output is one sigmoid unit. `categorical` labels are one-hot
vectors and `sparse` labels are integers, so the output is one softmax unit per class. Mismatches are found without
TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from imgtrain.config.schema import Config, LayerSpec
from imgtrain.errors import Problem

__all__ = [
    "check_output",
    "default_loss",
    "ends_with_output",
    "has_soft_labels",
    "output_layer",
    "resolve_loss",
    "resolve_training_loss",
    "snake_case",
    "training_class_mode",
]

_REGRESSION_LOSSES = ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh")

# Losses that are meaningful for each type of label; `auto` chooses the first one.
_LOSSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "binary": ("binary_crossentropy", "binary_focal_crossentropy", *_REGRESSION_LOSSES),
        "categorical": (
            "categorical_crossentropy",
            "categorical_focal_crossentropy",
            "categorical_hinge",
            "kl_divergence",
            "cosine_similarity",
            "mean_squared_logarithmic_error",
            *_REGRESSION_LOSSES,
        ),
        "sparse": ("sparse_categorical_crossentropy",),
    }
)

# It compares the labeled class with the best of the others.
_NEEDS_ONE_CLASS = ("categorical_hinge",)

_COMMON_METRICS = (
    "accuracy",
    "auc",
    "precision",
    "recall",
    "true_positives",
    "true_negatives",
    "false_positives",
    "false_negatives",
    "mean_squared_error",
    "mean_absolute_error",
    "root_mean_squared_error",
    "mean_squared_logarithmic_error",
    "log_cosh_error",
    "r2_score",
    "binary_io_u",
)
_METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "binary": (*_COMMON_METRICS, "binary_accuracy", "binary_crossentropy"),
        "categorical": (
            *_COMMON_METRICS,
            "categorical_accuracy",
            "top_k_categorical_accuracy",
            "categorical_crossentropy",
            "categorical_hinge",
            "kl_divergence",
            "cosine_similarity",
            "concordance_correlation",
        ),
        "sparse": (
            "accuracy",
            "sparse_categorical_accuracy",
            "sparse_top_k_categorical_accuracy",
            "sparse_categorical_crossentropy",
        ),
    }
)

# Keras's aliases.
_SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "acc": "accuracy",
        "bce": "binary_crossentropy",
        "kld": "kl_divergence",
        "mae": "mean_absolute_error",
        "mape": "mean_absolute_percentage_error",
        "mse": "mean_squared_error",
        "msle": "mean_squared_logarithmic_error",
        "top_k_accuracy": "top_k_categorical_accuracy",
    }
)

_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "binary": "0 or 1",
        "categorical": "one-hot vectors",
        "sparse": "integers",
    }
)
_OUTPUT_ACTIVATIONS = ("sigmoid", "softmax")


def resolve_loss(config: Config) -> str:
    """Return the snake-case name of the Keras loss; `auto` follows the class mode."""
    loss = config.training.loss
    return default_loss(config.data.class_mode) if loss == "auto" else snake_case(loss)


def default_loss(class_mode: str) -> str:
    """Return the snake-case name of the cross-entropy for the labels of a class mode."""
    return _LOSSES[class_mode][0]


def has_soft_labels(config: Config) -> bool:
    """Return whether training labels are probabilities of the classes instead of one class per image."""
    return config.augmentation.mixes or config.training.label_smoothing > 0


def training_class_mode(config: Config) -> Literal["categorical", "binary", "sparse"]:
    """Return the form of the labels in training, and in the validation after each epoch.

    Soft labels are probabilities of the classes, which integers cannot hold: sparse labels become one-hot rows.
    """
    mode = config.data.class_mode
    return "categorical" if mode == "sparse" and has_soft_labels(config) else mode


def resolve_training_loss(config: Config) -> str:
    """Return the Keras loss for the labels of `training_class_mode`, by its snake-case name."""
    loss = resolve_loss(config)
    return loss if training_class_mode(config) == "sparse" else loss.removeprefix("sparse_")


def ends_with_output(config: Config) -> bool:
    """Return whether the last layer of the configuration is the output layer: Dense with sigmoid or softmax."""
    last = config.model.layers[-1]
    return last.name == "Dense" and last.arguments.get("activation") in _OUTPUT_ACTIVATIONS


def output_layer(config: Config, class_count: int) -> LayerSpec | None:
    """Return the output layer to append to the configured layers; None if they end with one.

    A last Dense layer with another activation, or none, is a hidden layer.
    """
    return None if ends_with_output(config) else _wanted_output(config.data.class_mode, class_count)


def check_output(config: Config, class_count: int | None) -> list[Problem]:
    """Return the problems of output layer, loss and metrics that don't match the class mode or class count.

    Args:
        config: The configuration.
        class_count: Number of classes; None if unknown, then the output layer is not checked.
    """
    layer = [] if class_count is None else _check_layer(config, class_count)
    return [*layer, *_check_loss(config), *_check_metrics(config)]


def snake_case(name: str) -> str:
    """Return a name in Keras's snake case, with aliases resolved: `max_pooling2d` for `MaxPooling2D`."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    return _SYNONYMS.get(name, name)


def _wanted_output(class_mode: str, class_count: int) -> LayerSpec:
    units, activation = (1, "sigmoid") if class_mode == "binary" else (class_count, "softmax")
    return LayerSpec.model_validate({"Dense": {"units": units, "activation": activation}})


def _check_layer(config: Config, class_count: int) -> list[Problem]:
    mode = config.data.class_mode
    if mode == "binary" and class_count != 2:
        return [
            Problem(
                config.where("data", "class_mode"),
                f"binary requires exactly two classes; found {class_count}",
                "set data.class_mode to categorical or sparse",
            )
        ]
    position = len(config.model.layers) - 1
    last = config.model.layers[position]
    where = config.where("model", "layers", position)
    wanted = _wanted_output(mode, class_count).arguments
    wanted_text = f"Dense: {{units: {wanted['units']}, activation: {wanted['activation']}}}"
    if last.name == "Softmax" or (
        last.name in ("Activation", "Sigmoid")
        and last.arguments.get("activation", "sigmoid") in _OUTPUT_ACTIVATIONS
    ):
        return [
            Problem(
                where,
                f"layer {position + 1}: the output layer must be Dense with an activation argument; got {last.name}",
                f"replace the last two layers by `{wanted_text}`, or remove both: the output layer is added",
            )
        ]
    if not ends_with_output(config):
        return []
    units, activation = last.arguments.get("units"), last.arguments["activation"]
    if (units, activation) == (wanted["units"], wanted["activation"]):
        return []
    unit = "unit" if units == 1 else "units"
    what = (
        f"layer {position + 1}: an output of {units} {activation} {unit} doesn't match class_mode "
        f"{mode} with {class_count} classes (labels: {_LABELS[mode]}; loss: {resolve_loss(config)})"
    )
    hint = f"use `{wanted_text}`, or remove the layer: the output layer is added"
    return [Problem(where, what, hint + _other_interpretation(last, class_count))]


def _other_interpretation(last: LayerSpec, class_count: int) -> str:
    """Return another hint for a mismatched output layer: what it may have been meant as."""
    given = (last.arguments.get("units"), last.arguments["activation"])
    if given == (1, "sigmoid") and class_count == 2:
        return "; or set data.class_mode to binary"
    if given == (class_count, "softmax"):
        return "; or set data.class_mode to categorical or sparse"
    return "; if it is meant as a hidden layer, add an output layer after it"


def _check_loss(config: Config) -> list[Problem]:
    mode, loss = config.data.class_mode, resolve_loss(config)
    if has_soft_labels(config) and loss in _NEEDS_ONE_CLASS:
        return [
            Problem(
                config.where("training", "loss"),
                f"{config.training.loss} needs one class per image; mixup, cutmix and label_smoothing give several",
                "write `loss: auto`, or remove augmentation.mixup, augmentation.cutmix and training.label_smoothing",
            )
        ]
    if loss in _LOSSES[mode]:
        return []
    fitting = [other for other, losses in _LOSSES.items() if loss in losses]
    hint = f"use `loss: auto`, or one of {', '.join(_LOSSES[mode])}"
    if fitting:
        hint += f"; {loss} is for data.class_mode {' or '.join(fitting)}"
    return [
        Problem(
            config.where("training", "loss"),
            f"{config.training.loss} doesn't match class_mode {mode} (labels: {_LABELS[mode]})",
            hint,
        )
    ]


def _check_metrics(config: Config) -> list[Problem]:
    mode = config.data.class_mode
    return [
        Problem(
            config.where("training", "metrics", position),
            f"{metric} doesn't match class_mode {mode} (labels: {_LABELS[mode]})",
            f"use one of {', '.join(_METRICS[mode])}",
        )
        for position, metric in enumerate(config.training.metrics)
        if snake_case(metric) not in _METRICS[mode]
    ]
