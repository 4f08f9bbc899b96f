"""Scores, compared with independent computations by hand and by definition."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtrain.evaluation.metrics import score
from imgtrain.evaluation.predictions import Predictions, render_predictions


def predictions(labels, predicted, class_names=("a", "b", "c"), probabilities=None):
    labels, predicted = np.array(labels, np.int32), np.array(predicted, np.int32)
    if probabilities is None:
        probabilities = np.eye(len(class_names), dtype=np.float32)[predicted]
    paths = tuple(f"x/{number}.png" for number in range(len(labels)))
    return Predictions(paths, labels, probabilities, predicted, 0.25, class_names)


def test_scores_of_a_small_example():
    scores = score(predictions([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]))
    assert scores["images"] == 6
    assert scores["loss"] == 0.25
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["confusion_matrix"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert scores["per_class"]["a"]["precision"] == pytest.approx(1.0)
    assert scores["per_class"]["a"]["recall"] == pytest.approx(2 / 3)
    assert scores["per_class"]["a"]["f1"] == pytest.approx(0.8)
    assert scores["per_class"]["a"]["support"] == 3
    assert scores["per_class"]["b"]["precision"] == pytest.approx(1 / 2)
    assert scores["per_class"]["c"]["recall"] == pytest.approx(1.0)
    assert scores["macro_f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_a_class_without_images_is_excluded_from_the_means():
    scores = score(predictions([0, 1], [0, 1]))
    assert scores["macro_f1"] == 1.0
    nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0, "auc": None}
    assert {name: scores["per_class"]["c"][name] for name in nothing} == nothing


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60))
@settings(deadline=None)
def test_scores_match_the_confusion_matrix(pairs):
    labels, predicted = zip(*pairs, strict=True)
    scores = score(predictions(labels, predicted))
    matrix = np.zeros((3, 3), int)
    for true, guess in pairs:
        matrix[true, guess] += 1
    assert scores["confusion_matrix"] == matrix.tolist()
    assert scores["accuracy"] == pytest.approx(np.trace(matrix) / len(pairs))
    for label, name in enumerate("abc"):
        true, guessed, both = matrix[label].sum(), matrix[:, label].sum(), matrix[label, label]
        assert scores["per_class"][name]["f1"] == pytest.approx(
            2 * both / (true + guessed) if true + guessed else 0
        )
    low, high = scores["accuracy_ci95"]
    assert 0 <= low <= scores["accuracy"] <= high <= 1


def test_predictions_keep_file_names_and_exact_probabilities():
    probabilities = np.array([[0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3]], np.float32)
    text = render_predictions(predictions([0, 2], [2, 0], ("a", "b,c", 'd"e'), probabilities))
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["path", "true", "predicted", "a", "b,c", 'd"e']
    assert rows[0][:3] == ["x/0.png", "a", 'd"e']
    assert (np.array([row[3:] for row in rows]).astype(np.float32) == probabilities).all()
