from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from imgtrain.config.head import (
    check_output,
    output_layer,
    resolve_loss,
    resolve_training_loss,
    snake_case,
    training_class_mode,
)
from imgtrain.config.load import parse_config
from imgtrain.config.schema import Config


def make_config(mode: str, last: Any = "Flatten", **training: Any) -> Config:
    layers = ["Flatten", last]
    return parse_config(
        {"data": {"train": "x", "class_mode": mode}, "model": {"layers": layers}, "training": training}
    )


@pytest.mark.parametrize(
    ("mode", "classes", "units", "activation", "loss"),
    [
        ("binary", 2, 1, "sigmoid", "binary_crossentropy"),
        ("categorical", 3, 3, "softmax", "categorical_crossentropy"),
        ("categorical", 2, 2, "softmax", "categorical_crossentropy"),
        ("sparse", 5, 5, "softmax", "sparse_categorical_crossentropy"),
    ],
)
def test_the_class_mode_decides_output_and_loss(
    mode: str, classes: int, units: int, activation: str, loss: str
) -> None:
    config = make_config(mode)
    added = output_layer(config, classes)
    assert added is not None
    assert (added.name, added.arguments) == ("Dense", {"units": units, "activation": activation})
    assert resolve_loss(config) == loss
    assert check_output(config, classes) == []
    written = make_config(mode, {"Dense": added.arguments})
    assert output_layer(written, classes) is None
    assert check_output(written, classes) == []


@pytest.mark.parametrize("activation", [None, "relu", "linear"])
def test_a_dense_layer_without_probabilities_is_hidden(activation: str | None) -> None:
    config = make_config("categorical", {"Dense": {"units": 3, "activation": activation}})
    assert output_layer(config, 3) is not None
    assert check_output(config, 3) == []


@pytest.mark.parametrize(
    ("mode", "classes", "units", "activation", "hint"),
    [
        ("binary", 2, 2, "softmax", "or set data.class_mode to categorical or sparse"),
        ("binary", 2, 1, "softmax", "if it is meant as a hidden layer"),
        ("categorical", 2, 1, "sigmoid", "or set data.class_mode to binary"),
        ("sparse", 2, 1, "sigmoid", "or set data.class_mode to binary"),
        ("categorical", 4, 3, "softmax", "if it is meant as a hidden layer"),
        ("categorical", 4, 4, "sigmoid", "if it is meant as a hidden layer"),
        ("sparse", 4, 128, "sigmoid", "if it is meant as a hidden layer"),
    ],
)
def test_an_output_that_contradicts_the_labels_is_refused(
    mode: str, classes: int, units: int, activation: str, hint: str
) -> None:
    (problem,) = check_output(
        make_config(mode, {"Dense": {"units": units, "activation": activation}}), classes
    )
    assert problem.where == "model.layers[1]"
    for part in (f"{units} {activation} unit", f"class_mode {mode}", f"{classes} classes", "_crossentropy"):
        assert part in problem.what
    assert hint in problem.hint
    wanted = "units: 1, activation: sigmoid" if mode == "binary" else f"units: {classes}, activation: softmax"
    assert wanted in problem.hint


@pytest.mark.parametrize("last", ["Softmax", {"Activation": "softmax"}, {"Activation": "sigmoid"}])
def test_an_activation_of_its_own_at_the_end_is_refused(last: Any) -> None:
    (problem,) = check_output(make_config("categorical", last), 3)
    assert "units: 3, activation: softmax" in problem.hint


def test_another_activation_at_the_end_is_a_hidden_layer() -> None:
    assert check_output(make_config("categorical", {"Activation": "relu"}), 3) == []


def test_binary_needs_two_classes() -> None:
    (problem,) = check_output(make_config("binary"), 3)
    assert problem.what == "binary requires exactly two classes; found 3"


@pytest.mark.parametrize(
    ("mode", "loss", "meant"),
    [
        ("sparse", "categorical_crossentropy", "categorical"),
        ("sparse", "CategoricalCrossentropy", "categorical"),
        ("categorical", "sparse_categorical_crossentropy", "sparse"),
        ("categorical", "binary_crossentropy", "binary"),
        ("binary", "categorical_crossentropy", "categorical"),
    ],
)
def test_a_loss_for_other_labels_is_refused(mode: str, loss: str, meant: str) -> None:
    (problem,) = check_output(make_config(mode, loss=loss), 2)
    assert problem.where == "training.loss"
    assert loss in problem.what
    assert f"class_mode {mode}" in problem.what
    assert f"data.class_mode {meant}" in problem.hint


@pytest.mark.parametrize(
    ("mode", "loss"),
    [
        ("binary", "mse"),
        ("categorical", "KLDivergence"),
        ("categorical", "MeanSquaredError"),
        ("binary", "bce"),
    ],
)
def test_a_loss_may_have_any_of_its_names(mode: str, loss: str) -> None:
    assert check_output(make_config(mode, loss=loss), 2) == []


@pytest.mark.parametrize(
    ("mode", "metric"),
    [
        ("categorical", "sparse_categorical_accuracy"),
        ("categorical", "binary_accuracy"),
        ("sparse", "AUC"),
        ("sparse", "Precision"),
        ("sparse", "recall"),
        ("sparse", "categorical_accuracy"),
        ("binary", "top_k_categorical_accuracy"),
    ],
)
def test_a_metric_for_other_labels_is_refused(mode: str, metric: str) -> None:
    (problem,) = check_output(make_config(mode, metrics=["accuracy", metric]), 2)
    assert problem.where == "training.metrics[1]"
    assert metric in problem.what
    assert metric not in problem.hint.split(", ")


def test_all_contradictions_are_found_at_once() -> None:
    config = make_config(
        "sparse", {"Dense": {"units": 2, "activation": "sigmoid"}}, loss="mse", metrics=["auc", "recall"]
    )
    assert [problem.where for problem in check_output(config, 3)] == [
        "model.layers[1]",
        "training.loss",
        "training.metrics[0]",
        "training.metrics[1]",
    ]


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("MaxPooling2D", "max_pooling2d"),
        ("KLDivergence", "kl_divergence"),
        ("AUC", "auc"),
        ("TopKCategoricalAccuracy", "top_k_categorical_accuracy"),
        ("mse", "mean_squared_error"),
    ],
)
def test_snake_case_is_that_of_keras(name: str, snake: str) -> None:
    assert snake_case(name) == snake


@pytest.mark.parametrize("module", ["config.head", "run.model_metadata", "batches.featurewise"])
def test_tensorflow_is_not_needed(module: str) -> None:
    code = f"import imgtrain.{module}, sys; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("mode", "mixed_mode", "mixed_loss"),
    [
        ("binary", "binary", "binary_crossentropy"),
        ("categorical", "categorical", "categorical_crossentropy"),
        ("sparse", "categorical", "categorical_crossentropy"),
    ],
)
@pytest.mark.parametrize("option", ["mixup", "cutmix"])
def test_mixed_labels_are_shares_in_training_and_the_loss_outside_of_it_stays(
    mode: str, mixed_mode: str, mixed_loss: str, option: str
) -> None:
    plain = make_config(mode)
    assert (training_class_mode(plain), resolve_training_loss(plain)) == (mode, resolve_loss(plain))
    mixed = plain.model_copy(
        update={"augmentation": plain.augmentation.model_validate({option: 0.5, "erasing": 0.1})}
    )
    assert (training_class_mode(mixed), resolve_training_loss(mixed)) == (mixed_mode, mixed_loss)
    assert resolve_loss(mixed) == resolve_loss(plain)
    assert check_output(mixed, 2) == []


def test_a_loss_that_needs_one_class_does_not_fit_mixed_labels() -> None:
    config = make_config("categorical", loss="categorical_hinge")
    assert check_output(config, 3) == []
    mixed = config.model_copy(update={"augmentation": config.augmentation.model_validate({"mixup": 1})})
    (problem,) = check_output(mixed, 3)
    assert "needs one class per image" in problem.what


def test_smoothed_sparse_labels_are_trained_as_rows_and_need_a_loss_of_several_classes() -> None:
    config = make_config("sparse", label_smoothing=0.1)
    assert (training_class_mode(config), resolve_training_loss(config)) == (
        "categorical",
        "categorical_crossentropy",
    )
    assert resolve_loss(config) == "sparse_categorical_crossentropy"
    (problem,) = check_output(make_config("categorical", loss="categorical_hinge", label_smoothing=0.1), 3)
    assert "label_smoothing" in problem.what
