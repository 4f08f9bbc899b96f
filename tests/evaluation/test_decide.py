"""Thresholds and abstention, compared with an exhaustive search on the same validation images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtrain.config.schema import EvaluationConfig
from imgtrain.evaluation.decide import choose_decision, decide, is_sure

RNG = np.random.default_rng(3)
LABELS = (RNG.random(200) < 0.3).astype(np.int32)
POSITIVE = np.clip(LABELS * 0.3 + RNG.normal(0.35, 0.2, 200), 0.01, 0.99).astype(np.float32)
PROBABILITIES = np.stack([1 - POSITIVE, POSITIVE], axis=1)


def choose(threshold=0.5, abstain=None, labels=LABELS, probabilities=PROBABILITIES, binary=True):
    asked = EvaluationConfig.model_validate({"threshold": threshold, "abstain": abstain})
    return choose_decision(asked, binary=binary, labels=labels, probabilities=probabilities)


def counts(threshold):
    predicted = np.float32(threshold) <= POSITIVE
    hits = int((predicted & (LABELS == 1)).sum())
    return hits, int(predicted.sum()), int(LABELS.sum())


def precision(threshold):
    hits, predicted, _ = counts(threshold)
    return hits / predicted


def recall(threshold):
    hits, _, positives = counts(threshold)
    return hits / positives


def f1(threshold):
    hits, predicted, positives = counts(threshold)
    return 2 * hits / (predicted + positives)


def youden(threshold):
    hits, predicted, positives = counts(threshold)
    return hits / positives - (predicted - hits) / (len(LABELS) - positives)


def test_a_fixed_threshold_is_used_unchanged():
    assert choose(0.37).threshold == 0.37


@pytest.mark.parametrize(("rule", "value"), [("f1", f1), ("youden", youden)])
def test_the_best_threshold_is_found(rule, value):
    chosen = choose(rule).threshold
    assert value(chosen) == pytest.approx(max(value(threshold) for threshold in POSITIVE))


def test_the_lowest_threshold_with_the_target_precision_is_found():
    chosen = choose({"precision": 0.8}).threshold
    assert precision(chosen) >= 0.8
    assert all(precision(threshold) < 0.8 for threshold in POSITIVE if threshold < chosen)


def test_the_highest_threshold_with_the_target_recall_is_found():
    chosen = choose({"recall": 0.9}).threshold
    assert recall(chosen) >= 0.9
    assert all(recall(threshold) < 0.9 for threshold in POSITIVE if threshold > chosen)


def test_an_unreachable_precision_triggers_a_warning_and_the_default():
    decision = choose({"precision": 1.0}, labels=1 - LABELS)
    assert decision.threshold == 0.5
    assert "no threshold reaches a precision of 1" in decision.warnings[0]


def test_without_validation_the_default_is_used_with_a_warning():
    decision = choose("f1", labels=None, probabilities=None)
    assert decision.threshold == 0.5
    assert "no validation images of both classes" in decision.warnings[0]


def test_the_lowest_confidence_with_the_target_accuracy_is_found():
    decision = choose(abstain=0.95)
    predicted = decide(PROBABILITIES, 0.5)
    confidence = PROBABILITIES.max(axis=1)

    def accuracy(level):
        sure = is_sure(PROBABILITIES, predicted, level)
        return (predicted == LABELS)[sure].mean()

    assert accuracy(decision.abstain_below) >= 0.95
    assert all(accuracy(level) < 0.95 for level in confidence if level < decision.abstain_below)


def test_an_unreachable_accuracy_disables_abstention_with_a_warning():
    wrong = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    decision = choose(abstain=0.9, labels=np.array([1, 0], np.int32), probabilities=wrong)
    assert decision.abstain_below is None
    assert "no confidence reaches" in decision.warnings[0]


def test_more_than_two_classes_predict_the_most_probable_one_without_threshold():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], np.float32)
    decision = choose(labels=np.array([1, 0], np.int32), probabilities=probabilities, binary=False)
    assert decision.threshold is None
    assert decide(probabilities, None).tolist() == [1, 0]


@given(st.floats(1 / 64, 63 / 64, width=32))
def test_a_probability_equal_to_the_threshold_is_positive(threshold):
    # A threshold taken from the probabilities and stored as a float64 includes that image.
    probabilities = np.array([[1 - threshold, threshold]], np.float32)
    assert decide(probabilities, float(np.float32(threshold))).tolist() == [1]
