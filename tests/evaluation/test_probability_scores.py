"""Scores of probabilities against computations of their own: sums over pairs and classes, by definition."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from imgtrain.evaluation.metrics import score
from imgtrain.evaluation.predictions import Predictions, load_predictions, render_predictions
from imgtrain.evaluation.weighted import DecisionScores, MeanScores, RankingScores


def make_predictions(images, class_count, *, seed=0, digits=None, **more):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, class_count, images).astype(np.int32)
    labels[:class_count] = np.arange(class_count)
    logits = rng.normal(size=(images, class_count)) + 1.2 * np.eye(class_count)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if digits is not None:  # many equal probabilities
        probabilities = np.round(probabilities[:, : class_count - 1], digits) / class_count
        probabilities = np.column_stack([probabilities, 1 - probabilities.sum(axis=1)])
    probabilities = probabilities.astype(np.float32)
    names = tuple("abcdefgh"[:class_count])
    paths = tuple(f"{names[label]}/{number}.png" for number, label in enumerate(labels))
    return Predictions(
        paths, labels, probabilities, probabilities.argmax(axis=1).astype(np.int32), 0.5, names, **more
    )


def area_by_pairs(positive, probability):
    """The share of (positive, negative) pairs in which the positive has the higher probability."""
    pairs = product(probability[positive], probability[~positive])
    return np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])


def average_precision_by_steps(positive, probability):
    """The precision at each threshold, times the recall that it adds."""
    total, area, recall = positive.sum(), 0.0, 0.0
    for threshold in np.unique(probability)[::-1]:
        found = positive[probability >= threshold].sum()
        area += found / np.sum(probability >= threshold) * (found / total - recall)
        recall = found / total
    return area


@pytest.mark.parametrize(("class_count", "digits"), [(2, None), (2, 1), (4, None), (4, 1)])
def test_areas_are_those_of_the_pairs(class_count, digits):
    predictions = make_predictions(60, class_count, digits=digits)
    scores = score(predictions)
    areas, precisions = [], []
    for k, name in enumerate(predictions.class_names):
        positive, probability = predictions.labels == k, predictions.probabilities[:, k]
        areas.append(area_by_pairs(positive, probability))
        precisions.append(average_precision_by_steps(positive, probability))
        assert scores["per_class"][name]["auc"] == pytest.approx(areas[-1])
        assert scores["per_class"][name]["average_precision"] == pytest.approx(precisions[-1])
    chosen = slice(1, 2) if class_count == 2 else slice(None)
    assert scores["auc"] == pytest.approx(np.mean(areas[chosen]))
    assert scores["average_precision"] == pytest.approx(np.mean(precisions[chosen]))


@pytest.mark.parametrize("class_count", [2, 6])
def test_losses_top_k_and_calibration_by_definition(class_count):
    predictions = make_predictions(200, class_count)
    scores = score(predictions)
    losses, squares, bins = [], [], {}
    hits = {k: [] for k in range(2, class_count)}
    for label, row in zip(predictions.labels, predictions.probabilities.astype(float), strict=True):
        losses.append(-math.log(row[label]))
        difference = sum((p - (k == label)) ** 2 for k, p in enumerate(row))
        squares.append(difference / 2 if class_count == 2 else difference)
        for k, hit in hits.items():
            hit.append(label in sorted(range(class_count), key=lambda c: -row[c])[:k])
        bins.setdefault(math.ceil(row.max() * 10 - 1e-9), []).append((row.max(), row.argmax() == label))
    assert scores["log_loss"] == pytest.approx(np.mean(losses), abs=1e-6)
    assert scores["brier"] == pytest.approx(np.mean(squares))
    assert scores["top_k"] == {str(k): pytest.approx(np.mean(hits[k])) for k in hits if k in (2, 3, 5)}
    gaps = [abs(np.sum([p - right for p, right in members])) for members in bins.values()]
    assert scores["expected_calibration_error"] == pytest.approx(sum(gaps) / 200, abs=1e-6)
    assert [part["images"] for part in scores["reliability"]] == [len(bins[k]) for k in sorted(bins)]


@given(
    class_count=st.integers(2, 5),
    seed=st.integers(0, 1000),
    digits=st.sampled_from([None, 1]),
    weights=st.lists(st.integers(0, 3), min_size=30, max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_weighted_scores_are_scikit_learns(class_count, seed, digits, weights):
    # What the bootstrap computes for all draws at once, one draw at a time.
    predictions = make_predictions(30, class_count, seed=seed, digits=digits)
    weights = np.array(weights, float)
    weights[: class_count * 2] += 1  # every class occurs
    drawn = np.repeat(np.arange(30), weights.astype(int))
    labels, predicted = predictions.labels[drawn], predictions.predicted[drawn]
    probabilities = predictions.probabilities[drawn]
    every = np.arange(class_count)
    decisions = DecisionScores(predictions.labels, predictions.predicted, class_count)(weights[:, None])
    means = MeanScores(predictions.labels, predictions.predicted, predictions.probabilities)(weights[:, None])
    for average in ("macro", "weighted"):
        expected = sk.f1_score(labels, predicted, labels=every, average=average, zero_division=0)
        assert decisions[f"{average}_f1"][0] == pytest.approx(expected)
    assert decisions["balanced_accuracy"][0] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    precision, recall, *_ = sk.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0
    )
    assert decisions["precision"][:, 0] == pytest.approx(precision)
    assert decisions["recall"][:, 0] == pytest.approx(recall)
    assert means["accuracy"][0] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert means["log_loss"][0] == pytest.approx(sk.log_loss(labels, probabilities, labels=every), abs=1e-6)
    for k in every:
        ranking = RankingScores(predictions.labels == k, predictions.probabilities[:, k])
        area, precision_area = ranking(weights[:, None])
        assert area[0] == pytest.approx(sk.roc_auc_score(labels == k, probabilities[:, k]))
        assert precision_area[0] == pytest.approx(
            sk.average_precision_score(labels == k, probabilities[:, k])
        )


@given(class_count=st.integers(3, 8), seed=st.integers(0, 1000), digits=st.sampled_from([None, 1]))
@settings(max_examples=60, deadline=None)
def test_top_k_is_scikit_learns_also_with_equal_probabilities(class_count, seed, digits):
    predictions = make_predictions(40, class_count, seed=seed, digits=digits)
    for k, share in score(predictions)["top_k"].items():
        assert share == sk.top_k_accuracy_score(
            predictions.labels, predictions.probabilities, k=int(k), labels=np.arange(class_count)
        )


def test_a_model_that_says_the_same_of_every_class_is_not_right_within_the_first_k():
    predictions = make_predictions(40, 4)
    undecided = replace(predictions, probabilities=np.full((40, 4), 0.25, np.float32))
    # The k classes that the order of the labels puts first, not every class.
    assert score(undecided)["top_k"]["2"] == np.mean(predictions.labels >= 2)


def test_images_of_one_class_have_no_areas():
    predictions = make_predictions(10, 2)
    one = Predictions(
        predictions.paths,
        np.zeros(10, np.int32),
        predictions.probabilities,
        predictions.predicted,
        0.5,
        ("a", "b"),
    )
    scores = score(one)
    assert scores["auc"] is None
    assert scores["auc_ci95"] is None


def test_what_is_said_when_unsure_is_counted_apart():
    predictions = make_predictions(300, 3, abstain_below=0.6)
    sure = predictions.probabilities.max(axis=1) >= 0.6
    abstention = score(predictions)["abstention"]
    assert abstention["answered"] == pytest.approx(sure.mean())
    right = (predictions.predicted == predictions.labels)[sure].mean()
    assert abstention["accuracy_of_answered"] == pytest.approx(right)


def test_a_baseline_is_compared_on_the_same_images():
    predictions = make_predictions(300, 3)
    scores = score(predictions, baselines={"same": predictions.predicted, "worse": np.zeros(300, np.int32)})
    same, worse = scores["baselines"]["same"], scores["baselines"]["worse"]
    assert same["gain"] == 0
    assert same["gain_ci95"] == [0, 0]
    assert worse["accuracy"] == pytest.approx(np.mean(predictions.labels == 0))
    assert worse["gain_ci95"][0] > 0
    assert worse["macro_f1"] == pytest.approx(
        sk.f1_score(predictions.labels, np.zeros(300), average="macro", zero_division=0)
    )


def test_predictions_are_read_as_they_were_written(tmp_path):
    predictions = make_predictions(20, 4)
    (tmp_path / "p.csv").write_text(render_predictions(predictions))
    read = load_predictions(tmp_path / "p.csv")
    assert read.paths == predictions.paths
    assert read.class_names == predictions.class_names
    assert (read.labels == predictions.labels).all()
    assert (read.predicted == predictions.predicted).all()
    assert (read.probabilities == predictions.probabilities).all()
