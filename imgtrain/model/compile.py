"""Optimizer, loss and metrics of the configuration, as Keras objects."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.head import resolve_loss, resolve_training_loss, snake_case
from imgtrain.config.schema import Config
from imgtrain.config.wording import format_value
from imgtrain.errors import ConfigError, Problem
from imgtrain.model.fused_optimizers import fused
from imgtrain.model.muon import OUTPUT_LAYER, convolutional_muon
from imgtrain.model.runtime import keras

__all__ = ["build_optimizer", "compile_network"]

# Ranges that Keras doesn't check; outside of them, training diverges or makes no progress.
_SHARES = ("beta_1", "beta_2", "rho", "momentum", "ema_momentum")
_CONVOLUTIONS = "convolutions"
_ABOVE_ZERO = ("epsilon", "clipnorm", "clipvalue", "global_clipnorm")


def compile_network(
    model: keras.Sequential,
    config: Config,
    *,
    precision: str = "float32",
    for_training: bool = False,
    soft_labels: bool = False,
) -> None:
    """Compile the network with the configuration's optimizer, loss and metrics.

    With float16 the optimizer scales the loss, because small gradients would become 0.

    Args:
        model: Result of `build_network`.
        config: The configuration.
        precision: The precision of the network.
        for_training: Whether to use a fused optimizer; otherwise a stock Keras optimizer, which can be saved.
        soft_labels: Whether labels have the format of `training_class_mode` and are probabilities. The loss uses them
            directly, metrics use the class with the largest share.

    Raises:
        ConfigError: The optimizer does not accept its arguments.
    """
    optimizer = build_optimizer(config)
    if for_training:
        muon = config.training.optimizer.arguments.get(_CONVOLUTIONS)
        optimizer = convolutional_muon(optimizer, precision=precision) if muon else fused(optimizer)
    # Scales, offsets and biases: decay would shrink them without regularizing the network.
    optimizer.exclude_from_weight_decay(
        var_list=[variable for variable in model.trainable_variables if len(variable.shape) < 2]
    )
    if precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # Instances, because Keras cannot restore names such as `mse` from an .h5 file.
    loss = resolve_training_loss(config) if soft_labels else resolve_loss(config)
    metrics = [_build_metric(name, config.data.class_mode) for name in config.training.metrics]
    if soft_labels:
        for metric in metrics:
            _take_largest_share(metric, config.data.class_mode)
    model.compile(
        optimizer=optimizer,
        loss=_by_snake_case(keras.losses, loss)(),
        metrics=metrics,
        # Keras would use the global dtype policy, which may differ from that of the layers.
        auto_scale_loss=False,
    )


def build_optimizer(config: Config) -> keras.optimizers.Optimizer:
    """Return the configuration's optimizer.

    Raises:
        ConfigError: The optimizer doesn't accept the value of an argument; with all problems.
    """
    spec = config.training.optimizer
    problems = [
        Problem(config.where("training", "optimizer", name), f"must be {allowed}; got {format_value(value)}")
        for name, value in spec.arguments.items()
        if (allowed := _allowed_instead(name, value))
    ]
    arguments = dict(spec.arguments)
    for key, implied in _implied_arguments(config).items():
        for name, value in implied.items():
            if name in spec.arguments:
                where = config.where("training", "optimizer", name)
                problems.append(
                    Problem(where, f"is already set by training.{key}", f"remove it, or training.{key}")
                )
            arguments[name] = value
    if problems:
        raise ConfigError(problems)
    if arguments.pop(_CONVOLUTIONS, False):
        arguments["exclude_layers"] = [*(arguments.get("exclude_layers") or ()), OUTPUT_LAYER]
    try:
        return getattr(keras.optimizers, spec.name)(**arguments)
    except (ValueError, TypeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(Problem(config.where("training", "optimizer"), f"{spec.name}: {text}")) from error


def _implied_arguments(config: Config) -> dict[str, dict[str, Any]]:
    """Return the optimizer arguments that are set by other keys of `training`, by these keys."""
    training, implied = config.training, {}
    if training.ema is not None:
        implied["ema"] = {"use_ema": True, "ema_momentum": training.ema}
    if training.gradient_accumulation > 1:
        implied["gradient_accumulation"] = {"gradient_accumulation_steps": training.gradient_accumulation}
    return implied


def _allowed_instead(name: str, value: Any) -> str:
    """Return the allowed values of an optimizer argument if its value is invalid, otherwise an empty string."""
    if value is None:
        return ""
    if name == _CONVOLUTIONS:
        return "" if isinstance(value, bool) else "true or false"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _SHARES and not (number and 0 <= value < 1):
        return "a number in [0, 1)"
    if name in _ABOVE_ZERO and not (number and value > 0):
        return "a number > 0"
    return "a number" if isinstance(value, str) else ""


def _build_metric(name: str, class_mode: str) -> keras.metrics.Metric:
    """Return the metric, named as in the logs; `accuracy` is that of the class mode."""
    meant = snake_case(name)
    if meant == "accuracy":
        meant = {"sparse": "sparse_categorical_accuracy"}.get(class_mode, f"{class_mode}_accuracy")
    return _by_snake_case(keras.metrics, meant)(name=load_catalogue().metric_log_name(name))


def _take_largest_share(metric: keras.metrics.Metric, class_mode: str) -> None:
    """Make a metric use the class with the largest share instead of soft labels, in the format of the class mode."""
    update = metric.update_state

    def update_state(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if class_mode == "binary":
            labels = keras.ops.cast(y_true > 0.5, y_pred.dtype)
        else:
            labels = keras.ops.argmax(y_true, axis=-1)
            if class_mode == "categorical":
                labels = keras.ops.one_hot(labels, y_true.shape[-1], dtype=y_pred.dtype)
        return update(labels, y_pred, sample_weight=sample_weight)

    # The metric keeps its Keras class, so that a compiled model can be saved and loaded without imgtrain.
    metric.update_state = update_state


def _by_snake_case(module: ModuleType, name: str) -> type:
    """Return a class of a Keras module by its full snake-case name."""
    return next(
        value for key, value in vars(module).items() if isinstance(value, type) and snake_case(key) == name
    )
