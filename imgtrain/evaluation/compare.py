"""Is one run really better than another? Both are judged on the same test images, picture by picture.

Two accuracies with their intervals do not answer this: most of what makes them uncertain, the choice of the
test images, is the same for both. So the images are drawn once for both runs (paired bootstrap), and the
exact test of McNemar looks at the images that only one of them has right.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from imgtrain.config.load import load_config
from imgtrain.dataset.groups import assign_groups
from imgtrain.errors import DataError, Problem, RunFileError
from imgtrain.evaluation.bootstrap import bootstrap, interval
from imgtrain.evaluation.predictions import Predictions, load_predictions
from imgtrain.evaluation.weighted import DecisionScores
from imgtrain.run.run_directory import RunDirectory, read_json

__all__ = ["Comparison", "compare_runs"]

Verdict = Literal["same", "better", "worse", "cannot tell"]

# A difference that chance alone would show less often than this is called one.
_LEVEL = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What is known of the difference between two runs, A and B.

    Attributes:
        verdict: Whether B is better or worse than A, or the same in every answer, or nobody can tell.
        sentence: The verdict in words.
        content: All numbers, as `--json` prints them; differences are B − A.
    """

    verdict: Verdict
    sentence: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """A run's answers; `keys` tells for each image what it shows and which class it has."""

    name: str
    predictions: Predictions
    keys: list[tuple[str, str]]


def compare_runs(a: Path, b: Path, *, seed: int = 0) -> Comparison:
    """Compare two runs on their common test images, which are matched by content, whatever they are called.

    Args:
        a: A run directory.
        b: A run directory.
        seed: Of the bootstrap.

    Raises:
        DataError: The runs were not tested on the same images with the same classes; says how they differ.
        RunFileError: One of them is no finished run with test images.
    """
    first, second = _load(a), _load(b)
    _refuse_other_images(first, second)
    order_a, order_b = _order(first.keys), _order(second.keys)
    names = first.predictions.class_names
    relabel = np.array([names.index(name) for name in second.predictions.class_names], np.int32)
    labels = first.predictions.labels[order_a]
    answers_a = first.predictions.predicted[order_a]
    answers_b = relabel[second.predictions.predicted[order_b]]
    groups = assign_groups([first.predictions.paths[row] for row in order_a], _group_by(a))
    return _compare((str(a), str(b)), names, labels, answers_a, answers_b, groups, seed=seed)


def _compare(
    runs: tuple[str, str],
    names: tuple[str, ...],
    labels: NDArray[np.int32],
    answers_a: NDArray[np.int32],
    answers_b: NDArray[np.int32],
    groups: NDArray[np.intp] | None,
    *,
    seed: int,
) -> Comparison:
    right_a, right_b = answers_a == labels, answers_b == labels
    scores_a, scores_b = (DecisionScores(labels, answers, len(names)) for answers in (answers_a, answers_b))
    gain = right_b.astype(np.float64) - right_a

    def differences(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        macro_f1 = scores_b(weights)["macro_f1"] - scores_a(weights)["macro_f1"]
        return {"accuracy": gain @ weights / weights.sum(axis=0), "macro_f1": macro_f1}

    draws = bootstrap(differences, len(labels), groups=groups, seed=seed)
    f1_a, f1_b = (_macro_f1(labels, answers) for answers in (answers_a, answers_b))
    accuracy = float(gain.mean())
    limits = interval(accuracy, draws["accuracy"])
    assert limits is not None  # every draw has an accuracy
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    p_value = float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0
    verdict = _judge(answers_a, answers_b, limits, None if groups is not None else p_value)
    content = {
        "a": {"run": runs[0], "accuracy": float(right_a.mean()), "macro_f1": f1_a},
        "b": {"run": runs[1], "accuracy": float(right_b.mean()), "macro_f1": f1_b},
        "images": len(labels),
        "groups": None if groups is None else int(groups.max()) + 1,
        "accuracy_difference": accuracy,
        "accuracy_difference_ci95": limits,
        "macro_f1_difference": f1_b - f1_a,
        "macro_f1_difference_ci95": interval(f1_b - f1_a, draws["macro_f1"]),
        "mcnemar": {"only_a_right": only_a, "only_b_right": only_b, "p_value": p_value},
        "per_class": {
            name: {
                "images": int(of_class.sum()),
                "different_answers": int(np.sum((answers_a != answers_b) & of_class)),
                "only_a_right": int(np.sum(right_a & ~right_b & of_class)),
                "only_b_right": int(np.sum(right_b & ~right_a & of_class)),
            }
            for label, name in enumerate(names)
            for of_class in [labels == label]
        },
        "verdict": verdict,
    }
    sentence = _say(verdict, accuracy, limits)
    return Comparison(verdict, sentence, content | {"sentence": sentence})


def _judge(
    answers_a: NDArray[np.int32], answers_b: NDArray[np.int32], limits: list[float], p_value: float | None
) -> Verdict:
    """Return the verdict; the interval and, where images are independent, McNemar's test must agree on it."""
    if (answers_a == answers_b).all():
        return "same"
    if p_value is not None and p_value >= _LEVEL:
        return "cannot tell"
    low, high = limits
    return "better" if low > 0 else "worse" if high < 0 else "cannot tell"


def _say(verdict: Verdict, difference: float, limits: list[float]) -> str:
    points = f"{abs(100 * difference):.1f} points"
    low, high = (100 * limit for limit in limits)
    if verdict == "same":
        return "No difference: A and B give the same answer for every image."
    if verdict == "cannot tell":
        which = (
            "as good as A here"
            if difference == 0
            else f"{'above' if difference > 0 else 'below'} A by {points}"
        )
        return (
            f"Cannot tell which is better: B is {which}, but with these images the difference may lie "
            f"anywhere from {low:+.1f} to {high:+.1f} points."
        )
    if verdict == "worse":
        low, high = -high, -low
    return f"B is {verdict} than A by {points} of accuracy, 95 % interval {low:.1f} to {high:.1f}."


def _macro_f1(labels: NDArray[np.int32], answers: NDArray[np.int32]) -> float:
    return float(f1_score(labels, answers, labels=np.unique(labels), average="macro", zero_division=0))


def _load(path: Path) -> _Judged:
    run = RunDirectory(path)
    if not run.run.exists():
        raise RunFileError(Problem(path, "is no run directory: it holds no run.json"))
    file = run.predictions("test")
    if not file.exists():
        hint = "compare needs runs that were trained with data.test and finished"
        raise RunFileError(Problem(path, f"holds no {file.name}", hint))
    predictions = load_predictions(file)
    try:
        images = read_json(run.data)["splits"]["test"]["images"]
        digests = {image["path"]: image["digest"] for image in images}
        names = predictions.class_names
        keys = [
            (digests[path], names[label])
            for path, label in zip(predictions.paths, predictions.labels, strict=True)
        ]
    except (KeyError, TypeError):
        hint = "train it again with this version of imgtrain"
        raise RunFileError(Problem(run.data, "does not say what the test images hold", hint)) from None
    return _Judged(str(path), predictions, keys)


def _group_by(path: Path) -> str | None:
    return load_config(RunDirectory(path).config).data.group_by


def _order(keys: list[tuple[str, str]]) -> list[int]:
    """Return the rows sorted by content, so that equal lists of keys give the same images in the same places."""
    return sorted(range(len(keys)), key=keys.__getitem__)


def _refuse_other_images(a: _Judged, b: _Judged) -> None:
    problems = []
    classes_a, classes_b = set(a.predictions.class_names), set(b.predictions.class_names)
    for one, other, more in ((a, b, classes_a - classes_b), (b, a, classes_b - classes_a)):
        if more:
            names = ", ".join(sorted(more))
            problems.append(Problem(one.name, f"has classes that {other.name} has not: {names}"))
    if not problems:
        problems = [*_differences(a, b), *_differences(b, a)]
    if problems:
        hint = "train one of them again with the other's data.test, then both are judged on the same images"
        raise DataError([*problems, Problem("", "the runs were not tested on the same images", hint)])


def _differences(one: _Judged, other: _Judged) -> list[Problem]:
    """Return what `one` was tested on and `other` was not."""
    more = Counter(one.keys) - Counter(other.keys)
    if not more:
        return []
    first = next(path for path, key in zip(one.predictions.paths, one.keys, strict=True) if key in more)
    elsewhere = {digest for digest, _ in other.keys}
    relabelled = sum(count for (digest, _), count in more.items() if digest in elsewhere)
    what = f"{sum(more.values()):,} of its {len(one.keys):,} test images are not those of {other.name}"
    if relabelled:
        what += f" ({relabelled:,} of them are there, but with another class or more often)"
    return [Problem(one.name, f"{what}, first {first}")]
