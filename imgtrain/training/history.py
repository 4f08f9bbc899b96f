"""What is known of the epochs that were trained."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Epoch", "History"]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What is known of an epoch when it is over.

    Attributes:
        number: Counts from 0.
        seconds: Wall time, validation included.
        images_per_second: Training images over the time of the training part.
        logs: Every metric by name, and the learning rate that the epoch ended with.
    """

    number: int
    seconds: float
    images_per_second: float
    logs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class History:
    """All epochs, and which of them the model's weights are from.

    Attributes:
        epochs: In order.
        best_epoch: The epoch, from 0, whose weights the model has now.
        stopped_early: Whether fewer epochs were trained than asked for.
    """

    epochs: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool

    @property
    def images_per_second(self) -> float:
        """Median over the epochs after the first, in which TensorFlow also builds its graphs."""
        return statistics.median(epoch.images_per_second for epoch in self.epochs[1:] or self.epochs)
