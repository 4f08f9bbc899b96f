"""The tables as they are printed: on wide and narrow terminals, with names that nobody expects."""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from imgtrain.cli.tables import (
    draw_comparison,
    draw_epochs,
    draw_model,
    draw_scores,
    format_duration,
    format_logs,
)
from imgtrain.events import EpochEnded, ModelBuilt

WIDTHS = [30, 40, 60, 80, 110, 200]
# Escape codes, a change of direction, markup of rich, wide characters, an emoji of several, and length.
NAMES = ["ev\x1b[31mil", "\u202etxet", "[red]cat[/red]", "猫の写真", "👩‍🌾", "long " * 20, "dark", "a\nb"]


def printed(drawn, width):
    file = io.StringIO()
    Console(file=file, width=width, markup=False, highlight=False).print(drawn)
    return file.getvalue()


def make_scores(names, **changes):
    classes = {
        name: {
            "precision": 0.123,
            "recall": 0.234,
            "f1": 0.345,
            "f1_ci95": [0.3, 0.4],
            "auc": 0.456,
            "support": 12_345,
        }
        for name in names
    }
    return {
        "images": 12_345 * len(names),
        "loss": 0.5678,
        "accuracy": 0.824,
        "accuracy_ci95": [0.792, 0.853],
        "macro_f1": 0.789,
        "macro_f1_ci95": [0.7, 0.8],
        "top_k": {},
        "baselines": {"majority_class": {"accuracy": 0.111, "accuracy_ci95": [0.1, 0.2]}},
        "class_names": list(names),
        "per_class": classes,
        "confusion_matrix": [[12_345 if row == column else 0 for column in names] for row in names],
    } | changes


def make_epochs(count=3):
    logs = {
        "loss": 0.1234,
        "accuracy": 0.2345,
        "val_loss": 0.3456,
        "val_accuracy": 0.4567,
        "learning_rate": 1,
    }
    return [
        EpochEnded(
            epoch=number, epochs=20, seconds=200, images_per_second=1234.5, logs=logs, best=number == 1
        )
        for number in range(count)
    ]


COMPARISON = {
    "split": "test",
    "groups": None,
    "test": "McNemar's exact test",
    "p_value": 0.00123,
    "a": {"run": "runs/a", "accuracy": 0.8, "macro_f1": 0.7},
    "b": {"run": "runs/b", "accuracy": 0.9, "macro_f1": 0.8},
    "images": 12_345,
    "accuracy_difference": 0.1,
    "accuracy_difference_ci95": [0.05, 0.15],
    "macro_f1_difference": 0.1,
    "macro_f1_difference_ci95": [-0.05, 0.15],
    "per_class": {
        name: {"images": 12_345, "different": 2_345, "only_a_right": 345, "only_b_right": 45}
        for name in NAMES
    },
    "mcnemar": {"only_a_right": 345, "only_b_right": 45, "p_value": 0.00123},
}
MODEL = ModelBuilt(
    rows=(
        ("conv2d (Conv2D)", "148×148×16", 448, 448),
        ("dense_of_a_long_name (Dense)", "512", 12_345_678, 0),
    ),
    parameters=12_346_126,
    trainable_parameters=448,
    weight_bytes=4 * 12_346_126,
    training_bytes=20 * 12_346_126,
)
TABLES = {
    "scores": (draw_scores("test", make_scores(NAMES)), ["0.345", "12,345"]),
    "epochs": (draw_epochs(make_epochs()), ["2/20", "0.1234", "0.3456"]),
    "comparison": (draw_comparison(COMPARISON), ["+0.100", "345", "45"]),
    "model": (draw_model(MODEL), ["448", "12,345,678", "Trainable"]),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("table", TABLES)
def test_numbers_are_whole_and_lines_fit_at_any_width(table, width):
    drawn, numbers = TABLES[table]
    text = printed(drawn, width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert not re.search(r"(^|\s)[-+\[]?\d[\d.,]*…", text), text
    for number in numbers:
        assert re.search(rf"(^|\s){re.escape(number)}(\s|$)", text), number


@pytest.mark.parametrize("table", ["scores", "comparison"])
def test_names_from_outside_are_text_and_nothing_else(table):
    text = printed(TABLES[table][0], 200)
    assert not {"\x1b", "\u202e"} & set(text)
    for name in (r"ev\x1b[31mil", r"\u202etxet", "[red]cat[/red]", "猫の写真", "👩‍🌾", r"a\nb"):
        assert name in text


def test_a_wide_terminal_has_every_column():
    text = printed(draw_scores("test", make_scores(["dark", "light"])), 110)
    for cell in ("Precision", "Recall", "F1 95 % CI", "ROC AUC", "Support", "[0.300, 0.400]", "0.456"):
        assert cell in text
    text = printed(draw_epochs(make_epochs()), 110)
    for cell in ("Images/s", "1,234", "3:20 min", "val_accuracy", "0.4567", "best"):
        assert cell in text
    assert "learning_rate" not in text
    assert "…" not in text


def test_what_is_undefined_has_a_dash():
    scores = make_scores(["dark", "light"])
    scores["per_class"]["light"] |= {"f1_ci95": None, "auc": None}
    rows = [line.split() for line in printed(draw_scores("test", scores), 110).splitlines()]
    assert ["light", "0.123", "0.234", "0.345", "–", "–", "12,345"] in rows


def test_the_headline_says_split_accuracy_interval_and_count():
    text = printed(draw_scores("test", make_scores(["dark", "light"])), 110)
    assert text.startswith("Test accuracy 82.4 % (95 % CI 79.2–85.3 %, 24,690 images)\n")
    grouped = make_scores(["dark", "light"], accuracy_grouped_ci95=[0.5, 0.95])
    assert "(95 % CI 50.0–95.0 %" in printed(draw_scores("test", grouped), 110)


def test_an_interval_that_cannot_be_given_is_replaced_by_the_reason():
    note = "all images belong to one group: intervals need at least two"
    scores = make_scores(["dark", "light"], accuracy_grouped_ci95=None, interval_notes=[note])
    text = printed(draw_scores("test", scores), 110)
    assert text.startswith("Test accuracy 82.4 % (too few groups for a CI, 24,690 images)\n")
    assert f"No CI (–): {note}" in text
    nothing = {"groups": 1, "accuracy_difference_ci95": None, "macro_f1_difference_ci95": None}
    text = printed(draw_comparison(COMPARISON | nothing), 110)
    assert [line.split()[-1] for line in text.splitlines() if "Accuracy" in line or "Macro" in line] == [
        "–",
        "–",
    ]


def test_scores_of_validation_images_are_said_to_be_too_good():
    text = printed(draw_scores("validation", make_scores(["dark", "light"])), 110)
    assert "Training may have chosen the best epoch on these images" in text
    assert "Of other images of the same kind" not in text


def test_only_the_last_epochs_are_shown_where_asked():
    text = printed(draw_epochs(make_epochs(8), rows=3), 110)
    assert [line.split()[0] for line in text.splitlines() if "/20" in line] == ["6/20", "7/20", "8/20"]
    assert printed(draw_epochs([]), 110)


@pytest.mark.parametrize(
    ("classes", "width", "shown"),
    [(2, 40, True), (10, 110, True), (10, 30, False), (20, 80, False), (20, 200, True)],
)
def test_the_confusion_matrix_is_shown_whole_or_named(classes, width, shown):
    names = [f"class {number} of many" for number in range(classes)]
    text = printed(draw_scores("test", make_scores(names)), width)
    matrix = text.partition("Confusion matrix")[2]
    assert matrix.count("·") == (classes * (classes - 1) if shown else 0)
    assert matrix.count("12,345") == 0
    assert matrix.count("12345") == (classes if shown else 0)
    assert ("metrics.json" in matrix) != shown


def test_many_classes_have_no_confusion_matrix():
    text = printed(draw_scores("test", make_scores([f"{number}" for number in range(21)])), 400)
    assert "Confusion matrix" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.84, "0.8 s"), (41.6, "42 s"), (59.7, "1:00 min"), (200, "3:20 min"), (3723, "1:02:03 h")],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


def test_logs_keep_the_digits_of_small_numbers():
    logs = {"loss": 0.69314, "accuracy": 0.0, "learning_rate": 0.0000123}
    assert format_logs(logs) == "loss: 0.6931 - accuracy: 0.0000 - learning_rate: 1.2300e-05"
