"""Conclusions: better, worse, or not significant, and why."""

import pytest

from imgtrain.evaluation.score_names import compare_with_baselines, describe_accuracy, format_p

THUMBNAILS = "thumbnail_logistic_regression"


@pytest.mark.parametrize(
    ("limits", "is_better", "sentence"),
    [
        (
            [0.01, 0.2],
            True,
            "58.3 % is significantly better than logistic regression on 8×8 thumbnails (86.7 %), "
            "by 1.0 to 20.0 percentage points.",
        ),
        (
            [-0.45, -0.1],
            False,
            "58.3 % is significantly worse than logistic regression on 8×8 thumbnails (86.7 %), "
            "by 10.0 to 45.0 percentage points.",
        ),
        (
            [-0.3, 0.05],
            False,
            "58.3 % is not significantly better than logistic regression on 8×8 thumbnails (86.7 %): "
            "the difference is between -30.0 and +5.0 percentage points.",
        ),
        (
            None,
            False,
            "58.3 % cannot be compared with logistic regression on 8×8 thumbnails (86.7 %): too few groups.",
        ),
    ],
)
def test_the_conclusion_about_a_baseline(limits, is_better, sentence):
    metrics = {"accuracy": 0.583, "baselines": {THUMBNAILS: {"accuracy": 0.867, "gain_ci95": limits}}}
    (conclusion,) = compare_with_baselines(metrics)
    assert conclusion == (is_better, sentence)


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(1.0, "p = 1"), (0.0123456, "p = 0.0123"), (0.050099, "p = 0.0501"), (0.04999, "p = 0.04999"),
     (0.050001, "p = 0.05"), (0.05, "p = 0.05"), (1.5e-12, "p = 1.5e-12")],
)  # fmt: skip
def test_a_p_value_shows_whether_it_is_below_the_level(p_value, text):
    assert format_p(p_value) == text


@pytest.mark.parametrize(
    ("supports", "said"),
    [
        ([40, 20, 20], ""),
        ([40, 20, 1], "; 1 of 3 classes has 1 test image"),
        ([40, 20, 19], "; 1 of 3 classes has 19 test images"),
        ([40, 20, 0], "; 1 of 3 classes has no test images"),
        ([40, 5, 1], "; 2 of 3 classes have fewer than 20 test images, the smallest 1"),
        ([40, 5, 0], "; 2 of 3 classes have fewer than 20 test images, the smallest none"),
    ],
)
def test_the_headline_names_classes_with_few_images(supports, said):
    metrics = {
        "accuracy": 0.5,
        "accuracy_ci95": [0.4, 0.6],
        "images": sum(supports),
        "per_class": {name: {"support": support} for name, support in zip("abc", supports, strict=True)},
    }
    assert describe_accuracy("test", metrics) == (
        f"Test accuracy 50.0 % (95 % CI 40.0–60.0 %, {sum(supports)} images){said}"
    )
    assert "test" not in describe_accuracy("photos", metrics)
