"""The page: facts, figures and pictures put into the template."""

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

from imgtrain.evaluation.metrics import Predictions
from imgtrain.report.facts import Facts
from imgtrain.report.figures import draw_calibration, draw_history, draw_precision_recall, draw_roc
from imgtrain.report.gallery import Gallery
from imgtrain.report.pictures import as_data_uri, overlay, picture_uri
from imgtrain.text import printable

__all__ = ["Pictures", "render_page"]

# A wider matrix is read by nobody: then the most frequent confusions are listed.
_WIDEST_MATRIX = 25
_MOST_PAIRS = 60
_SHEET_WIDTH = 1100

SCORES = {
    "accuracy": ("Accuracy", "share of the images that are right"),
    "balanced_accuracy": ("Balanced accuracy", "mean recall: every class counts alike"),
    "macro_f1": ("Macro F1", "mean F1: every class counts alike"),
    "weighted_f1": ("Weighted F1", "mean F1: every image counts alike"),
    "auc": ("Area under ROC", "0.5 is chance, 1 is perfect"),
    "average_precision": ("Average precision", "area under the precision-recall curve"),
    "log_loss": ("Log loss", "0 is perfect"),
    "brier": ("Brier score", "squared error of the probabilities; 0 is perfect"),
    "expected_calibration_error": ("Calibration error", "mean distance of confidence from accuracy"),
}
BASELINES = {
    "majority_class": "Always the most frequent class",
    "thumbnail_logistic_regression": "Logistic regression on 8×8 thumbnails",
}


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """What the page shows of the images.

    Attributes:
        gallery: Which rows of the predictions.
        pixels: (height, width, channels) uint8 of each of these rows, as far as the images are there.
        heat: Where the network looked, (height, width) 0 to 1, of those that are explained.
        augmentation: The contact sheet of the training's augmentation, if it could be made.
    """

    gallery: Gallery
    pixels: Mapping[int, NDArray[np.uint8]]
    heat: Mapping[int, NDArray[np.float32]]
    augmentation: Image.Image | None = None


def render_page(facts: Facts, pictures: Pictures | None) -> str:
    """Return the report as one HTML file.

    Args:
        facts: What the run left.
        pictures: None where there are no predictions of single images.
    """
    environment = Environment(
        loader=PackageLoader("imgtrain.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=lambda value: printable(value) if type(value) is str else value,
    )  # fmt: skip
    environment.filters |= {
        "percent": lambda share: f"{100 * share:.1f} %",
        "number": lambda value: "–" if value is None else f"{value:.3f}",
        "limits": lambda limits: "–" if limits is None else f"{limits[0]:.3f} to {limits[1]:.3f}",
        "count": lambda value: f"{value:,}",
    }
    page = environment.get_template("report.html.j2")
    return page.render(
        facts=facts,
        scores=facts.scores,
        title=facts.directory.name,
        headline=_headline(facts),
        overall=_overall(facts.scores),
        baselines=BASELINES,
        figures={name: Markup(svg) for name, svg in _draw(facts).items()},
        matrix=_matrix(facts.scores),
        data=_describe_data(facts),
        run=facts.run or {},
        **_show(facts.predictions, pictures),
    )


def _headline(facts: Facts) -> list[str]:
    """Return what the scores mean, in plain sentences."""
    scores = facts.scores
    low, high = scores.get("accuracy_grouped_ci95") or scores["accuracy_ci95"]
    sentences = [
        f"Of other images of the same kind, between {100 * low:.0f} % and {100 * high:.0f} % would be right: "
        f"that is how far {scores['images']:,} images can tell (95 % interval)."
    ]
    for name, baseline in scores["baselines"].items():
        low, high = (100 * limit for limit in baseline["gain_ci95"])
        what = f"“{BASELINES.get(name, name)}” reaches {100 * baseline['accuracy']:.1f} %"
        if low > 0:
            sentences.append(f"{what}; the model is better by {low:.0f} to {high:.0f} points.")
        else:
            sentences.append(f"{what}: the model is not surely better ({low:+.0f} to {high:+.0f} points).")
    hardest = min(
        (name for name, of_class in scores["per_class"].items() if of_class["support"]),
        key=lambda name: scores["per_class"][name]["recall"],
    )
    recall = scores["per_class"][hardest]["recall"]
    sentences.append(f"The hardest class is {hardest}: {100 * recall:.0f} % of its images are found.")
    error = scores["expected_calibration_error"]
    if scores["expected_calibration_error_ci95"] is not None and error > 0.1:
        sentences.append(
            f"Its confidence is off by {100 * error:.0f} points on average: do not take it literally."
        )
    return sentences


def _overall(scores: Mapping[str, Any]) -> list[tuple[str, str, float, list[float] | None]]:
    rows = [
        (title, meaning, scores[key], scores[f"{key}_ci95"])
        for key, (title, meaning) in SCORES.items()
        if scores.get(key) is not None
    ]
    rows += [
        (
            f"Top-{k} accuracy",
            f"the true class is among the {k} most probable",
            share,
            scores["top_k_ci95"][k],
        )
        for k, share in scores["top_k"].items()
    ]
    return rows


def _draw(facts: Facts) -> dict[str, str]:
    figures: dict[str, str] = {}
    if facts.history:
        best = (facts.run or {}).get("best_epoch")
        figures |= {f"history {name}": svg for name, svg in draw_history(facts.history, best).items()}
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
    """Return the confusion matrix, or the pairs that are confused most where it would be too wide."""
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
        "whole": len(names) <= _WIDEST_MATRIX,
        "pairs": [(true, chosen, int(wrong[true, chosen])) for true, chosen in pairs if wrong[true, chosen]],
    }


def _describe_data(facts: Facts) -> dict[str, Any]:
    """Return the images of each split by class, and the pictures that stand in it twice or in two splits."""
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


def _show(predictions: Predictions | None, pictures: Pictures | None) -> dict[str, Any]:
    """Return the pictures with their captions, and which of them each part of the page shows."""
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
        label, chosen = int(predictions.labels[row]), int(predictions.predicted[row])
        heat = pictures.heat.get(row)
        shown.append(
            {
                "source": as_data_uri(pixels),
                "heat": None if heat is None else as_data_uri(overlay(pixels, heat)),
                "path": printable(predictions.paths[row]),
                "truth": printable(names[label]),
                "predicted": printable(names[chosen]),
                "right": label == chosen,
                "sure": f"{100 * predictions.probabilities[row, chosen]:.0f} %",
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
        "sheet": None if sheet is None else picture_uri(sheet, most=_SHEET_WIDTH),
    }
