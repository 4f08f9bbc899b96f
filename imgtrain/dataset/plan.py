"""The plan: the configuration checked against the data.

This is the last step before decoding images and importing TensorFlow. It reports all problems that follow from the
configuration and the file names, together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from imgtrain.config.backbone import check_backbone, with_backbone_pixels
from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.fine_tuning import check_fine_tuning
from imgtrain.config.head import check_output, resolve_loss
from imgtrain.config.keras_differences import check_shift_ranges
from imgtrain.config.layers import check_shapes
from imgtrain.config.preprocessing import check_zca
from imgtrain.config.saving import check_saving
from imgtrain.config.schema import Config
from imgtrain.dataset.holdout import draw_validation
from imgtrain.dataset.image_size import with_target_size
from imgtrain.dataset.layout import count
from imgtrain.dataset.split import Splits, split_data
from imgtrain.errors import ConfigError, ImgtrainError, Problem, did_you_mean

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Plan:
    """A validated configuration with its images.

    Attributes:
        config: The configuration, completed with values that follow from the data; training it repeats the run.
        splits: The images of each split; validation images may not be drawn yet, see `Splits`.
        loss: Name of the Keras loss.
        warnings: Warnings to show.
        auto_size: Whether the image size was chosen for `data.target_size: auto`.
    """

    config: Config
    splits: Splits
    loss: str
    warnings: tuple[str, ...]
    auto_size: bool = False

    def __repr__(self) -> str:
        height, width, channels = self.config.data.image_shape
        warnings = f"; {count(len(self.warnings), 'warning')}" if self.warnings else ""
        return (
            f"<Plan: {self.splits.describe()}; {height}×{width}×{channels} pixels; "
            f"{self.config.training.epochs:,} epochs{warnings}>"
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.splits.class_names

    @property
    def directory(self) -> Path:
        """The run directory."""
        assert self.config.output.directory is not None  # set by load_config and parse_config
        return self.config.output.directory


def make_plan(config: Config) -> Plan:
    """List the images and check the configuration against them.

    Raises:
        ConfigError: The configuration contradicts itself or the data; includes the problems of the data.
        DataError: Only the data has problems.
    """
    problems: list[Problem] = []
    splits, data_error = None, None
    try:
        splits = split_data(config)
        # Duplicates are not known yet, but if drawing fails without duplicates, it also fails with them.
        splits = replace(splits, warnings=draw_validation(splits).warnings)
    except ImgtrainError as error:
        data_error = error
    else:
        problems += _check_class_weights(config, splits)
    auto_size = config.data.target_size == "auto"
    if auto_size and config.training.minutes is None:
        where = config.where("data", "target_size")
        problems.append(
            Problem(where, "auto requires training.minutes", "set training.minutes, or a size such as 128")
        )
    config = with_target_size(with_backbone_pixels(config), None if splits is None else splits.train)
    problems += check_backbone(config)
    problems += check_fine_tuning(config)
    problems += check_output(config, None if splits is None else len(splits.class_names))
    validated = _has_validation(config, splits)
    problems += _check_monitors(config, validated=validated)
    problems += check_zca(config)
    problems += check_shapes(config)
    problems += check_saving(config)
    problems += _check_time_and_schedule(config)
    if data_error is not None:
        if not problems:
            raise data_error
        problems += data_error.problems
    if problems:
        raise ConfigError(problems)
    assert splits is not None
    config, warnings = _without_needless_stopping(config, validated=validated)
    config, more = _without_stopping_a_schedule(config)
    warnings += more
    warnings += check_shift_ranges(config.augmentation)
    warnings += _name_options_without_effect(config, validated=validated)
    if config.data.class_mode == "binary":
        warnings += _describe_positive_class(config, splits)
    return Plan(
        config=config,
        splits=splits,
        loss=resolve_loss(config),
        warnings=(*splits.notes, *splits.warnings, *warnings),
        auto_size=auto_size,
    )


def _has_validation(config: Config, splits: Splits | None) -> bool:
    """Return whether there are validation images; according to the configuration if the splits are unknown."""
    if splits is not None:
        return splits.validated
    data = config.data
    return data.validation is not None or data.validation_split is not None or data.split_file is not None


def _without_needless_stopping(config: Config, *, validated: bool) -> tuple[Config, list[str]]:
    """Disable default early stopping if there are no validation images to monitor."""
    stopping = config.training.early_stopping
    if validated or stopping is None or stopping.monitor in _logged_names(config, validated=validated):
        return config, []
    training = config.training.model_copy(update={"early_stopping": None})
    return config.model_copy(update={"training": training}), [
        "no validation images: all epochs are trained and the last weights are kept; "
        "set data.validation or data.validation_split to keep the best epoch"
    ]


def _check_time_and_schedule(config: Config) -> list[Problem]:
    """Return problems of options that contradict the time budget or the learning rate schedule."""
    training, problems = config.training, []
    if training.minutes is not None and training.steps_per_epoch is not None:
        where = config.where("training", "steps_per_epoch")
        problems.append(Problem(where, "is determined by training.minutes", "remove it, or training.minutes"))
    if training.schedule is None:
        return problems
    if training.reduce_lr_on_plateau is not None:
        what = "cannot be combined with training.schedule, which sets the learning rate of every batch"
        where = config.where("training", "reduce_lr_on_plateau")
        problems.append(Problem(where, what, "remove it, or training.schedule"))
    warmup = training.schedule.warmup_epochs
    if warmup is not None and training.minutes is None and warmup >= training.epochs:
        where = config.where("training", "schedule", "warmup_epochs")
        problems.append(
            Problem(where, f"must be less than training.epochs ({training.epochs}); got {warmup:g}")
        )
    return problems


def _without_stopping_a_schedule(config: Config) -> tuple[Config, list[str]]:
    """Prevent early stopping from ending training before the learning rate schedule ends.

    Default early stopping then only restores the best weights; explicitly configured early stopping is unchanged.
    """
    training = config.training
    stopping = training.early_stopping
    later = training.fine_tune
    longest = training.epochs if later is None else max(training.epochs, later.epochs)
    if training.schedule is None or stopping is None or stopping.patience >= longest:
        return config, []
    if "early_stopping" in training.model_fields_set:
        return config, [
            f"training.early_stopping (patience {stopping.patience}) can end training before the learning rate "
            f"schedule ends, whose last epochs usually improve most; set patience to {longest} or more to "
            "only restore the best weights"
        ]
    patient = stopping.model_copy(update={"patience": longest})
    return config.model_copy(update={"training": training.model_copy(update={"early_stopping": patient})}), []


def _name_options_without_effect(config: Config, *, validated: bool) -> list[str]:
    """Return warnings about options that have no effect or duplicate others."""
    evaluation, warnings = config.evaluation, []
    if evaluation.threshold != 0.5 and config.data.class_mode != "binary":
        warnings.append("evaluation.threshold has no effect: it requires class_mode binary")
    if evaluation.abstain is not None and not validated:
        warnings.append("evaluation.abstain has no effect: there are no validation images to tune it on")
    if config.training.class_weight == "balanced" and config.data.balance == "oversample":
        warnings.append(
            "data.balance and training.class_weight both increase the influence of rare classes; one of them is "
            "enough"
        )
    return warnings


def _check_monitors(config: Config, *, validated: bool) -> list[Problem]:
    """Return problems of monitored metrics that are not logged, or whose direction is unknown."""
    problems = []
    names = _logged_names(config, validated=validated)
    for section in ("early_stopping", "reduce_lr_on_plateau"):
        callback = getattr(config.training, section)
        if callback is None:
            continue
        where = config.where("training", section, "monitor")
        if callback.monitor in names:
            if callback.mode == "auto" and _direction(callback.monitor, config) is None:
                what = f"cannot infer whether lower or higher values of {callback.monitor!r} are better"
                problems.append(Problem(where, what, f"set training.{section}.mode to min or max"))
            continue
        if section == "early_stopping" and "monitor" not in callback.model_fields_set and not validated:
            continue  # the default, which is disabled
        known = _logged_names(config, validated=True)
        hint = did_you_mean(callback.monitor, known)
        if callback.monitor.startswith("val_") and not validated:
            needs = "it requires validation images: set data.validation or data.validation_split"
            hint = needs if callback.monitor in known else f"{hint} {needs}".strip()
        what = f"metric {callback.monitor!r} is not logged; available: {', '.join(names)}"
        problems.append(Problem(where, what, hint))
    return problems


def _direction(monitor: str, config: Config) -> str | None:
    """Return whether `lower` or `higher` values of a metric are better; None if unknown."""
    name = monitor.removeprefix("val_")
    if name == "loss":
        return "lower"
    catalogue = load_catalogue()
    metrics = [catalogue.metric(metric) for metric in config.training.metrics]
    return next((metric.better for metric in metrics if metric.log_name == name), None)


def _logged_names(config: Config, *, validated: bool) -> list[str]:
    """Return the names of the metrics that callbacks see at the end of every epoch."""
    catalogue = load_catalogue()
    names = ["loss", *(catalogue.metric_log_name(metric) for metric in config.training.metrics)]
    return [*names, *(f"val_{name}" for name in names)] if validated else names


def _check_class_weights(config: Config, splits: Splits) -> list[Problem]:
    weights = config.training.class_weight
    if not isinstance(weights, Mapping):
        return []
    problems = [
        Problem(
            config.where("training", "class_weight", name),
            f"unknown class {name!r}; available: {', '.join(splits.class_names)}",
            did_you_mean(name, splits.class_names),
        )
        for name in weights
        if name not in splits.class_names
    ]
    if weights and not any(weights.get(name, 1.0) for name in splits.class_names):
        problems.append(Problem(config.where("training", "class_weight"), "must not be 0 for all classes"))
    return problems


def _describe_positive_class(config: Config, splits: Splits) -> list[str]:
    negative, positive = splits.class_names
    if config.data.classes is not None:
        return []
    return [
        f"binary: {positive!r} is the positive class (label 1), {negative!r} is label 0; "
        f"set data.classes to change the order"
    ]
