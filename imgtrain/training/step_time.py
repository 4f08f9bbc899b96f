"""Times training steps and validation passes on prefetched batches."""

from __future__ import annotations

import time
from contextlib import closing
from itertools import islice

from imgtrain.batches.batches import Batches
from imgtrain.training.steps import Steps

__all__ = ["time_training", "time_validation"]

# The first steps are slower and not timed.
_WARM_UP_STEPS = 3
_FEWEST_STEPS = 8
_VALIDATION_STEPS = 8


def time_training(steps: Steps, train: Batches, *, seconds: float) -> float:
    """Return the mean time of a training step, in seconds. Updates the model's weights.

    Args:
        steps: Compiled steps of the model.
        train: Training batches.
        seconds: Minimum time to measure; at least 8 steps are timed.
    """
    count, begun, epoch = 0, time.perf_counter(), 0
    while True:
        with closing(train.read_ahead(epoch)) as batches:
            for batch in batches:
                steps.train(batch)
                count += 1
                if count == _WARM_UP_STEPS:
                    begun = time.perf_counter()
                spent = time.perf_counter() - begun
                if count >= _WARM_UP_STEPS + _FEWEST_STEPS and spent >= seconds:
                    return spent / (count - _WARM_UP_STEPS)
        epoch += 1


def time_validation(steps: Steps, validation: Batches) -> float:
    """Return the estimated time of a validation pass, in seconds, from its first batches."""
    pixels, labels, *_ = validation.batch(0, 0)
    steps.validate((pixels, labels))  # the first call compiles the step
    images, begun = 0, time.perf_counter()
    with closing(validation.read_ahead(0)) as batches:
        for pixels, labels, *_ in islice(batches, _VALIDATION_STEPS):
            steps.validate((pixels, labels))
            images += len(pixels)
    return (time.perf_counter() - begun) * validation.images_per_epoch / images
