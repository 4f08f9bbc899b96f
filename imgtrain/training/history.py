"""Metrics and timings of trained epochs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Epoch", "History"]


@dataclass(frozen=True, slots=True)
class Epoch:
    """Metrics and timings of one epoch.

    Attributes:
        number: Epoch number, from 0.
        seconds: Wall time, including validation.
        images_per_second: Training throughput, excluding validation.
        logs: Metrics by name, and the learning rate at the end of the epoch.
        stage: The stage of training, from 1; None if there is only one.
    """

    number: int
    seconds: float
    images_per_second: float
    logs: Mapping[str, float]
    stage: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class History:
    """All epochs, and the epoch that the final weights come from.

    Attributes:
        epochs: In order.
        best_epoch: The epoch, from 0, of the model's final weights.
        stopped_early: Whether fewer epochs were trained, in the last stage, than configured.
    """

    epochs: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool

    def __repr__(self) -> str:
        best = f"weights of epoch {self.best_epoch + 1}"
        return f"<History: {len(self.epochs)} epochs, {best}{', stopped early' * self.stopped_early}>"

    @property
    def images_per_second(self) -> float:
        """Median throughput; excludes the first epoch, in which TensorFlow traces its graphs, if there are more."""
        return statistics.median(epoch.images_per_second for epoch in self.epochs[1:] or self.epochs)
