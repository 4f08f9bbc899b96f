"""Intervals in closed form, against SciPy, published examples and what must hold of every interval."""

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
def test_the_interval_of_a_share_is_scipys_wilson_interval(right, images):
    limits = binomtest(right, images).proportion_ci(method="wilson")
    assert share_interval(outcomes(right, images)) == pytest.approx([limits.low, limits.high])


# R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired data",
# 1998, method 10: both right, only B, only A, neither.
@pytest.mark.parametrize(
    ("counts", "limits"), [((36, 12, 2, 0), (0.0569, 0.3404)), ((20, 12, 2, 16), (0.0562, 0.3292))]
)
def test_the_interval_of_a_difference_is_newcombes(counts, limits):
    right_a = np.repeat([True, False, True, False], counts)
    right_b = np.repeat([True, True, False, False], counts)
    assert difference_interval(right_a, right_b) == pytest.approx(limits, abs=5e-5)


@given(ANSWERS, st.booleans())
@settings(deadline=None)
def test_an_interval_holds_its_share_inside_0_to_1_and_is_never_a_point(answers, grouped):
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
def test_exchanging_the_models_exchanges_the_limits_of_their_difference(answers, grouped):
    right_a, right_b, groups = (np.array(column) for column in zip(*answers, strict=True))
    groups = np.unique(groups, return_inverse=True)[1] if grouped else None
    forth, back = (difference_interval(*pair, groups) for pair in ((right_a, right_b), (right_b, right_a)))
    if grouped and groups.max() == 0:
        assert forth is back is None
    else:
        assert forth == pytest.approx([-back[1], -back[0]], abs=1e-12)
        assert -1 <= forth[0] <= right_b.mean() - right_a.mean() <= forth[1] <= 1
        assert forth[1] - forth[0] > 0.01


def test_groups_that_are_all_right_count_one_each():
    # 20 groups of 50 images tell of other groups what 20 images would, with t in place of the normal quantile.
    low, high = share_interval(np.ones(1000, bool), np.repeat(np.arange(20), 50))
    assert (low, high) == (pytest.approx(20 / (20 + 2.093024**2)), 1)


def test_images_that_are_right_or_wrong_by_whole_groups_count_one_for_each_group():
    groups = np.repeat(np.arange(40), 25)
    of_groups = np.arange(40) < 30
    by_group, by_image = share_interval(of_groups[groups], groups), share_interval(of_groups)
    assert by_group == pytest.approx(by_image, abs=0.01)


def test_groups_do_not_matter_where_every_group_is_alike():
    groups = np.tile(np.arange(100), 10)
    right = np.random.default_rng(0).random(1000) < 0.8
    assert share_interval(right, groups) == pytest.approx(share_interval(right), abs=0.006)


def test_unequal_groups_count_as_fewer():
    assert effective_units(np.repeat(np.arange(4), 5)) == pytest.approx(4)
    assert effective_units(np.repeat(np.arange(4), [97, 1, 1, 1])) == pytest.approx(1.06, abs=0.01)


def two_classes(images, mistakes, *, small=0):
    """Labels and answers of two classes (and a small third one that is all right), mistakes to both sides alike."""
    labels = np.repeat([0, 1, 2], [images, images, small]).astype(np.int32)
    answers = labels.copy()
    answers[:mistakes] = 1
    answers[images : images + mistakes] = 0
    return labels, answers


def test_scores_of_all_right_have_room_for_mistakes():
    overall, per_class = score_classes(*two_classes(50, 0), 2, None)
    # Each mistake lowers both F1s, so that they are those of 100 images: Wilson's limit of 100 of 100.
    assert overall["macro_f1_ci95"] == pytest.approx([100 / (100 + 1.96**2), 1], abs=1e-4)
    assert per_class[0]["recall_ci95"] == pytest.approx([50 / (50 + 1.96**2), 1], abs=1e-4)
    # Recalls are independent: their mean is known better than each.
    assert per_class[0]["recall_ci95"][0] < overall["balanced_accuracy_ci95"][0] < 0.96


def test_a_small_class_without_a_mistake_widens_the_macro_f1():
    without, _ = score_classes(*two_classes(500, 20), 3, None)
    beside, per_class = score_classes(*two_classes(500, 20, small=5), 3, None)
    # Without it the standard error is 0.006; the F1 of 5 of 5 may as well be 0.72.
    assert without["macro_f1"] - without["macro_f1_ci95"][0] < 0.02
    assert per_class[2]["f1_ci95"][0] == pytest.approx(0.722, abs=0.01)
    assert beside["macro_f1"] - beside["macro_f1_ci95"][0] > 0.08


def test_a_class_of_one_group_has_no_interval():
    labels, answers = two_classes(20, 3, small=10)
    groups = np.concatenate([np.arange(40) // 5, np.full(10, 8)])
    overall, per_class = score_classes(labels, answers, 3, groups)
    assert per_class[2]["recall_ci95"] is None
    assert per_class[0]["recall_ci95"] is not None
    # It may have any score, so the mean is known to a third at best.
    low, high = overall["macro_f1_ci95"]
    assert high - low > 1 / 3
    assert score_classes(labels, answers, 3, np.zeros(50, np.intp))[0]["macro_f1_ci95"] is None


def test_the_jackknife_of_a_mean_is_its_textbook_standard_error():
    values = np.random.default_rng(0).normal(size=150)
    mean = jackknife(lambda w: {"mean": values @ w / w.sum(axis=0)}, 150)["mean"]
    error = standard_errors(np.array(values.mean()), mean)
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(150))


def test_more_images_than_replicates_are_left_out_in_blocks():
    values = np.random.default_rng(0).normal(size=20_000)
    replicates = jackknife(lambda w: {"mean": values @ w / w.sum(axis=0)}, 20_000, seed=3)["mean"]
    assert len(replicates) == 200
    assert standard_errors(np.array(values.mean()), replicates) == pytest.approx(1 / np.sqrt(20_000), rel=0.2)
    again = jackknife(lambda w: {"mean": values @ w / w.sum(axis=0)}, 20_000, seed=3)["mean"]
    assert (replicates == again).all()


def test_groups_are_left_out_whole():
    groups = np.array([0, 0, 1, 2, 2, 2])
    assert leave_out_weights(groups, range(1, 3)).T.tolist() == [[1, 1, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0]]
    sizes = jackknife(lambda w: {"images": w.sum(axis=0)}, 6, groups=groups)["images"]
    assert sizes.tolist() == [4, 5, 3]
