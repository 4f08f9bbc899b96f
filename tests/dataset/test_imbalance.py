"""Classes with far fewer training images than others are named before training."""

import numpy as np
import pytest

from imgtrain.config.load import parse_config
from imgtrain.dataset.imbalance import describe_imbalance
from imgtrain.dataset.plan import make_plan


@pytest.mark.parametrize(
    ("counts", "told"), [((400, 40, 3), True), ((30, 3, 30), True), ((29, 3, 29), False)]
)
def test_ten_times_as_many_images_are_too_many(counts, told):
    sentence = describe_imbalance(("a", "b", "c"), np.array(counts))
    assert (sentence is not None) == told


@pytest.fixture
def folder(make_files):
    files = [
        f"{name}/{number}.jpg" for name, images in (("a", 40), ("b", 4), ("c", 3)) for number in range(images)
    ]
    return make_files(*files)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({}, True),
        ({"training": {"class_weight": "balanced"}}, False),
        ({"data": {"balance": "oversample"}}, False),
    ],
)
def test_a_plan_warns_unless_the_classes_are_balanced(folder, section, told):
    data = {"train": folder, **section.get("data", {})}
    plan = make_plan(parse_config({**section, "data": data}))
    said = [warning for warning in plan.warnings if "imbalanced" in warning]
    assert len(said) == told
    assert all("a has 40 training images, c only 3" in warning for warning in said)
