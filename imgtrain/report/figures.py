"""The report's figures as SVG, in the colors of the page, for both light and dark mode.

Matplotlib draws with placeholder colors, which are then replaced by the page's CSS variables.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from imgtrain.evaluation.predictions import Predictions
from imgtrain.text import printable

__all__ = ["draw_calibration", "draw_history", "draw_precision_recall", "draw_roc"]

# Placeholder colors, and the page's names for them.
_INK, _FAINT = "#010203", "#040506"
_SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06")
_ROLES = {
    _INK: "currentColor",
    _FAINT: "var(--faint)",
    **{color: f"var(--series-{number})" for number, color in enumerate(_SERIES, start=1)},
}
# Classes are also distinguished by dashes, not by color alone.
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
_MAX_CURVES = 6
_MAX_POINTS = 150
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "imgtrain",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.alpha": 0.35,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "text.parse_math": False,
}


def draw_history(
    history: Sequence[Mapping[str, float]],
    best_epoch: int | None,
    learning_rates: Sequence[Sequence[float]] = (),
) -> dict[str, str]:
    """Return a figure for each metric: training and validation values over the epochs, and the learning rate.

    Args:
        history: The values of each epoch by name, with `epoch` from 1.
        best_epoch: The epoch (from 1) whose weights the model uses.
        learning_rates: (epochs completed, learning rate) of batches; empty if it only changes between epochs.
    """
    names = [
        name
        for name in history[0]
        if name not in ("epoch", "stage", "seconds", "learning_rate") and not name.startswith("val_")
    ]
    if learning_rates or len({row.get("learning_rate") for row in history}) > 1:
        names.append("learning_rate")
    epochs = [row["epoch"] for row in history]
    figures = {}
    for name in names:
        with mpl.rc_context(_STYLE):
            figure, axes = _figure()
            if name == "learning_rate" and learning_rates:
                axes.plot(*zip(*learning_rates, strict=True), color=_SERIES[0], label="each batch")
            for place, key in enumerate(() if axes.lines else (name, f"val_{name}")):
                if key in history[0]:
                    label = "validation" if place else "training"
                    values = [row[key] for row in history]
                    axes.plot(epochs, values, _DASHES[place], color=_SERIES[place], label=label, marker=".")
            if best_epoch is not None:
                axes.axvline(
                    best_epoch, color=_INK, linewidth=1, linestyle=":", label=f"best: epoch {best_epoch}"
                )
            axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
            figures[name] = _as_svg(figure, f"history-{name}")
    return figures


def draw_calibration(reliability: Sequence[Mapping[str, Any]]) -> str:
    """Return the reliability diagram: accuracy against confidence, with point areas proportional to images."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(square=True)
        confidence = [part["confidence"] for part in reliability]
        accuracy = [part["accuracy"] for part in reliability]
        images = np.array([part["images"] for part in reliability])
        axes.plot([0, 1], [0, 1], ":", color=_INK, linewidth=1, label="perfectly calibrated")
        axes.plot(confidence, accuracy, color=_SERIES[0], linewidth=1)
        axes.scatter(confidence, accuracy, 12 + 200 * images / images.sum(), color=_SERIES[0], label="model")
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(-0.03, 1.03))
        axes.legend(loc="upper left")
        return _as_svg(figure, "calibration")


def draw_roc(predictions: Predictions, areas: Mapping[str, float | None]) -> str:
    """Return the ROC curve of the positive class, or the one-vs-rest curves, lowest AUC first."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(square=True)
        axes.plot([0, 1], [0, 1], ":", color=_INK, linewidth=1)
        for place, (label, name) in enumerate(_chosen(predictions, areas)):
            false_rate, true_rate, _ = roc_curve(
                predictions.labels == label, predictions.probabilities[:, label]
            )
            _curve(axes, place, false_rate, true_rate, f"{name} ({areas_of(areas, predictions, label)})")
        axes.set(
            xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03)
        )
        axes.legend(loc="lower right", fontsize=8)
        return _as_svg(figure, "roc")


def draw_precision_recall(predictions: Predictions, areas: Mapping[str, float | None]) -> str:
    """Return the precision-recall curve of the positive class, or of each class, lowest average precision first."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(square=True)
        for place, (label, name) in enumerate(_chosen(predictions, areas)):
            precision, recall, _ = precision_recall_curve(
                predictions.labels == label, predictions.probabilities[:, label]
            )
            _curve(axes, place, recall, precision, f"{name} ({areas_of(areas, predictions, label)})")
        axes.set(xlabel="recall", ylabel="precision", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes.legend(loc="lower left", fontsize=8)
        return _as_svg(figure, "precision-recall")


def areas_of(areas: Mapping[str, float | None], predictions: Predictions, label: int) -> str:
    """Return the formatted area of a class."""
    return f"{areas[predictions.class_names[label]]:.3f}"


def _chosen(predictions: Predictions, areas: Mapping[str, float | None]) -> list[tuple[int, str]]:
    """Return (label, displayed name) of the classes to draw: the positive one, or those with the smallest area."""
    names = predictions.class_names
    known = [label for label, name in enumerate(names) if areas[name] is not None]
    if len(names) == 2:
        known = [label for label in known if label == 1]
    ranked = sorted(known, key=lambda label: areas[names[label]] or 0.0)[:_MAX_CURVES]
    return [(label, _short(names[label])) for label in ranked]


def _curve(axes: Axes, place: int, x: Any, y: Any, label: str) -> None:
    kept = np.unique(np.linspace(0, len(x) - 1, _MAX_POINTS).astype(int))
    axes.plot(x[kept], y[kept], color=_SERIES[place], linestyle=_DASHES[place], label=label)


def _short(name: str) -> str:
    shown = printable(name)
    # Matplotlib omits labels that start with an underscore from the legend.
    shown = f"\u200b{shown}" if shown.startswith("_") else shown
    return shown if len(shown) <= 18 else f"{shown[:17]}…"


def _figure(*, square: bool = False) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.2, 4.0) if square else (4.8, 3.2), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    return figure, axes


def _as_svg(figure: Figure, name: str) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for color, role in _ROLES.items():
        svg = svg.replace(color, role)
    # IDs must be unique across all figures of the page.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    # The caption of each figure describes its content.
    return svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
