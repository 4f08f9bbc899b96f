"""Asked against found, without TensorFlow: monitors, early stopping, and options without effect."""

import csv

import pytest

from imgtrain.config.load import parse_config
from imgtrain.dataset.plan import make_plan
from imgtrain.errors import ConfigError


@pytest.fixture
def plan(tmp_path, make_folders):
    make_folders(tmp_path, {"train": {"a": 6, "b": 2}, "test": {"a": 2, "b": 2}})

    def plan(data=None, **sections):
        folders = {"train": str(tmp_path / "train"), "test": str(tmp_path / "test")}
        return make_plan(parse_config({"data": {**folders, **(data or {})}, **sections}))

    plan.root = tmp_path
    return plan


def test_a_split_file_without_validation_rows_gives_no_validation(plan):
    with (plan.root / "split.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "split"])
        for path in sorted(plan.root.rglob("*.png")):
            rows.writerow([path, path.relative_to(plan.root).parts[0]])
    made = plan({"split_file": str(plan.root / "split.csv")})
    assert made.splits.validation is None
    assert made.config.training.early_stopping is None
    assert any("no validation images" in warning for warning in made.warnings)
    with pytest.raises(ConfigError, match="it requires validation images"):
        plan(
            {"split_file": str(plan.root / "split.csv")},
            training={"early_stopping": {"monitor": "val_loss"}},
        )


def test_a_monitor_whose_good_end_is_not_known_needs_a_mode(plan):
    asked = {"metrics": ["TruePositives"], "early_stopping": {"monitor": "TruePositives"}}
    with pytest.raises(ConfigError, match=r"set training\.early_stopping\.mode to min or max"):
        plan(training=asked)
    asked["early_stopping"]["mode"] = "max"
    assert plan(training=asked).config.training.early_stopping.mode == "max"


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"evaluation": {"threshold": "f1"}}, "evaluation.threshold has no effect"),
        ({"evaluation": {"abstain": 0.9}}, "evaluation.abstain has no effect"),
        (
            {"data": {"balance": "oversample"}, "training": {"class_weight": "balanced"}},
            "one of them is enough",
        ),
    ],
)
def test_options_without_effect_are_told(plan, sections, sentence):
    assert any(sentence in warning for warning in plan(**sections).warnings)


def test_which_class_is_positive_is_said(plan):
    made = plan({"class_mode": "binary"})
    assert any("'b' is the positive class" in warning for warning in made.warnings)


def test_a_schedule_is_not_cut_short_by_early_stopping_that_nobody_wrote(plan):
    folders = {"validation": str(plan.root / "test"), "test": None, "on_leak": "warn"}
    made = plan(folders, training={"epochs": 30, "schedule": "cosine"})
    assert made.config.training.early_stopping.patience == 30
    assert not any("schedule" in warning for warning in made.warnings)
    written = {"epochs": 30, "schedule": "cosine", "early_stopping": {"patience": 3}}
    made = plan(folders, training=written)
    assert made.config.training.early_stopping.patience == 3
    assert any("before the learning rate schedule ends" in warning for warning in made.warnings)


def test_what_contradicts_a_schedule_is_an_error(plan):
    with pytest.raises(ConfigError) as caught:
        plan(
            training={
                "epochs": 3,
                "schedule": {"name": "cosine", "warmup_epochs": 3},
                "reduce_lr_on_plateau": {"monitor": "loss"},
            }
        )
    assert "sets the learning rate of every batch" in str(caught.value)
    assert "less than training.epochs (3)" in str(caught.value)
