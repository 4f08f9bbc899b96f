"""Results of a learning rate range test, and the learning rate that they suggest; does not import TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

__all__ = ["RateRange", "candidate_rates", "has_diverged"]

_LOWEST, _HIGHEST = 1e-5, 10.0
# Standard deviation of the smoothing, as a factor of the learning rate: wide enough for the noise of single batches.
_SMOOTHING_DECADES = 0.15
# Losses are near the lowest one up to this share of the decrease before it.
_NEAR = 0.2
# The highest rate with a loss near the lowest one is divided by this: what is stable for a few batches can be unstable
# for a whole training, in particular without the warm-up and decay of a schedule.
_SAFETY, _SAFETY_OF_CONSTANT_RATE = 3.0, 10.0
# The test ends when the loss exceeds the lowest one by this factor of the decrease before it.
_DIVERGED = 1.5
# A smaller relative decrease of the loss is noise.
_LEAST_DECREASE = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class RateRange:
    """Losses at exponentially increasing learning rates.

    Attributes:
        rates: Learning rates, (n,), increasing.
        losses: Training loss at each rate, before the update with it, (n,), finite.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def smoothed(self) -> NDArray[np.float64]:
        """The losses, smoothed over neighboring rates without a delay, (n,)."""
        if len(self.rates) < 2:
            return self.losses
        decades_per_step = np.log10(self.rates[1] / self.rates[0])
        smoothed: NDArray[np.float64] = gaussian_filter1d(
            self.losses, _SMOOTHING_DECADES / decades_per_step, mode="nearest"
        )
        return smoothed

    def suggest(self, *, scheduled: bool) -> float | None:
        """Return the suggested learning rate, with two digits; None if the loss does not decrease.

        Args:
            scheduled: Whether it is the maximum of a schedule, a third of the highest rate before the loss increases;
                otherwise a constant rate, a tenth.
        """
        if not len(self.rates):
            return None
        smoothed = self.smoothed
        lowest = int(smoothed.argmin())
        decrease = float(smoothed[: lowest + 1].max() - smoothed[lowest])
        if decrease <= _LEAST_DECREASE * abs(float(smoothed[0])):
            return None
        risen = np.flatnonzero(smoothed[lowest:] > smoothed[lowest] + _NEAR * decrease)
        highest = lowest + int(risen[0]) - 1 if len(risen) else len(smoothed) - 1
        safety = _SAFETY if scheduled else _SAFETY_OF_CONSTANT_RATE
        return float(f"{self.rates[highest] / safety:.1e}")


def candidate_rates(count: int) -> NDArray[np.float64]:
    """Return exponentially increasing learning rates from 1e-5 to 10, (count,)."""
    return np.geomspace(_LOWEST, _HIGHEST, count)


def has_diverged(losses: NDArray[np.float64]) -> bool:
    """Return whether the last losses are not finite, or much higher than the lowest."""
    if not np.isfinite(losses).all():
        return True
    recent = np.convolve(losses, np.full(5, 0.2), mode="valid")
    if not len(recent):
        return False
    lowest, first = float(recent.min()), float(recent[0])
    return bool(recent[-1] > lowest + _DIVERGED * max(first - lowest, 0.5 * abs(first)))
