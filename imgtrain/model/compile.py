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
from imgtrain.model.runtime import keras

__all__ = ["build_optimizer", "compile_network"]

# Ranges that Keras does not check itself; outside of them training diverges or stands still.
_SHARES = ("beta_1", "beta_2", "rho", "momentum", "ema_momentum")
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
        model: What `build_network` returned.
        config: What was asked.
        precision: The number format of the network.
        for_training: Take the optimizers of `fused`; else all is plain Keras, and can be saved.
        soft_labels: Whether labels have the form of `training_class_mode` and are probabilities. The loss takes them as
            they are, metrics take the class with the largest share.

    Raises:
        ConfigError: The optimizer does not accept its arguments.
    """
    optimizer = build_optimizer(config)
    if for_training:
        optimizer = fused(optimizer)
    # Scales, offsets and biases only: decay would pull them to 0 without making the network any simpler.
    optimizer.exclude_from_weight_decay(
        var_list=[variable for variable in model.trainable_variables if len(variable.shape) < 2]
    )
    if precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # Instances, because Keras cannot read names such as `mse` back from an .h5 file.
    loss = resolve_training_loss(config) if soft_labels else resolve_loss(config)
    metrics = [_build_metric(name, config.data.class_mode) for name in config.training.metrics]
    if soft_labels:
        for metric in metrics:
            _take_largest_share(metric, config.data.class_mode)
    model.compile(
        optimizer=optimizer,
        loss=_by_snake_case(keras.losses, loss)(),
        metrics=metrics,
        # Keras would go by the global dtype policy, which need not be that of the layers.
        auto_scale_loss=False,
    )


def build_optimizer(config: Config) -> keras.optimizers.Optimizer:
    """Return the configuration's optimizer.

    Raises:
        ConfigError: An argument has a value that the optimizer does not accept; all of them at once.
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
                    Problem(where, f"training.{key} sets it already", f"remove it, or training.{key}")
                )
            arguments[name] = value
    if problems:
        raise ConfigError(problems)
    try:
        return getattr(keras.optimizers, spec.name)(**arguments)
    except (ValueError, TypeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(Problem(config.where("training", "optimizer"), f"{spec.name}: {text}")) from error


def _implied_arguments(config: Config) -> dict[str, dict[str, Any]]:
    """Return the optimizer's arguments that follow from other keys of `training`, by these keys."""
    training, implied = config.training, {}
    if training.ema is not None:
        implied["ema"] = {"use_ema": True, "ema_momentum": training.ema}
    if training.gradient_accumulation > 1:
        implied["gradient_accumulation"] = {"gradient_accumulation_steps": training.gradient_accumulation}
    return implied


def _allowed_instead(name: str, value: Any) -> str:
    """Return what an optimizer's argument may be if it is not that, else an empty string."""
    if value is None:
        return ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _SHARES and not (number and 0 <= value < 1):
        return "a number in [0, 1)"
    if name in _ABOVE_ZERO and not (number and value > 0):
        return "a number > 0"
    return "a number" if isinstance(value, str) else ""


def _build_metric(name: str, class_mode: str) -> keras.metrics.Metric:
    """Return the metric under the name that it has in the logs; `accuracy` is that of the class mode."""
    meant = snake_case(name)
    if meant == "accuracy":
        meant = {"sparse": "sparse_categorical_accuracy"}.get(class_mode, f"{class_mode}_accuracy")
    return _by_snake_case(keras.metrics, meant)(name=load_catalogue().metric_log_name(name))


def _take_largest_share(metric: keras.metrics.Metric, class_mode: str) -> None:
    """Let a metric see the class with the largest share instead of soft labels, in the class mode's form."""
    update = metric.update_state

    def update_state(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if class_mode == "binary":
            labels = keras.ops.cast(y_true > 0.5, y_pred.dtype)
        else:
            labels = keras.ops.argmax(y_true, axis=-1)
            if class_mode == "categorical":
                labels = keras.ops.one_hot(labels, y_true.shape[-1], dtype=y_pred.dtype)
        return update(labels, y_pred, sample_weight=sample_weight)

    # The class stays Keras's, so that a compiled model can be saved and loaded without imgtrain.
    metric.update_state = update_state


def _by_snake_case(module: ModuleType, name: str) -> type:
    """Return a class of a Keras module by its unabbreviated name in snake case."""
    return next(
        value for key, value in vars(module).items() if isinstance(value, type) and snake_case(key) == name
    )
