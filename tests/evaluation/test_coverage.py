"""Coverage of the intervals: in many repetitions of an experiment, at least 93 % contain the true value.

docs/results.md quotes the figures.
"""

from collections import Counter

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import norm

from imgtrain.evaluation.compare import Candidate, compare
from imgtrain.evaluation.intervals import difference_interval, share_interval
from imgtrain.evaluation.metrics import score
from imgtrain.evaluation.predictions import Predictions

pytestmark = pytest.mark.slow

LEAST = 0.93
GROUPS = (2, 3, 5, 10, 20)
OVERALL = (
    "balanced_accuracy", "macro_f1", "weighted_f1", "auc", "average_precision", "log_loss", "brier",
    "expected_calibration_error",
)  # fmt: skip


def experiment(rng, images, *, signal, sureness, groups=None):
    """Three classes; `sureness` above 1 makes the model overconfident.

    The images of a group are of one class, and share nine tenths of their luck.
    """
    labels = rng.integers(0, 3, images).astype(np.int32)
    luck = rng.normal(size=(images, 3))
    if groups is not None:
        count = groups.max() + 1
        labels = rng.integers(0, 3, count).astype(np.int32)[groups]
        luck = np.sqrt(0.9) * rng.normal(size=(count, 3))[groups] + np.sqrt(0.1) * luck
    probabilities = softmax(sureness * signal * (luck + signal * np.eye(3)[labels]), axis=1).astype(
        np.float32
    )
    predicted = probabilities.argmax(axis=1).astype(np.int32)
    return Predictions(("x",) * images, labels, probabilities, predicted, 0.0, ("a", "b", "c"), groups)


def coverage(names, *, images, repetitions, groups=None, **model):
    """Return the share of intervals that cover the score on 100,000 images; missing intervals count as failures."""
    rng = np.random.default_rng(0)
    many = None if groups is None else np.arange(100_000) // 5
    truth = score(experiment(rng, 100_000, groups=many, **model))
    covered = {name: [] for name in names}
    for _ in range(repetitions):
        scores = score(experiment(rng, images, groups=groups, **model))
        for name in names:
            if (limits := scores[f"{name}_ci95"]) is not None:
                covered[name].append(limits[0] <= truth[name.removesuffix("_grouped")] <= limits[1])
    return {name: float(np.mean(hits)) for name, hits in covered.items() if hits}


# Accuracies of 63, 93 and 99.5 %: with the last one, 100 images are all correct in 6 of 10 experiments.
@pytest.mark.parametrize("model", [
    {"signal": 1.0, "sureness": 2.5}, {"signal": 2.5, "sureness": 1.0}, {"signal": 4.0, "sureness": 2.5},
])  # fmt: skip
@pytest.mark.parametrize("images", [30, 100, 250])
def test_scores_of_single_images(images, model):
    found = coverage(OVERALL, images=images, repetitions=200, **model)
    assert all(share >= LEAST for share in found.values()), found


@pytest.mark.parametrize("model", [{"signal": 1.0, "sureness": 1.0}, {"signal": 2.5, "sureness": 1.5}])
@pytest.mark.parametrize("count", GROUPS)
def test_scores_of_groups(count, model):
    groups = np.repeat(np.arange(count), 10)
    names = ("accuracy_grouped", *OVERALL)
    found = coverage(names, images=10 * count, repetitions=400, groups=groups, **model)
    assert all(share >= LEAST for share in found.values()), found


def beta_groups(rng, count, *, mean, correlation, size):
    """Draw groups of about `size` images with different accuracies, i.e. correlated images within a group."""
    sizes = np.full(count, size) if size < 25 else 1 + rng.geometric(1 / size, count)
    total = 1 / correlation - 1
    accuracies = rng.beta(mean * total, (1 - mean) * total, count)
    groups = np.repeat(np.arange(count), sizes)
    return rng.random(len(groups)) < accuracies[groups], groups


@pytest.mark.parametrize("count", GROUPS)
@pytest.mark.parametrize("mean", [0.7, 0.9, 0.97])
@pytest.mark.parametrize("correlation", [0.05, 0.2])
@pytest.mark.parametrize("size", [5, 20, 30])
def test_accuracy_of_groups(count, mean, correlation, size):
    rng = np.random.default_rng(count)
    covered = []
    for _ in range(1000):
        right, groups = beta_groups(rng, count, mean=mean, correlation=correlation, size=size)
        limits = share_interval(right, groups)
        covered.append(limits[0] <= mean <= limits[1])
    assert np.mean(covered) >= LEAST


@pytest.mark.parametrize("images", [5, 10, 30, 100, 300])
def test_accuracy_of_single_images(images):
    # The coverage of Wilson's interval is 95 % on average over accuracies. Just below 100 %, it is lower, because the
    # interval is too pessimistic there. A true accuracy below the interval, the harmful case, is rare everywhere.
    intervals = np.array([share_interval(np.arange(images) < right) for right in range(images + 1)])
    rng = np.random.default_rng(0)
    truths = rng.uniform(0.5, 1, 4000)
    right = rng.binomial(images, truths)
    assert np.mean((intervals[right, 0] <= truths) & (truths <= intervals[right, 1])) >= 0.94
    for truth in (0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999):
        right = rng.binomial(images, truth, 4000)
        assert np.mean(truth < intervals[right, 0]) <= 0.04


def paired_answers(rng, groups, *, accuracies, shared, correlation):
    """Draw whether A and B are right; they share half of an image's difficulty and part of a group's."""

    def latent(own):
        of_group = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
        of_image = np.sqrt(0.5) * image + np.sqrt(0.5) * rng.normal(size=len(groups))
        return np.sqrt(correlation) * of_group[groups] + np.sqrt(1 - correlation) * of_image

    count = groups.max() + 1
    common, image = rng.normal(size=count), rng.normal(size=len(groups))
    return tuple(latent(rng.normal(size=count)) < norm.ppf(accuracy) for accuracy in accuracies)


@pytest.mark.parametrize("count", [None, *GROUPS])
@pytest.mark.parametrize("accuracies", [(0.8, 0.8), (0.8, 0.85), (0.95, 0.98)])
def test_the_difference_of_two_models(count, accuracies):
    rng = np.random.default_rng(0)
    groups = np.arange(100) if count is None else np.repeat(np.arange(count), 20)
    truth = accuracies[1] - accuracies[0]
    covered = []
    for _ in range(1500):
        pair = paired_answers(rng, groups, accuracies=accuracies, shared=0.5, correlation=0.2)
        low, high = difference_interval(*pair, None if count is None else groups)
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= LEAST


def verdicts(count, accuracies, *, size=20, repetitions=400):
    """Return how often `compare` gives each verdict."""
    rng = np.random.default_rng(0)
    groups = np.arange(200) if count is None else np.repeat(np.arange(count), size)
    labels = rng.integers(0, 2, len(groups)).astype(np.int32)
    paths = tuple(map(str, range(len(groups))))
    keys = [(path, "ab"[label]) for path, label in zip(paths, labels, strict=True)]
    found = Counter()
    for _ in range(repetitions):
        candidates = []
        for right in paired_answers(rng, groups, accuracies=accuracies, shared=0.5, correlation=0.2):
            answers = np.where(right, labels, 1 - labels)
            predictions = Predictions(
                paths, labels, np.eye(2, dtype=np.float32)[answers], answers, 0.0, ("a", "b"),
                None if count is None else groups,
            )  # fmt: skip
            candidates.append(Candidate("run", predictions, keys))
        found[compare(*candidates, split="test").verdict] += 1 / repetitions
    return found


@pytest.mark.parametrize("count", [None, *GROUPS])
@pytest.mark.parametrize("accuracy", [0.8, 0.95])
def test_equal_models_are_called_different_in_at_most_5_of_100_comparisons(count, accuracy):
    found = verdicts(count, (accuracy, accuracy))
    assert found["better"] + found["worse"] <= 0.05, found


def test_a_difference_is_found_with_enough_groups():
    assert verdicts(5, (0.7, 0.9))["better"] == 0
    assert verdicts(20, (0.7, 0.9))["better"] >= 0.9
    assert verdicts(None, (0.7, 0.9))["better"] >= 0.99
