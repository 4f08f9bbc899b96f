"""Whether what should not matter tells the classes apart: size, file format, mean colour, border.

A small decision tree sees nothing but one of these kinds of features and is scored by cross-validation, with copies
kept in one fold. Chance is an area of 0.5 under the ROC curve; whether a class stands out by more than luck is
tested by the Mann-Whitney test, with Holm's correction for all that are tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from imgtrain.audit.findings import Finding
from imgtrain.audit.inventory import Inventory

__all__ = ["Shortcut", "check_shortcuts", "find_shortcuts"]

_FOLDS = 5
_FEWEST_OF_A_CLASS = 10
_MOST_IMAGES = 4_000
_DEEPEST = 6
_SURE = 0.001
# From this area under the curve on: a class is told from the rest in most cases.
_TELLING = {"size": 0.75, "format": 0.75, "border": 0.9, "colour": 0.9}


@dataclass(frozen=True, slots=True)
class Shortcut:
    """One class that stands out by one kind of feature.

    Attributes:
        kind: `size`, `format`, `border` or `colour`.
        class_name: The class.
        area: Under the ROC curve of the class against the rest, cross-validated; 0.5 is chance.
        p_value: Of an area so large by chance, corrected for all that were tried.
        difference: What is different, in words.
    """

    kind: str
    class_name: str
    area: float
    p_value: float
    difference: str


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    """One class and one kind of feature, before it is known whether that tells anything."""

    kind: str
    label: int
    area: float
    p_value: float
    features: NDArray[np.float64]
    columns: list[str]


def check_shortcuts(inventory: Inventory, groups: NDArray[np.intp]) -> list[Finding]:
    """Return a finding for each kind of feature by which a class can be told."""
    found = find_shortcuts(inventory, groups)
    findings = []
    for kind in dict.fromkeys(shortcut.kind for shortcut in found):
        of_kind = [shortcut for shortcut in found if shortcut.kind == kind]
        best = of_kind[0]
        others = f" and {len(of_kind) - 1} more" if len(of_kind) > 1 else ""
        name = {"size": "image size", "format": "file format", "border": "border", "colour": "mean colour"}[
            kind
        ]
        findings.append(
            Finding(
                "shortcut",
                # A banana is yellow: colour may be what the classes are about.
                "note" if kind == "colour" else "warning",
                f"the {name} alone tells {best.class_name}{others} from the rest: area under the curve "
                f"{best.area:.2f}, where chance is 0.50 (p {_say_p(best.p_value)}); {best.difference}",
                "the network may learn this instead of what the pictures show, and fail on others"
                if kind != "colour"
                else "if colour is not what the classes are about, the network learns the light of the place",
                {
                    "size": "bring all images to one size and shape in the same way before training",
                    "format": "save all images in one format and colour mode, from the originals",
                    "border": "crop the frames, or take pictures of all classes in front of all backgrounds",
                    "colour": "take pictures of all classes in the same light, or try data.color_mode: grayscale",
                }[kind],
            )
        )
    return findings


def find_shortcuts(inventory: Inventory, groups: NDArray[np.intp]) -> list[Shortcut]:
    """Return every class that one kind of feature tells from the rest, the clearest first.

    Args:
        inventory: The images; all splits are taken together.
        groups: (n,) of each image, the same for copies of one picture.
    """
    indices = _choose_images(inventory)
    if len(np.unique(groups[indices])) < _FOLDS:
        return []  # too few different pictures to learn from some and ask about others
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
        if one.area >= _TELLING[one.kind] and p_value < _SURE
    ]


def _choose_images(inventory: Inventory) -> NDArray[np.intp]:
    """Return indices of decodable images of the classes that are large enough; of many, some, spread evenly."""
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
    traits = inventory.traits[indices]
    height, width = inventory.sizes[indices].astype(np.float64).T
    kinds = np.char.add(np.char.add(traits["format"], b" "), traits["mode"])
    names = np.unique(kinds)
    return {
        "size": (
            np.stack([height, width, width / height], axis=1),
            ["height", "width", "ratio of width to height"],
        ),
        "format": (
            (kinds[:, None] == names[None]).astype(np.float64),
            [f"share of {name.decode(errors='replace')}" for name in names],
        ),
        "border": (
            np.column_stack([traits["border"], traits["border_spread"]]).astype(np.float64),
            ["red of the border", "green of the border", "blue of the border", "unevenness of the border"],
        ),
        "colour": (traits["colour"].astype(np.float64), ["mean red", "mean green", "mean blue"]),
    }


def _fold_numbers(labels: NDArray[np.int32], groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return (n,) the fold of each image: the groups of a class are dealt out in turn, the largest first."""
    _, first, members, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    by_chance = np.random.default_rng(0).random(len(first))
    folds = np.empty(len(first), np.intp)
    folds[np.lexsort((by_chance, -sizes, labels[first]))] = np.arange(len(first)) % _FOLDS
    return folds[members]


def _cross_validate(
    features: NDArray[np.float64], labels: NDArray[np.int32], folds: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return (n, classes) probability of each class, in label order, from a tree that has not seen the image."""
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
    """Return the area under the ROC curve and its one-sided p-value."""
    from scipy.stats import mannwhitneyu

    test = mannwhitneyu(scores[is_class], scores[~is_class], alternative="greater", method="asymptotic")
    p_value = 1.0 if np.isnan(test.pvalue) else float(test.pvalue)
    return float(test.statistic) / (is_class.sum() * (~is_class).sum()), p_value


def _corrected(tried: list[_Tried]) -> list[tuple[_Tried, float]]:
    """Return each with Holm's p-value, the largest area first."""
    by_p = sorted(tried, key=lambda one: one.p_value)
    corrected, largest = [], 0.0
    for rank, one in enumerate(by_p):
        largest = max(largest, min(1.0, one.p_value * (len(by_p) - rank)))
        corrected.append((one, largest))
    return sorted(corrected, key=lambda pair: -pair[0].area)


def _describe(features: NDArray[np.float64], columns: list[str], is_class: NDArray[np.bool_]) -> str:
    """Name the feature in which the class differs most, with its mean there and elsewhere."""
    areas = [abs(_area(column, is_class)[0] - 0.5) for column in features.T]
    best = int(np.argmax(areas))
    here, elsewhere = features[is_class, best].mean(), features[~is_class, best].mean()
    return f"{columns[best]} is {here:.3g} on average there and {elsewhere:.3g} elsewhere"


def _say_p(p_value: float) -> str:
    return "below 1e-12" if p_value < 1e-12 else f"= {p_value:.1g}"
