"""How many epochs, of how many batches, fit into a time budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from imgtrain.config.schema import Config
from imgtrain.run.run_directory import RunDirectory

__all__ = ["EpochPlan", "describe_epoch_plan", "keep_epoch_plan", "plan_epochs", "with_epoch_plan"]

# The best epoch is chosen among at least so many, even where a single pass takes longer than a fifth of the budget.
_FEWEST_EPOCHS = 5
# Share of the budget that validation may take; epochs become longer than a pass before it takes more.
_VALIDATION_SHARE = 0.3
# An epoch is one pass over the images if that misses the budget by no more than this share.
_ROUNDING = 0.02


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """Epochs that fit into a time budget.

    Attributes:
        epochs: Number of epochs, 1 or more.
        steps_per_epoch: Batches in an epoch; None for one pass over the training images.
        seconds: What they are expected to take, validation included.
    """

    epochs: int
    steps_per_epoch: int | None
    seconds: float


def plan_epochs(
    seconds: float,
    *,
    seconds_per_step: float,
    seconds_per_validation: float,
    steps_per_pass: int,
    most_epochs: int | None = None,
) -> EpochPlan:
    """Return the epochs that end when the time is up.

    An epoch is one pass over the training images where that divides the budget well. Where a pass is long, epochs are
    parts of it; where validation takes longer than training, epochs are several passes.

    Args:
        seconds: The budget, above 0.
        seconds_per_step: Time of one training batch, above 0.
        seconds_per_validation: Time of a validation pass; 0 without validation.
        steps_per_pass: Batches in a pass over the training images.
        most_epochs: Upper limit of the passes that are trained; None for none.
    """
    seconds_per_epoch = steps_per_pass * seconds_per_step + seconds_per_validation
    most_validations = max(1, int(_VALIDATION_SHARE * seconds / max(seconds_per_validation, 1e-9)))
    epochs = min(max(round(seconds / seconds_per_epoch), _FEWEST_EPOCHS), most_validations)
    steps = max(1, int((seconds / epochs - seconds_per_validation) / seconds_per_step))
    if most_epochs is not None and epochs * steps > most_epochs * steps_per_pass:
        epochs = min(epochs, most_epochs)
        steps = max(1, most_epochs * steps_per_pass // epochs)
    if abs(steps - steps_per_pass) <= _ROUNDING * steps_per_pass:
        steps = steps_per_pass
    expected = epochs * (steps * seconds_per_step + seconds_per_validation)
    return EpochPlan(epochs, None if steps == steps_per_pass else steps, expected)


def describe_epoch_plan(plan: EpochPlan, minutes: float) -> dict[str, Any]:
    """Return what `run.json` keeps of a plan, so that a resumed run keeps the plan too."""
    return {"minutes": minutes, **asdict(plan)}


def with_epoch_plan(config: Config, planned: Mapping[str, Any]) -> Config:
    """Return the configuration with the planned epochs in place of the time budget.

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
        # It only restores the best weights, and is not to end a longer run.
        patience = max(stopping.patience, planned["epochs"])
        update["early_stopping"] = stopping.model_copy(update={"patience": patience})
    return config.model_copy(update={"training": training.model_copy(update=update)})


def keep_epoch_plan(config: Config, run: RunDirectory) -> Config:
    """Return the configuration with the epochs that the run to resume was planned with, for the same budget.

    Raises:
        RunFileError: `run.json` is damaged.
    """
    if config.training.minutes is None or not run.run.exists():
        return config
    planned = run.read_run().get("planned")
    if planned is None or planned["minutes"] != config.training.minutes:
        return config
    return with_epoch_plan(config, planned)
