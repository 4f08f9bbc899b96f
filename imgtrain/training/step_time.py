"""Times training steps and validation passes on prefetched batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from imgtrain.batches.batches import Batches

if TYPE_CHECKING:
    from imgtrain.training.steps import Steps

__all__ = ["StepTimes", "time_steps"]

# The first steps are slower and not timed.
_WARM_UP_STEPS = 3
_FEWEST_STEPS = 8
_VALIDATION_STEPS = 8

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Measured times, in seconds.

    Attributes:
        step: Mean time of a training step, augmentation included.
        validation: Estimated time of a validation pass; 0 without validation.
    """

    step: float
    validation: float


def time_steps(
    steps: Steps,
    train: Batches,
    validation: Batches | None,
    *,
    seconds: float,
    clock: Clock = time.perf_counter,
) -> StepTimes:
    """Return the time of a training step and of a validation pass. Updates the model's weights and metrics.

    Args:
        steps: Compiled steps of the model.
        train: Training batches.
        validation: Validation batches, or None.
        seconds: Minimum time to measure training steps; at least 8 are timed.
        clock: Returns the current time in seconds.
    """
    return StepTimes(
        _time_training(steps, train, seconds, clock),
        0.0 if validation is None else _time_validation(steps, validation, clock),
    )


def _time_training(steps: Steps, train: Batches, seconds: float, clock: Clock) -> float:
    count, begun, epoch = 0, clock(), 0
    while True:
        with closing(train.read_ahead(epoch)) as batches:
            for batch in batches:
                steps.train(batch)
                count += 1
                if count == _WARM_UP_STEPS:
                    begun = clock()
                spent = clock() - begun
                if count >= _WARM_UP_STEPS + _FEWEST_STEPS and spent >= seconds:
                    return spent / (count - _WARM_UP_STEPS)
        epoch += 1


def _time_validation(steps: Steps, validation: Batches, clock: Clock) -> float:
    """Return the estimated time of a validation pass, from its first batches."""
    pixels, labels, *_ = validation.batch(0, 0)
    steps.validate((pixels, labels))  # the first call compiles the step
    images, begun = 0, clock()
    with closing(validation.read_ahead(0)) as batches:
        for pixels, labels, *_ in islice(batches, _VALIDATION_STEPS):
            steps.validate((pixels, labels))
            images += len(pixels)
    return (clock() - begun) * validation.images_per_epoch / images
