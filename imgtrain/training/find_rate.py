"""Learning rate range test: trains on a few batches while the learning rate increases.

Source: L. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from itertools import count
from typing import Any

import numpy as np

from imgtrain.batches.batches import Batch, Batches
from imgtrain.events import Emit, Progress, ignore
from imgtrain.training.rate_range import RateRange, candidate_rates, has_diverged
from imgtrain.training.steps import Steps

__all__ = ["try_rates"]

_BATCHES = 200
_FEWEST_RATES = 50
_TASK = "trying learning rates"


def try_rates(model: Any, train: Batches, *, accumulate: int = 1, emit: Emit = ignore) -> RateRange:
    """Train on up to 200 batches with increasing learning rates, until the loss diverges. Changes the weights.

    Args:
        model: A compiled model.
        train: Training batches; several passes if there are fewer.
        accumulate: Batches per weight update, for which the learning rate stays the same.
        emit: Called with `Progress` events.
    """
    rates = candidate_rates(max(_BATCHES // accumulate, _FEWEST_RATES))
    steps = Steps(model, train)
    losses: list[float] = []
    emit(Progress(_TASK, 0, len(rates), "rates"))
    with closing(_endless(train)) as batches:
        for rate in rates:
            model.optimizer.learning_rate = rate
            losses.append(float(np.mean([_loss(model, steps, next(batches)) for _ in range(accumulate)])))
            if has_diverged(np.array(losses)):
                emit(Progress(_TASK, len(losses), len(losses), "rates"))
                break
            emit(Progress(_TASK, len(losses), len(rates), "rates"))
    tried = np.array(losses)
    finite = np.isfinite(tried)
    return RateRange(rates[: len(tried)][finite], tried[finite])


def _loss(model: Any, steps: Steps, batch: Batch) -> float:
    # Otherwise the loss would be the mean over all batches so far.
    model.reset_metrics()
    return steps.train(batch)["loss"]


def _endless(train: Batches) -> Generator[Batch, None, None]:
    for epoch in count():
        with closing(train.read_ahead(epoch)) as batches:
            yield from batches
