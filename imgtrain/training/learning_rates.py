"""Learning rate schedules, computed for all batches before training; does not import TensorFlow.

The learning rate depends only on the configuration and the batch number, so a resumed run, a dry run and the report
all use the same values.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from imgtrain.config.schema import SCHEDULE_OPTIONS, ScheduleConfig

__all__ = ["is_keras_schedule", "learning_rates", "sample_rates", "warmup_steps"]

# As in PyTorch's OneCycleLR (L. Smith and N. Topin, "Super-Convergence", 2018): share of warm-up steps, ratio of
# maximum to initial learning rate, and ratio of initial to final learning rate.
_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_FIRST = 25.0
_ONE_CYCLE_LAST = 1e4
_MOST_POINTS = 300
_EXPONENTIAL_FACTOR, _STEP_FACTOR = 0.95, 0.1


def is_keras_schedule(schedule: ScheduleConfig) -> bool:
    """Return whether the schedule is a class of `keras.optimizers.schedules`, evaluated by Keras."""
    return schedule.name not in SCHEDULE_OPTIONS


def warmup_steps(schedule: ScheduleConfig, *, steps_per_epoch: int, epochs: int) -> int:
    """Return the number of warm-up batches."""
    if schedule.warmup_steps is not None:
        return schedule.warmup_steps
    if schedule.warmup_epochs is not None:
        return round(schedule.warmup_epochs * steps_per_epoch)
    if schedule.name == "one_cycle":
        return round(_ONE_CYCLE_RISE * steps_per_epoch * epochs)
    # One epoch, but at most a quarter of the run.
    return min(steps_per_epoch, steps_per_epoch * epochs // 4)


def learning_rates(
    schedule: ScheduleConfig, *, highest: float, steps_per_epoch: int, epochs: int
) -> NDArray[np.float64]:
    """Return the learning rate of every batch, shape (epochs × steps_per_epoch,).

    Args:
        schedule: One of imgtrain's own (`is_keras_schedule` is False).
        highest: The optimizer's learning rate, reached at the end of the warm-up.
        steps_per_epoch: Batches per epoch.
        epochs: Total number of epochs.
    """
    steps = steps_per_epoch * epochs
    rise = min(warmup_steps(schedule, steps_per_epoch=steps_per_epoch, epochs=epochs), steps)
    step = np.arange(steps)
    after = step - rise
    # From 0 right after the warm-up to just below 1 at the last batch.
    done = np.clip(after / max(steps - rise, 1), 0, 1)
    match schedule.name:
        case "cosine":
            share = schedule.final + (1 - schedule.final) * _cosine(done)
        case "linear":
            share = schedule.final + (1 - schedule.final) * (1 - done)
        case "exponential":
            share = (schedule.factor or _EXPONENTIAL_FACTOR) ** (np.maximum(after, 0) / steps_per_epoch)
        case "step":
            drops = np.searchsorted(_drop_epochs(schedule, epochs), step // steps_per_epoch, side="right")
            share = (schedule.factor or _STEP_FACTOR) ** drops.astype(np.float64)
        case "one_cycle":
            last = 1 / (_ONE_CYCLE_FIRST * _ONE_CYCLE_LAST)
            share = last + (1 - last) * _cosine(after / max(steps - rise - 1, 1))
            first = 1 / _ONE_CYCLE_FIRST
            # A rise of one batch is the peak itself.
            risen = step / (rise - 1) if rise > 1 else np.ones(steps)
            rising = first + (1 - first) * (1 - _cosine(risen))
            return highest * np.where(step < rise, rising, share)
        case name:
            raise ValueError(f"{name} is a Keras schedule")
    # The first learning rate is above 0: (1, 2, …, rise) / rise.
    return highest * np.where(step < rise, (step + 1) / max(rise, 1), share)


def sample_rates(rates: NDArray[np.float64], *, steps_per_epoch: int) -> list[tuple[float, float]]:
    """Return (epochs completed, learning rate) of up to 300 batches, including the first, highest and last.

    Args:
        rates: The learning rate of every batch, (n,), n ≥ 1.
        steps_per_epoch: Batches per epoch.
    """
    spaced = np.linspace(0, len(rates) - 1, min(_MOST_POINTS - 1, len(rates))).round().astype(int)
    chosen = np.union1d(spaced, [rates.argmax()])
    return [(round((step + 1) / steps_per_epoch, 4), float(f"{rates[step]:.5g}")) for step in chosen.tolist()]


def _cosine(done: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a half cosine that falls from 1 (at 0) to 0 (at 1)."""
    falling: NDArray[np.float64] = (1 + np.cos(math.pi * done)) / 2
    return falling


def _drop_epochs(schedule: ScheduleConfig, epochs: int) -> list[int]:
    """Return the epochs after which a `step` schedule reduces the learning rate, in ascending order."""
    if schedule.at_epochs is not None:
        return sorted(schedule.at_epochs)
    every = schedule.every_epochs or max(1, math.ceil(epochs / 3))
    return list(range(every, epochs, every))
