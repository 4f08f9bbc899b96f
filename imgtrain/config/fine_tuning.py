"""The second stage of training, checked against the rest of the configuration, without TensorFlow."""

from __future__ import annotations

from imgtrain.config.schema import SCHEDULE_OPTIONS, Config
from imgtrain.errors import Problem

__all__ = ["check_fine_tuning", "fine_tuning_config"]


def check_fine_tuning(config: Config) -> list[Problem]:
    """Return the problems of options that contradict `training.fine_tune`."""
    training, backbone = config.training, config.model.backbone
    if training.fine_tune is None:
        return []
    if backbone is None:
        where = config.where("training", "fine_tune")
        return [Problem(where, "requires a model.backbone", "set model.backbone, or remove fine_tune")]
    problems = []
    if backbone.trainable is not False:
        where = config.where("model", "backbone", "trainable")
        what = "must be false with training.fine_tune, which trains these layers in a second stage"
        problems.append(Problem(where, what, "remove it, or training.fine_tune"))
    if training.minutes is not None:
        where = config.where("training", "minutes")
        what = "cannot be combined with training.fine_tune"
        problems.append(Problem(where, what, "set training.epochs and training.fine_tune.epochs instead"))
    warmup = None if training.schedule is None else training.schedule.warmup_epochs
    if warmup is not None and warmup >= training.fine_tune.epochs:
        where = config.where("training", "fine_tune", "epochs")
        what = (
            f"must be more than training.schedule.warmup_epochs ({warmup:g}); got {training.fine_tune.epochs}"
        )
        problems.append(Problem(where, what, "the schedule starts again with the second stage"))
    return problems


def fine_tuning_config(config: Config) -> Config:
    """Return the configuration of the second stage.

    Args:
        config: A configuration with `training.fine_tune`.
    """
    training = config.training
    settings = training.fine_tune
    assert settings is not None
    optimizer = training.optimizer
    arguments = {**optimizer.arguments, "learning_rate": settings.learning_rate}
    update = {
        "epochs": settings.epochs,
        "optimizer": optimizer.model_copy(update={"arguments": arguments}),
        # A schedule of Keras defines learning rates of its own.
        "schedule": training.schedule
        if training.schedule is None or training.schedule.name in SCHEDULE_OPTIONS
        else None,
    }
    return config.model_copy(update={"training": training.model_copy(update=update)})
