"""Scores of probabilities, compared with independent computations by definition."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from imgtrain.evaluation.class_scores import f1_changes
from imgtrain.evaluation.metrics import score
from imgtrain.evaluation.predictions import Predictions, load_predictions, render_predictions
from imgtrain.evaluation.probability_scores import MeanScores
from imgtrain.evaluation.ranking_scores import RankingScores


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
    """Return the share of (positive, negative) pairs in which the positive has the higher probability."""
    pairs = product(probability[positive], probability[~positive])
    return np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])


def average_precision_by_steps(positive, probability):
    """Return the sum over thresholds of precision × increase in recall."""
    total, area, recall = positive.sum(), 0.0, 0.0
    for threshold in np.unique(probability)[::-1]:
        found = positive[probability >= threshold].sum()
        area += found / np.sum(probability >= threshold) * (found / total - recall)
        recall = found / total
    return area


@pytest.mark.parametrize(("class_count", "digits"), [(2, None), (2, 1), (4, None), (4, 1)])
def test_roc_auc_and_average_precision_by_definition(class_count, digits):
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
def test_weighted_scores_match_scikit_learn(class_count, seed, digits, weights):
    # One weighting at a time; the jackknife computes all at once.
    predictions = make_predictions(30, class_count, seed=seed, digits=digits)
    weights = np.array(weights, float)
    weights[: class_count * 2] += 1  # every class occurs
    drawn = np.repeat(np.arange(30), weights.astype(int))
    labels, probabilities = predictions.labels[drawn], predictions.probabilities[drawn]
    every = np.arange(class_count)
    means = MeanScores(predictions.labels, predictions.probabilities)(weights[:, None])
    assert means["log_loss"][0] == pytest.approx(sk.log_loss(labels, probabilities, labels=every), abs=1e-6)
    if class_count == 2:
        assert means["brier"][0] == pytest.approx(sk.brier_score_loss(labels, probabilities[:, 1]))
    for k in every:
        ranking = RankingScores(predictions.labels == k, predictions.probabilities[:, k])
        area, precision_area = ranking(weights[:, None])
        assert area[0] == pytest.approx(sk.roc_auc_score(labels == k, probabilities[:, k]))
        assert precision_area[0] == pytest.approx(
            sk.average_precision_score(labels == k, probabilities[:, k])
        )


@pytest.mark.parametrize("groups", [None, np.arange(40) // 4])
def test_f1_changes_are_those_of_leaving_out_each_unit(groups):
    predictions = make_predictions(40, 3)
    units = np.arange(40) if groups is None else groups
    every = {"labels": np.arange(3), "average": None}
    whole = sk.f1_score(predictions.labels, predictions.predicted, **every)
    changes, _ = f1_changes(predictions.labels, predictions.predicted, 3, units)
    for unit, changed in enumerate(changes.toarray()):
        rest = units != unit
        without = sk.f1_score(predictions.labels[rest], predictions.predicted[rest], **every)
        assert changed == pytest.approx(without - whole)


@given(class_count=st.integers(3, 8), seed=st.integers(0, 1000), digits=st.sampled_from([None, 1]))
@settings(max_examples=60, deadline=None)
def test_top_k_matches_scikit_learn_also_with_ties(class_count, seed, digits):
    predictions = make_predictions(40, class_count, seed=seed, digits=digits)
    for k, share in score(predictions)["top_k"].items():
        assert share == sk.top_k_accuracy_score(
            predictions.labels, predictions.probabilities, k=int(k), labels=np.arange(class_count)
        )


def test_top_k_of_equal_probabilities_does_not_count_every_class():
    predictions = make_predictions(40, 4)
    undecided = replace(predictions, probabilities=np.full((40, 4), 0.25, np.float32))
    # Ties are broken by label, so only k classes count.
    assert score(undecided)["top_k"]["2"] == np.mean(predictions.labels >= 2)


def test_roc_auc_and_average_precision_of_a_single_class_are_undefined():
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


def test_unsure_predictions_are_counted_separately():
    predictions = make_predictions(300, 3, abstain_below=0.6)
    sure = predictions.probabilities.max(axis=1) >= 0.6
    abstention = score(predictions)["abstention"]
    assert abstention["answered"] == pytest.approx(sure.mean())
    right = (predictions.predicted == predictions.labels)[sure].mean()
    assert abstention["accuracy_of_answered"] == pytest.approx(right)


def test_baselines_are_compared_on_the_same_images():
    predictions = make_predictions(300, 3)
    scores = score(predictions, baselines={"same": predictions.predicted, "worse": np.zeros(300, np.int32)})
    same, worse = scores["baselines"]["same"], scores["baselines"]["worse"]
    assert same["gain"] == 0
    # Equal on 300 images does not mean equal on others.
    low, high = same["gain_ci95"]
    assert -0.02 < low < 0 < high < 0.02
    assert worse["accuracy"] == pytest.approx(np.mean(predictions.labels == 0))
    assert worse["gain_ci95"][0] > 0
    assert worse["macro_f1"] == pytest.approx(
        sk.f1_score(predictions.labels, np.zeros(300), average="macro", zero_division=0)
    )


def test_a_single_image_shows_no_significant_gain():
    right, probabilities = np.array([1], np.int32), np.array([[0.1, 0.9]], np.float32)
    one = Predictions(("x",), right, probabilities, right, 0.0, ("a", "b"))
    gain = score(one, baselines={"wrong": np.array([0], np.int32)})["baselines"]["wrong"]
    assert gain["gain"] == 1
    assert gain["gain_ci95"][0] < 0


@pytest.mark.parametrize("class_count", [2, 4])
@pytest.mark.parametrize("groups", [None, np.arange(40) // 4])
def test_intervals_of_perfect_scores_have_a_width(class_count, groups):
    perfect = make_predictions(40, class_count, groups=groups)
    certain = np.full((40, class_count), 0.01 / (class_count - 1), np.float32)
    certain[np.arange(40), perfect.labels] = 0.99
    scores = score(replace(perfect, probabilities=certain, predicted=perfect.labels))
    limits = [scores[key] for key in scores if key.endswith("_ci95") and key != "top_k_ci95"]
    limits += scores["top_k_ci95"].values()
    limits += [
        of_class[key]
        for of_class in scores["per_class"].values()
        for key in of_class
        if key.endswith("_ci95")
    ]
    assert len(limits) > 15
    assert all(low + 0.005 < high for low, high in limits)
    assert scores["macro_f1_ci95"][1] == scores["auc_ci95"][1] == 1
    assert scores["interval_notes"] == []


def test_missing_intervals_are_explained():
    predictions = make_predictions(40, 3)
    of_one = score(replace(predictions, groups=np.zeros(40, np.intp)))
    assert of_one["accuracy_grouped_ci95"] is of_one["macro_f1_ci95"] is of_one["auc_ci95"] is None
    assert of_one["accuracy_ci95"] is not None
    assert of_one["interval_notes"] == ["all images belong to one group: intervals need at least two"]
    by_class = score(replace(predictions, groups=predictions.labels.astype(np.intp)))
    assert by_class["per_class"]["a"]["recall_ci95"] is None
    assert by_class["accuracy_grouped_ci95"] is not None
    one_class = score(replace(predictions, labels=np.zeros(40, np.int32)))
    assert one_class["auc"] is None  # not defined, whatever the number of images
    assert one_class["interval_notes"] == []
    (note,) = by_class["interval_notes"]
    assert note.startswith("too few groups for some intervals of a, b, c")


def test_predictions_survive_a_round_trip(tmp_path):
    predictions = make_predictions(20, 4)
    (tmp_path / "p.csv").write_text(render_predictions(predictions))
    read = load_predictions(tmp_path / "p.csv")
    assert read.paths == predictions.paths
    assert read.class_names == predictions.class_names
    assert (read.labels == predictions.labels).all()
    assert (read.predicted == predictions.predicted).all()
    assert (read.probabilities == predictions.probabilities).all()
