"""Draw curves with characters: the losses of a learning rate range test, and a learning rate schedule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_loss_curve", "draw_sparkline"]

_HEIGHT, _WIDTH = 10, 64
_BARS = "▁▂▃▄▅▆▇█"


def draw_loss_curve(
    rates: NDArray[np.float64], losses: NDArray[np.float64], suggestion: float | None
) -> list[str]:
    """Return lines with the losses over the logarithm of the learning rates; losses beyond the top are clipped.

    Args:
        rates: Learning rates, (n,), increasing; n ≥ 2.
        losses: Smoothed losses, (n,).
        suggestion: A learning rate to mark by a vertical line; None for none.
    """
    low, high = float(losses.min()), float(losses[: max(2, len(losses) // 2)].max())
    high = max(high, low + 1e-6 * max(1.0, abs(low)))
    top = high + 0.5 * (high - low)
    cells = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    logs = np.log10(rates)
    columns = np.linspace(logs[0], logs[-1], _WIDTH)
    if suggestion is not None:
        marked = int(np.abs(columns - np.log10(suggestion)).argmin())
        for row in cells:
            row[marked] = "│"
    for column, loss in enumerate(np.interp(columns, logs, losses)):
        share = (min(float(loss), top) - low) / (top - low)
        cells[round((1 - share) * (_HEIGHT - 1))][column] = "•"
    labels = {0: f"{top:.3g}", _HEIGHT - 1: f"{low:.3g}"}
    lines = [f"{labels.get(number, ''):>8} ┤{''.join(row)}" for number, row in enumerate(cells)]
    ticks = [" "] * (_WIDTH + 6)
    for exponent in range(int(np.ceil(logs[0])), int(np.floor(logs[-1])) + 1):
        place = int(np.abs(columns - exponent).argmin())
        text = f"1e{exponent}" if exponent else "1"
        ticks[place : place + len(text)] = text
    return [
        *lines,
        f"{'loss':>8} └{'─' * _WIDTH}",
        f"{'':9} {''.join(ticks).rstrip()}",
        f"{'':9} learning rate",
    ]


def draw_sparkline(values: Sequence[float], width: int = 60) -> str:
    """Return the values, averaged over equal parts, as bars from 0 to the maximum."""
    parts = [part.mean() for part in np.array_split(np.asarray(values, np.float64), min(width, len(values)))]
    highest = max(*parts, 1e-30)
    return "".join(_BARS[min(int(part / highest * len(_BARS)), len(_BARS) - 1)] for part in parts)
