"""Evaluates a learning rate schedule, of imgtrain or Keras, for every batch of a run, and describes it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.config.schema import TrainingConfig
from imgtrain.dataset.holdout import draw_validation
from imgtrain.dataset.plan import Plan
from imgtrain.events import ScheduleBuilt
from imgtrain.model.compile import build_optimizer
from imgtrain.model.runtime import keras, tf
from imgtrain.training.learning_rates import is_keras_schedule, learning_rates, sample_rates

__all__ = ["describe_schedule", "example_schedule", "scheduled_rates"]

_EXAMPLE_EPOCHS = 30
# Minimum length of an example, as a multiple of its warm-up.
_EXAMPLE_WARMUPS = 4


def scheduled_rates(
    training: TrainingConfig, optimizer: Any, *, steps_per_epoch: int
) -> NDArray[np.float64] | None:
    """Return the learning rate of every batch, shape (epochs × steps_per_epoch,); None without a schedule.

    Args:
        training: Schedule and number of epochs.
        optimizer: Its learning rate is the maximum of imgtrain's schedules; Keras schedules define their own.
        steps_per_epoch: Batches per epoch.
    """
    schedule = training.schedule
    if schedule is None:
        return None
    if not is_keras_schedule(schedule):
        highest = float(optimizer.learning_rate)
        return learning_rates(
            schedule, highest=highest, steps_per_epoch=steps_per_epoch, epochs=training.epochs
        )
    rate_at = getattr(keras.optimizers.schedules, schedule.name)(**schedule.arguments)
    steps = tf.range(training.epochs * steps_per_epoch)
    # One graph for all batches, because separate calls take about a millisecond each.
    rates = tf.function(lambda: tf.map_fn(rate_at, steps, fn_output_signature=tf.float32))()
    return np.asarray(rates, np.float64)


def describe_schedule(
    training: TrainingConfig, rates: NDArray[np.float64], *, steps_per_epoch: int, example: bool = False
) -> ScheduleBuilt:
    """Return the event that shows a schedule.

    Args:
        training: With a schedule.
        rates: The learning rate of every batch.
        steps_per_epoch: Batches per epoch.
        example: Whether the number of epochs is only an example.
    """
    assert training.schedule is not None
    curve = tuple(sample_rates(rates, steps_per_epoch=steps_per_epoch))
    return ScheduleBuilt(training.schedule.name, training.epochs, steps_per_epoch, curve, example)


def example_schedule(plan: Plan) -> ScheduleBuilt | None:
    """Return the schedule of a run that is not started; None without one.

    With a time budget, the number of epochs is an example.
    """
    data, training = plan.config.data, plan.config.training
    if training.schedule is None:
        return None
    counts = draw_validation(plan.splits).train.counts()
    images = counts.sum() if data.balance is None else counts.max() * (counts > 0).sum()
    steps = training.steps_per_epoch or math.ceil(images / data.batch_size)
    if training.minutes is not None:
        longest = math.ceil(_EXAMPLE_WARMUPS * (training.schedule.warmup_epochs or 0))
        training = training.model_copy(update={"epochs": max(_EXAMPLE_EPOCHS, longest)})
    rates = scheduled_rates(training, build_optimizer(plan.config), steps_per_epoch=steps)
    assert rates is not None
    return describe_schedule(training, rates, steps_per_epoch=steps, example=training.minutes is not None)
