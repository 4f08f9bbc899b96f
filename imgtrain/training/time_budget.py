"""Plans the epochs for a time budget (`training.minutes`) by timing some steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from imgtrain.batches.batches import Batches
from imgtrain.config.schema import Config
from imgtrain.events import Emit, Message, ignore
from imgtrain.text import format_minutes
from imgtrain.training.epoch_plan import describe_epoch_plan, plan_epochs, with_epoch_plan
from imgtrain.training.state import capture_arrays, restore_arrays
from imgtrain.training.step_time import time_steps
from imgtrain.training.steps import Steps

__all__ = ["plan_for_minutes"]

# Share of the budget used for timing, and its minimum and maximum in seconds.
_TIMING_SHARE = 0.03
_TIMING_SECONDS = (1.0, 10.0)


def plan_for_minutes(
    config: Config,
    model: Any,
    steps: Steps,
    train: Batches,
    validation: Batches | None,
    facts: dict[str, Any],
    *,
    clock: Callable[[], float] = time.perf_counter,
    emit: Emit = ignore,
) -> Config:
    """Return the configuration with the epochs that fit `training.minutes`.

    Steps are timed on training batches; the model, its optimizer and its random state are restored afterwards. The
    time spent on this counts towards the budget. `steps` should be passed on to `fit`, so that they are compiled once.

    Args:
        config: A configuration with `training.minutes`; `training.epochs`, if set, is the maximum number of passes.
        model: A compiled model.
        steps: Compiled steps of the model.
        train: Training batches.
        validation: Validation batches, or None.
        facts: Contents of `run.json`; the plan is added.
        clock: Returns the current time in seconds.
        emit: Called with a message that describes the plan.
    """
    training = config.training
    assert training.minutes is not None
    begun = clock()
    steps.build()
    arrays = {
        name: [np.array(value) for value in values] for name, values in capture_arrays(model, None).items()
    }
    shortest, longest = _TIMING_SECONDS
    timing = min(max(60 * training.minutes * _TIMING_SHARE, shortest), longest)
    times = time_steps(steps, train, validation, seconds=timing, clock=clock)
    restore_arrays(model, arrays)
    plan = plan_epochs(
        max(60 * training.minutes - (clock() - begun), times.step),
        seconds_per_step=times.step,
        seconds_per_validation=times.validation,
        steps_per_pass=train.steps_per_pass,
        most_epochs=training.epochs if "epochs" in training.model_fields_set else None,
    )
    facts["planned"] = describe_epoch_plan(plan, config)
    batches = plan.steps_per_epoch or train.steps_per_pass
    emit(
        Message(
            f"planned for {format_minutes(training.minutes)}: {plan.epochs} epochs of {batches:,} batches, "
            f"{1000 * times.step:.0f} ms each"
        )
    )
    return with_epoch_plan(config, facts["planned"])
