"""The curve of a learning rate range test as a PNG."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from imgtrain.run.run_directory import atomic_write
from imgtrain.training.rate_range import RateRange

__all__ = ["save_rate_figure"]


def save_rate_figure(tested: RateRange, suggestion: float | None, path: Path) -> None:
    """Write losses over learning rates, with the suggestion, as a PNG.

    Raises:
        RunFileError: The file cannot be written.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    smoothed = tested.smoothed
    axes.plot(tested.rates, tested.losses, ".", color="0.7", markersize=4, label="batch")
    axes.plot(tested.rates, smoothed, color="C0", label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color="C3", linestyle="--", label=f"suggestion: {suggestion:g}")
    if len(smoothed):
        low, high = float(smoothed.min()), float(smoothed[: max(1, len(smoothed) // 2)].max())
        margin = max(high - low, 1e-3 * abs(high))
        # Without the divergence, which would flatten everything else.
        axes.set_ylim(low - 0.3 * margin, high + margin)
    if len(tested.rates) > 1:
        axes.set_xlim(tested.rates[0], tested.rates[-1])
    axes.set(xlabel="learning rate", ylabel="training loss")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    with atomic_write(path) as aside:
        figure.savefig(aside, format="png", dpi=110)
