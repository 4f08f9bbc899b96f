"""Render the report from facts, figures and images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from imgtrain.evaluation.predictions import Predictions
from imgtrain.evaluation.score_names import (
    compare_with_baselines,
    describe_accuracy,
    explain_accuracy,
    list_scores,
)
from imgtrain.report.facts import Facts
from imgtrain.report.figures import draw_calibration, draw_history, draw_precision_recall, draw_roc
from imgtrain.report.gallery import Gallery
from imgtrain.report.thumbnails import as_data_uri, image_uri, overlay
from imgtrain.text import format_bytes, printable

__all__ = ["Pictures", "render_page"]

# Wider confusion matrices are unreadable; the most frequent confusions are listed instead.
_MAX_MATRIX_CLASSES = 25
_MOST_PAIRS = 60
_SHEET_WIDTH = 1100
# Characters of all column headings of a confusion matrix that fit next to each other, even on a phone.
_MOST_IN_A_ROW = 24
_MOST_UNBROKEN = 16
_SHORT_END = 8


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """The images on the page.

    Attributes:
        gallery: The selected rows of the predictions.
        pixels: (height, width, channels) uint8 of each of these rows, as far as the files are available.
        heat: Grad-CAM heat maps, (height, width) in [0, 1], of the explained rows.
        augmentation: The contact sheet of the training augmentation, if available.
    """

    gallery: Gallery
    pixels: Mapping[int, NDArray[np.uint8]]
    heat: Mapping[int, NDArray[np.float32]]
    augmentation: Image.Image | None = None


def render_page(facts: Facts, pictures: Pictures | None) -> str:
    """Return the report as one HTML file.

    Args:
        facts: The contents of the run directory.
        pictures: None if there are no per-image predictions.
    """
    environment = Environment(
        loader=PackageLoader("imgtrain.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=lambda value: printable(value) if type(value) is str else value,
    )  # fmt: skip
    environment.filters |= {
        "number": lambda value: "–" if value is None else f"{value:.3f}",
        "limits": lambda limits: "–" if limits is None else f"[{limits[0]:.3f}, {limits[1]:.3f}]",
        "count": lambda value: f"{value:,}",
        "size": format_bytes,
    }
    page = environment.get_template("report.html.j2")
    return page.render(
        facts=facts,
        scores=facts.scores,
        title=facts.directory.name,
        heading=describe_accuracy(facts.split, facts.scores),
        headline=_headline(facts),
        overall=list(list_scores(facts.scores)),
        figures={name: Markup(svg) for name, svg in _draw(facts).items()},
        matrix=_matrix(facts.scores),
        data=_describe_data(facts),
        run=facts.run or {},
        **_show(facts.predictions, pictures),
    )


def _headline(facts: Facts) -> list[str]:
    """Return what the scores mean, in plain sentences."""
    scores = facts.scores
    sentences = [explain_accuracy(facts.split, scores)]
    sentences += [conclusion.sentence for conclusion in compare_with_baselines(scores)]
    hardest = min(
        (name for name, of_class in scores["per_class"].items() if of_class["support"]),
        key=lambda name: scores["per_class"][name]["recall"],
    )
    recall = scores["per_class"][hardest]["recall"]
    sentences.append(f"The class with the lowest recall is {hardest} ({100 * recall:.0f} %).")
    error = scores["expected_calibration_error"]
    if scores["expected_calibration_error_ci95"] is not None and error > 0.1:
        sentences.append(
            f"The probabilities are not well calibrated: confidence and accuracy differ by {100 * error:.0f} "
            "percentage points on average (ECE)."
        )
    return sentences


def _draw(facts: Facts) -> dict[str, str]:
    figures: dict[str, str] = {}
    if facts.history:
        run = facts.run or {}
        drawn = draw_history(facts.history, run.get("best_epoch"), run.get("learning_rates", ()))
        figures |= {f"history {name}": svg for name, svg in drawn.items()}
    if facts.scores["reliability"]:
        figures["calibration"] = draw_calibration(facts.scores["reliability"])
    per_class = facts.scores["per_class"]
    if facts.predictions is not None and facts.scores["auc"] is not None:
        areas = {name: per_class[name]["auc"] for name in facts.predictions.class_names}
        figures["roc"] = draw_roc(facts.predictions, areas)
        precisions = {name: per_class[name]["average_precision"] for name in facts.predictions.class_names}
        figures["precision-recall"] = draw_precision_recall(facts.predictions, precisions)
    return figures


def _matrix(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return the confusion matrix, and the most frequently confused pairs in case it is too wide."""
    counts = np.array(scores["confusion_matrix"])
    names = scores["class_names"]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    pairs = [divmod(int(place), len(names)) for place in order]
    return {
        "names": [*map(printable, names)],
        "counts": counts.tolist(),
        "shares": shares.tolist(),
        "whole": len(names) <= _MAX_MATRIX_CLASSES,
        "upright": sum(map(len, names)) > _MOST_IN_A_ROW,
        "pairs": [(true, chosen, int(wrong[true, chosen])) for true, chosen in pairs if wrong[true, chosen]],
    }


def _describe_data(facts: Facts) -> dict[str, Any]:
    """Return the images of each split by class, duplicates within splits, and leaks between splits."""
    if facts.data is None:
        return {}
    splits = facts.data["splits"]
    digests = {
        name: Counter(image["digest"] for image in split["images"] if "digest" in image)
        for name, split in splits.items()
    }
    counts = {name: Counter(image["class"] for image in split["images"]) for name, split in splits.items()}
    return {
        "fingerprint": facts.data["fingerprint"],
        "folders": {name: split["folder"] for name, split in splits.items()},
        "counts": counts,
        "skipped": {name: split["skipped"] for name, split in splits.items() if split["skipped"]},
        "copies": {name: sum(of.values()) - len(of) for name, of in digests.items()},
        "leaks": {
            name: sum(count for digest, count in of.items() if digest in digests["train"])
            for name, of in digests.items()
            if name != "train"
        },
    }


def _unbroken_end(path: str) -> str:
    """Return the end of a path in which a line must not break: a short file name, or its extension and a bit more."""
    name = path.rpartition("/")[2]
    return name if len(name) <= _MOST_UNBROKEN else name[-_SHORT_END:]


def _show(predictions: Predictions | None, pictures: Pictures | None) -> dict[str, Any]:
    """Return the images with their captions, and which of them each part of the page shows."""
    nothing: dict[str, Any] = {"shown": [], "mistakes": [], "uncertain": [], "cells": {}, "sheet": None}
    if predictions is None or pictures is None:
        return nothing
    numbers: dict[int, int] = {}
    shown: list[dict[str, Any]] = []
    for row in pictures.gallery.rows():
        if row not in pictures.pixels:
            continue
        numbers[row] = len(shown)
        pixels, names = pictures.pixels[row], predictions.class_names
        path = printable(predictions.paths[row])
        label, chosen = int(predictions.labels[row]), int(predictions.predicted[row])
        heat = pictures.heat.get(row)
        shown.append(
            {
                "source": as_data_uri(pixels),
                "heat": None if heat is None else as_data_uri(overlay(pixels, heat)),
                "path": path,
                "tail": _unbroken_end(path),
                "truth": printable(names[label]),
                "predicted": printable(names[chosen]),
                "right": label == chosen,
                "confidence": f"{100 * predictions.probabilities[row, chosen]:.0f}\N{NO-BREAK SPACE}%",
            }
        )

    def there(rows: tuple[int, ...]) -> list[int]:
        return [numbers[row] for row in rows if row in numbers]

    gallery, sheet = pictures.gallery, pictures.augmentation
    return {
        "shown": shown,
        "mistakes": there(gallery.mistakes),
        "uncertain": there(gallery.uncertain),
        "cells": {f"{true}-{chosen}": there(rows) for (true, chosen), rows in gallery.cells.items()},
        "sheet": None if sheet is None else image_uri(sheet, most=_SHEET_WIDTH),
    }
