"""Asked × found → what will be done, or every problem at once.

The last room before any pixel is decoded and before TensorFlow is started: whatever can be known to go wrong
from the configuration and the names of the files is said here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.head import check_output, resolve_loss
from imgtrain.config.keras_differences import check_shift_ranges
from imgtrain.config.preprocessing import check_zca
from imgtrain.config.schema import Config
from imgtrain.dataset.holdout import draw_validation
from imgtrain.dataset.split import Splits, split_data
from imgtrain.errors import ConfigError, ImgtrainError, Problem, did_you_mean

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What will be trained, on which images, and what the user should know before.

    Attributes:
        config: The configuration, with what follows from the data filled in: it trains the same again.
        splits: The images of each split; validation images may still have to be drawn, see `Splits`.
        loss: The Keras loss by name.
        warnings: Sentences to show.
    """

    config: Config
    splits: Splits
    loss: str
    warnings: tuple[str, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in label order."""
        return self.splits.class_names

    @property
    def directory(self) -> Path:
        """Where the run goes."""
        assert self.config.output.directory is not None  # load_config and parse_config fill it in
        return self.config.output.directory


def make_plan(config: Config) -> Plan:
    """Look at the folders and hold them against the configuration.

    Raises:
        ConfigError: The configuration contradicts itself or the data; the problems of the data are among them.
        DataError: Only the data is wrong.
    """
    problems: list[Problem] = []
    splits, data_error = None, None
    try:
        splits = split_data(config)
        # Equal pictures are not known yet; but what cannot be drawn without any cannot be drawn with some.
        splits = replace(splits, warnings=draw_validation(splits).warnings)
    except ImgtrainError as error:
        data_error = error
    else:
        problems += _check_class_weights(config, splits)
    problems += check_output(config, None if splits is None else len(splits.class_names))
    validated = _has_validation(config, splits)
    problems += _check_monitors(config, validated=validated)
    problems += check_zca(config)
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
        warnings += _say_which_is_positive(config, splits)
    return Plan(
        config=config,
        splits=splits,
        loss=resolve_loss(config),
        warnings=(*splits.warnings, *warnings),
    )


def _has_validation(config: Config, splits: Splits | None) -> bool:
    """Return whether there are validation images; as far as the configuration says, if the data does not tell."""
    if splits is not None:
        return splits.validated
    data = config.data
    return data.validation is not None or data.validation_split is not None or data.split_file is not None


def _without_needless_stopping(config: Config, *, validated: bool) -> tuple[Config, list[str]]:
    """Turn off early stopping that nobody asked for and that has nothing to watch."""
    stopping = config.training.early_stopping
    if validated or stopping is None or stopping.monitor in _logged_names(config, validated=validated):
        return config, []
    training = config.training.model_copy(update={"early_stopping": None})
    return config.model_copy(update={"training": training}), [
        "there are no validation images: all epochs are trained and the last weights are kept; "
        "set data.validation or data.validation_split to stop at the best epoch"
    ]


def _check_time_and_schedule(config: Config) -> list[Problem]:
    """Return what contradicts the time budget or the learning rate schedule."""
    training, problems = config.training, []
    if training.minutes is not None and training.steps_per_epoch is not None:
        where = config.where("training", "steps_per_epoch")
        problems.append(Problem(where, "training.minutes plans it", "remove it, or training.minutes"))
    if training.schedule is None:
        return problems
    if training.reduce_lr_on_plateau is not None:
        what = "training.schedule sets the learning rate of every batch already"
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
    """Keep early stopping from ending training before the learning rate has fallen.

    Early stopping by default only restores the best weights then; one that the user wrote is left as it is.
    """
    training = config.training
    stopping = training.early_stopping
    if training.schedule is None or stopping is None or stopping.patience >= training.epochs:
        return config, []
    if "early_stopping" in training.model_fields_set:
        return config, [
            f"training.early_stopping may end training (patience {stopping.patience}) before the learning rate "
            f"schedule has ended; its last epochs usually gain most: set patience to {training.epochs} or more to "
            "only keep the best weights"
        ]
    patient = stopping.model_copy(update={"patience": training.epochs})
    return config.model_copy(update={"training": training.model_copy(update={"early_stopping": patient})}), []


def _name_options_without_effect(config: Config, *, validated: bool) -> list[str]:
    """Return a sentence for each option that the others leave without effect, or that doubles one of them."""
    asked, warnings = config.evaluation, []
    if asked.threshold != 0.5 and config.data.class_mode != "binary":
        warnings.append("evaluation.threshold has no effect: it is for class_mode binary")
    if asked.abstain is not None and not validated:
        warnings.append(
            "evaluation.abstain has no effect: there are no validation images to choose its level on"
        )
    if config.training.class_weight == "balanced" and config.data.balance == "oversample":
        warnings.append(
            "data.balance draws every class equally often, and training.class_weight weighs rare classes up once "
            "more: one of the two is enough"
        )
    return warnings


def _check_monitors(config: Config, *, validated: bool) -> list[Problem]:
    """Return a problem for each monitor that no epoch will have, or that Keras does not know the good end of."""
    problems = []
    names = _logged_names(config, validated=validated)
    for section in ("early_stopping", "reduce_lr_on_plateau"):
        callback = getattr(config.training, section)
        if callback is None:
            continue
        where = config.where("training", section, "monitor")
        if callback.monitor in names:
            if callback.mode == "auto" and _direction(callback.monitor, config) is None:
                what = f"whether {callback.monitor!r} should fall or rise is not known"
                problems.append(Problem(where, what, f"set training.{section}.mode to min or max"))
            continue
        if section == "early_stopping" and "monitor" not in callback.model_fields_set and not validated:
            continue  # the default; it is turned off
        known = _logged_names(config, validated=True)
        hint = did_you_mean(callback.monitor, known)
        if callback.monitor.startswith("val_") and not validated:
            needs = "it needs validation images: set data.validation or data.validation_split"
            hint = needs if callback.monitor in known else f"{hint} {needs}".strip()
        what = f"no epoch will have {callback.monitor!r}; there will be: {', '.join(names)}"
        problems.append(Problem(where, what, hint))
    return problems


def _direction(monitor: str, config: Config) -> str | None:
    """Return `lower` or `higher`, whichever is better for a monitored number; None if Keras does not know."""
    name = monitor.removeprefix("val_")
    if name == "loss":
        return "lower"
    catalogue = load_catalogue()
    metrics = [catalogue.metric(metric) for metric in config.training.metrics]
    return next((metric.better for metric in metrics if metric.log_name == name), None)


def _logged_names(config: Config, *, validated: bool) -> list[str]:
    """Return the names of the numbers that every epoch ends with, as far as a callback sees them."""
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
            f"there is no class {name!r}; there are: {', '.join(splits.class_names)}",
            did_you_mean(name, splits.class_names),
        )
        for name in weights
        if name not in splits.class_names
    ]
    if weights and not any(weights.get(name, 1.0) for name in splits.class_names):
        problems.append(
            Problem(
                config.where("training", "class_weight"), "every class has weight 0: nothing would be learned"
            )
        )
    return problems


def _say_which_is_positive(config: Config, splits: Splits) -> list[str]:
    negative, positive = splits.class_names
    if config.data.classes is not None:
        return []
    return [
        f"binary: {positive!r} is the positive class (label 1), {negative!r} is 0; "
        f"data.classes sets another order"
    ]
