"""Intervals in closed form, compared with SciPy and published examples, and their properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from imgtrain.evaluation.class_scores import score_classes
from imgtrain.evaluation.intervals import difference_interval, effective_units, share_interval
from imgtrain.evaluation.jackknife import jackknife, leave_out_weights, standard_errors

ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=60)


def outcomes(right, images):
    return np.arange(images) < right


@pytest.mark.parametrize(("right", "images"), [(0, 10), (5, 10), (81, 263), (10, 10), (99, 100), (1, 1)])
def test_the_interval_of_a_proportion_is_scipys_wilson_interval(right, images):
    limits = binomtest(right, images).proportion_ci(method="wilson")
    assert share_interval(outcomes(right, images)) == pytest.approx([limits.low, limits.high])


# R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired data",
# 1998, method 10: both right, only B, only A, neither.
@pytest.mark.parametrize(
    ("counts", "limits"), [((36, 12, 2, 0), (0.0569, 0.3404)), ((20, 12, 2, 16), (0.0562, 0.3292))]
)
def test_the_interval_of_a_difference_matches_newcombes_examples(counts, limits):
    right_a = np.repeat([True, False, True, False], counts)
    right_b = np.repeat([True, True, False, False], counts)
    assert difference_interval(right_a, right_b) == pytest.approx(limits, abs=5e-5)


@given(ANSWERS, st.booleans())
@settings(deadline=None)
def test_an_interval_contains_its_estimate_within_0_to_1_and_has_a_width(answers, grouped):
    right, _, groups = (np.array(column) for column in zip(*answers, strict=True))
    groups = np.unique(groups, return_inverse=True)[1] if grouped else None
    limits = share_interval(right, groups)
    if grouped and groups.max() == 0:
        assert limits is None
    else:
        assert 0 <= limits[0] <= right.mean() <= limits[1] <= 1
        assert limits[1] - limits[0] > 0.01


@given(ANSWERS, st.booleans())
@settings(deadline=None)
def test_swapping_the_models_swaps_the_limits_of_their_difference(answers, grouped):
    right_a, right_b, groups = (np.array(column) for column in zip(*answers, strict=True))
    groups = np.unique(groups, return_inverse=True)[1] if grouped else None
    forth, back = (difference_interval(*pair, groups) for pair in ((right_a, right_b), (right_b, right_a)))
    if grouped and groups.max() == 0:
        assert forth is back is None
    else:
        assert forth == pytest.approx([-back[1], -back[0]], abs=1e-12)
        assert -1 <= forth[0] <= right_b.mean() - right_a.mean() <= forth[1] <= 1
        assert forth[1] - forth[0] > 0.01


def test_groups_without_mistakes_count_as_one_trial_each():
    # 20 groups of 50 images are as informative about other groups as 20 images, with the quantile of t.
    low, high = share_interval(np.ones(1000, bool), np.repeat(np.arange(20), 50))
    assert (low, high) == (pytest.approx(20 / (20 + 2.093024**2)), 1)


def test_groups_that_fail_as_a_whole_count_as_one_trial_each():
    groups = np.repeat(np.arange(40), 25)
    of_groups = np.arange(40) < 30
    by_group, by_image = share_interval(of_groups[groups], groups), share_interval(of_groups)
    assert by_group == pytest.approx(by_image, abs=0.01)


def test_groups_with_equal_accuracy_count_like_independent_images():
    groups = np.tile(np.arange(100), 10)
    right = np.random.default_rng(0).random(1000) < 0.8
    assert share_interval(right, groups) == pytest.approx(share_interval(right), abs=0.006)


def test_groups_of_unequal_size_count_as_fewer():
    assert effective_units(np.repeat(np.arange(4), 5)) == pytest.approx(4)
    assert effective_units(np.repeat(np.arange(4), [97, 1, 1, 1])) == pytest.approx(1.06, abs=0.01)


def two_classes(images, mistakes, *, small=0):
    """Return labels and predictions of two classes with symmetric mistakes, and a small class without mistakes."""
    labels = np.repeat([0, 1, 2], [images, images, small]).astype(np.int32)
    answers = labels.copy()
    answers[:mistakes] = 1
    answers[images : images + mistakes] = 0
    return labels, answers


def test_perfect_scores_have_intervals_with_room_for_mistakes():
    overall, per_class = score_classes(*two_classes(50, 0), 2, None)
    # Each mistake lowers the F1 of both classes, so the limit is Wilson's for 100 of 100 images.
    assert overall["macro_f1_ci95"] == pytest.approx([100 / (100 + 1.96**2), 1], abs=1e-4)
    assert per_class[0]["recall_ci95"] == pytest.approx([50 / (50 + 1.96**2), 1], abs=1e-4)
    # Recalls are independent, so their mean has a narrower interval.
    assert per_class[0]["recall_ci95"][0] < overall["balanced_accuracy_ci95"][0] < 0.96


def test_a_small_class_without_mistakes_widens_the_interval_of_macro_f1():
    without, _ = score_classes(*two_classes(500, 20), 3, None)
    beside, per_class = score_classes(*two_classes(500, 20, small=5), 3, None)
    # The standard error of the others is 0.006, but the true F1 of a class with 5 of 5 may be 0.72.
    assert without["macro_f1"] - without["macro_f1_ci95"][0] < 0.02
    assert per_class[2]["f1_ci95"][0] == pytest.approx(0.722, abs=0.01)
    assert beside["macro_f1"] - beside["macro_f1_ci95"][0] > 0.08


def test_a_class_with_a_single_group_has_no_interval():
    labels, answers = two_classes(20, 3, small=10)
    groups = np.concatenate([np.arange(40) // 5, np.full(10, 8)])
    overall, per_class = score_classes(labels, answers, 3, groups)
    assert per_class[2]["recall_ci95"] is None
    assert per_class[0]["recall_ci95"] is not None
    # Its score is unknown, so the interval of the mean is at least a third wide.
    low, high = overall["macro_f1_ci95"]
    assert high - low > 1 / 3
    assert score_classes(labels, answers, 3, np.zeros(50, np.intp))[0]["macro_f1_ci95"] is None


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=150)
    mean = jackknife(lambda w: {"mean": values @ w / w.sum(axis=0)}, 150)["mean"]
    error = standard_errors(np.array(values.mean()), mean)
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(150))


def test_more_images_than_replicates_are_divided_into_blocks():
    values = np.random.default_rng(0).normal(size=20_000)
    replicates = jackknife(lambda w: {"mean": values @ w / w.sum(axis=0)}, 20_000, seed=3)["mean"]
    assert len(replicates) == 200
    assert standard_errors(np.array(values.mean()), replicates) == pytest.approx(1 / np.sqrt(20_000), rel=0.2)
    again = jackknife(lambda w: {"mean": values @ w / w.sum(axis=0)}, 20_000, seed=3)["mean"]
    assert (replicates == again).all()


def test_whole_groups_are_left_out():
    groups = np.array([0, 0, 1, 2, 2, 2])
    assert leave_out_weights(groups, range(1, 3)).T.tolist() == [[1, 1, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0]]
    sizes = jackknife(lambda w: {"images": w.sum(axis=0)}, 6, groups=groups)["images"]
    assert sizes.tolist() == [4, 5, 3]
