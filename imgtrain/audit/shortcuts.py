"""Find shortcuts: classes that can be predicted from the image size, file format, mean color or border alone.

A small decision tree is trained on one of these kinds of features, with cross-validation that keeps duplicates in one
fold. A ROC AUC of 0.5 is chance; significance is tested with the Mann-Whitney test and Holm's correction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from imgtrain.audit.findings import Finding
from imgtrain.audit.inventory import Inventory
from imgtrain.dataset.layout import count

__all__ = ["Shortcut", "check_shortcuts", "find_shortcuts"]

_FOLDS = 5
_FEWEST_OF_A_CLASS = 10
_MOST_IMAGES = 4_000
_DEEPEST = 6
_SURE = 0.001
# Minimum ROC AUC to report.
_LEAST_AREA = {"size": 0.75, "format": 0.75, "border": 0.9, "color": 0.9}

# Name and remedy.
_KINDS = {
    "size": ("image size", "resize all images in the same way to one size and aspect ratio"),
    "format": ("file format", "save all images in one format and color mode, from the originals"),
    "border": ("border", "crop frames, or photograph all classes in front of the same backgrounds"),
    "color": (
        "mean color",
        "photograph all classes in the same light, or try data.color_mode: grayscale",
    ),
}


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A class that can be predicted from one kind of feature.

    Attributes:
        kind: `size`, `format`, `border` or `color`.
        class_name: The class.
        area: Cross-validated one-vs-rest ROC AUC; 0.5 is chance.
        p_value: p-value, corrected for multiple tests.
        difference: Description of the difference.
    """

    kind: str
    class_name: str
    area: float
    p_value: float
    difference: str


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    """A candidate: one class and one kind of feature."""

    kind: str
    label: int
    area: float
    p_value: float
    features: NDArray[np.float64]
    columns: list[str]


def check_shortcuts(inventory: Inventory, groups: NDArray[np.intp]) -> Iterator[Finding]:
    """Yield a finding for each kind of feature that predicts a class."""
    found = find_shortcuts(inventory, groups)
    for kind in dict.fromkeys(shortcut.kind for shortcut in found):
        of_kind = [shortcut for shortcut in found if shortcut.kind == kind]
        best = of_kind[0]
        others = f" and {count(len(of_kind) - 1, 'other class')}" if len(of_kind) > 1 else ""
        name, remedy = _KINDS[kind]
        what = (
            f"the {name} alone predicts {best.class_name}{others}: ROC AUC {best.area:.2f}, where 0.50 is chance "
            f"(p {_format_p(best.p_value)}); {best.difference}"
        )
        if kind == "color":  # may be a legitimate feature: bananas are yellow
            harm = "if color is not a legitimate feature of the classes, the network may learn the lighting instead"
            yield Finding("shortcut", "note", what, harm, remedy)
        else:
            harm = "the network may learn this instead of the content, and fail on other images"
            yield Finding("shortcut", "warning", what, harm, remedy)


def find_shortcuts(inventory: Inventory, groups: NDArray[np.intp]) -> list[Shortcut]:
    """Return the classes that can be predicted from one kind of feature, highest ROC AUC first.

    Args:
        inventory: The images of all splits.
        groups: (n,) group of each image, the same for duplicates.
    """
    indices = _choose_images(inventory)
    if len(np.unique(groups[indices])) < _FOLDS:
        return []  # too few distinct images for cross-validation
    labels = inventory.labels[indices]
    folds = _fold_numbers(labels, groups[indices])
    tried: list[_Tried] = []
    for kind, (measured, names) in _features(inventory, indices).items():
        varied = np.ptp(measured, axis=0) > 0
        if not varied.any():
            continue
        features, columns = measured[:, varied], list(compress(names, varied))
        scores = _cross_validate(features, labels, folds)
        for column, label in enumerate(np.unique(labels)):
            area, p_value = _area(scores[:, column], labels == label)
            tried.append(_Tried(kind, label, area, p_value, features, columns))
    return [
        Shortcut(
            one.kind,
            inventory.class_names[one.label],
            one.area,
            p_value,
            _describe(one.features, one.columns, labels == one.label),
        )
        for one, p_value in _corrected(tried)
        if one.area >= _LEAST_AREA[one.kind] and p_value < _SURE
    ]


def _choose_images(inventory: Inventory) -> NDArray[np.intp]:
    """Return indices of decodable images of sufficiently large classes; if there are many, an evenly spaced subset."""
    decoded = inventory.decoded
    counts = np.bincount(inventory.labels[decoded], minlength=len(inventory.class_names))
    indices = decoded[counts[inventory.labels[decoded]] >= _FEWEST_OF_A_CLASS]
    if len(np.unique(inventory.labels[indices])) < 2:
        return indices[:0]
    indices = indices[np.argsort(inventory.labels[indices], kind="stable")]
    step = max(1.0, len(indices) / _MOST_IMAGES)
    return np.sort(indices[np.arange(0, len(indices), step).astype(np.intp)])


def _features(
    inventory: Inventory, indices: NDArray[np.intp]
) -> dict[str, tuple[NDArray[np.float64], list[str]]]:
    stats = inventory.stats[indices]
    height, width = inventory.sizes[indices].astype(np.float64).T
    kinds = np.char.add(np.char.add(stats["format"], b" "), stats["mode"])
    names = np.unique(kinds)
    return {
        "size": (
            np.stack([height, width, width / height], axis=1),
            ["height", "width", "aspect ratio"],
        ),
        "format": (
            (kinds[:, None] == names[None]).astype(np.float64),
            [f"share of {name.decode(errors='replace')}" for name in names],
        ),
        "border": (
            np.column_stack([stats["border"], stats["border_spread"]]).astype(np.float64),
            ["border red", "border green", "border blue", "border variation"],
        ),
        "color": (stats["color"].astype(np.float64), ["red", "green", "blue"]),
    }


def _fold_numbers(labels: NDArray[np.int32], groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return (n,) the fold of each image; the groups of each class are assigned in turn, largest first."""
    _, first, members, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    by_chance = np.random.default_rng(0).random(len(first))
    folds = np.empty(len(first), np.intp)
    folds[np.lexsort((by_chance, -sizes, labels[first]))] = np.arange(len(first)) % _FOLDS
    return folds[members]


def _cross_validate(
    features: NDArray[np.float64], labels: NDArray[np.int32], folds: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return (n, classes) cross-validated class probabilities in label order."""
    from sklearn.tree import DecisionTreeClassifier

    known, targets = np.unique(labels, return_inverse=True)
    scores = np.zeros((len(labels), len(known)))
    for fold in range(_FOLDS):
        train, test = folds != fold, folds == fold
        tree = DecisionTreeClassifier(
            max_depth=_DEEPEST, min_samples_leaf=5, class_weight="balanced", random_state=0
        )
        tree.fit(features[train], targets[train])
        scores[np.ix_(test, tree.classes_)] = tree.predict_proba(features[test])
    return scores


def _area(scores: NDArray[np.float64], is_class: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the ROC AUC and its one-sided p-value."""
    from scipy.stats import mannwhitneyu

    test = mannwhitneyu(scores[is_class], scores[~is_class], alternative="greater", method="asymptotic")
    p_value = 1.0 if np.isnan(test.pvalue) else float(test.pvalue)
    return float(test.statistic) / (is_class.sum() * (~is_class).sum()), p_value


def _corrected(tried: list[_Tried]) -> list[tuple[_Tried, float]]:
    """Return all candidates with Holm's p-value, highest ROC AUC first."""
    by_p = sorted(tried, key=lambda one: one.p_value)
    corrected, largest = [], 0.0
    for rank, one in enumerate(by_p):
        largest = max(largest, min(1.0, one.p_value * (len(by_p) - rank)))
        corrected.append((one, largest))
    return sorted(corrected, key=lambda pair: -pair[0].area)


def _describe(features: NDArray[np.float64], columns: list[str], is_class: NDArray[np.bool_]) -> str:
    """Describe the feature in which the class differs most, with its mean inside and outside the class."""
    areas = [abs(_area(column, is_class)[0] - 0.5) for column in features.T]
    best = int(np.argmax(areas))
    here, elsewhere = features[is_class, best].mean(), features[~is_class, best].mean()
    return f"mean {columns[best]} is {here:.3g} in this class and {elsewhere:.3g} in others"


def _format_p(p_value: float) -> str:
    return "below 1e-12" if p_value < 1e-12 else f"= {p_value:.1g}"
