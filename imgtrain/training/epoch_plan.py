"""Computes the number and length of epochs that fit a time budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from imgtrain.config.schema import Config
from imgtrain.run.run_directory import RunDirectory

__all__ = ["EpochPlan", "describe_epoch_plan", "keep_epoch_plan", "plan_epochs", "with_epoch_plan"]

# Minimum number of epochs to select the best from, even if one pass takes more than a fifth of the budget.
_FEWEST_EPOCHS = 5
# Maximum share of the budget for validation; beyond it, epochs span several passes.
_VALIDATION_SHARE = 0.3
# Minimum duration of an epoch: starting the batches, callbacks and writing files take a few hundredths of a second.
_SHORTEST_EPOCH_SECONDS = 0.5
# An epoch is exactly one pass over the images if its planned length is within this relative tolerance.
_ROUNDING = 0.02


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """Epochs that fit a time budget.

    Attributes:
        epochs: Number of epochs, at least 1.
        steps_per_epoch: Batches in an epoch; None for one pass over the training images.
        seconds: Expected total time, including validation.
    """

    epochs: int
    steps_per_epoch: int | None
    seconds: float

    def passes(self, steps_per_pass: int) -> float:
        """Return the number of passes over the training images."""
        return self.epochs * (self.steps_per_epoch or steps_per_pass) / steps_per_pass


def plan_epochs(
    seconds: float,
    *,
    seconds_per_step: float,
    seconds_per_validation: float,
    steps_per_pass: int,
    most_epochs: int | None = None,
) -> EpochPlan:
    """Return the epochs that fit the time budget.

    An epoch is one pass over the training images if this divides the budget well. If a pass is long, an epoch is
    part of it; if a pass is very short or validation dominates, an epoch spans several passes.

    Args:
        seconds: Time budget, > 0.
        seconds_per_step: Time per training batch, > 0.
        seconds_per_validation: Time per validation pass; 0 without validation.
        steps_per_pass: Batches per pass over the training images.
        most_epochs: Maximum number of passes over the training images; None for no limit.
    """
    seconds_per_epoch = steps_per_pass * seconds_per_step + seconds_per_validation
    most_validations = max(1, int(_VALIDATION_SHARE * seconds / max(seconds_per_validation, 1e-9)))
    most_of_that_length = max(1, int(seconds / _SHORTEST_EPOCH_SECONDS))
    epochs = min(
        max(round(seconds / seconds_per_epoch), _FEWEST_EPOCHS), most_validations, most_of_that_length
    )
    steps = max(1, int((seconds / epochs - seconds_per_validation) / seconds_per_step))
    if most_epochs is not None and epochs * steps > most_epochs * steps_per_pass:
        epochs = min(epochs, most_epochs)
        steps = max(1, most_epochs * steps_per_pass // epochs)
    if abs(steps - steps_per_pass) <= _ROUNDING * steps_per_pass:
        steps = steps_per_pass
    expected = epochs * (steps * seconds_per_step + seconds_per_validation)
    return EpochPlan(epochs, None if steps == steps_per_pass else steps, expected)


def describe_epoch_plan(plan: EpochPlan, config: Config) -> dict[str, Any]:
    """Return the plan as stored in `run.json`, from which a resumed run restores it."""
    return {
        "minutes": config.training.minutes,
        "target_size": list(config.data.size),
        **asdict(plan),
    }


def with_epoch_plan(config: Config, planned: Mapping[str, Any]) -> Config:
    """Return the configuration with the time budget replaced by the planned epochs.

    Args:
        config: A configuration with `training.minutes`.
        planned: What `describe_epoch_plan` returned.
    """
    training = config.training
    update: dict[str, Any] = {
        "minutes": None,
        "epochs": planned["epochs"],
        "steps_per_epoch": planned["steps_per_epoch"],
    }
    stopping = training.early_stopping
    if stopping is not None and stopping.patience >= training.epochs:
        # Early stopping only restores the best weights here; it must not end a longer run.
        patience = max(stopping.patience, planned["epochs"])
        update["early_stopping"] = stopping.model_copy(update={"patience": patience})
    return config.model_copy(update={"training": training.model_copy(update=update)})


def keep_epoch_plan(config: Config, run: RunDirectory, *, auto_size: bool) -> Config:
    """Return the configuration with the epoch plan of the run to resume, if the time budget is unchanged.

    Args:
        config: The current configuration.
        run: The run to resume.
        auto_size: Whether to keep its image size, too.

    Raises:
        RunFileError: `run.json` is damaged.
    """
    if config.training.minutes is None or not run.run.exists():
        return config
    planned = run.read_run().get("planned")
    if planned is None or planned["minutes"] != config.training.minutes:
        return config
    if auto_size and "target_size" in planned:
        size = tuple(planned["target_size"])
        config = config.model_copy(update={"data": config.data.model_copy(update={"target_size": size})})
    return with_epoch_plan(config, planned)
