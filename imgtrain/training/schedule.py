"""Evaluates a learning rate schedule, of imgtrain or Keras, for every batch of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.config.schema import TrainingConfig
from imgtrain.model.runtime import keras, tf
from imgtrain.training.learning_rates import is_keras_schedule, learning_rates

__all__ = ["scheduled_rates"]


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
