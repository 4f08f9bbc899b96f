"""Loss and metrics on mixed labels: the loss takes the shares, metrics the class with the largest one."""

from __future__ import annotations

import numpy as np
import pytest

from imgtrain.config import parse_config

pytestmark = pytest.mark.tensorflow

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]], np.float32)
SHARES = np.array([[0.6, 0.4, 0], [0, 0.8, 0.2], [0, 0.55, 0.45]], np.float32)  # right, wrong, right
WEIGHTS = np.array([1, 2, 3], np.float32)


def compiled(mode, classes, metrics, *, soft_labels=True):
    from imgtrain.model.compile import compile_network
    from imgtrain.model.runtime import keras

    # The outputs are the inputs, so that a test chooses them.
    units = 1 if mode == "binary" else classes
    model = keras.Sequential([keras.Input((units,)), keras.layers.Activation("linear")])
    config = parse_config(
        {
            "data": {"train": "x", "class_mode": mode},
            "augmentation": {"mixup": 0.4},
            "training": {"metrics": metrics},
        }
    )
    compile_network(model, config, soft_labels=soft_labels)
    return model


@pytest.mark.parametrize("mode", ["categorical", "sparse"])
def test_several_classes(mode):
    model = compiled(mode, 3, ["accuracy"])
    logs = model.evaluate(PROBABILITIES, SHARES, verbose=0, return_dict=True)
    assert logs["accuracy"] == pytest.approx(2 / 3)
    assert logs["loss"] == pytest.approx(-(SHARES * np.log(PROBABILITIES)).sum(axis=1).mean(), rel=1e-5)


def test_two_classes_in_one_column():
    model = compiled("binary", 2, ["accuracy", "AUC", "Precision"])
    probabilities = np.array([[0.8], [0.7], [0.1]], np.float32)
    shares = np.array([[0.9], [0.3], [0.4]], np.float32)  # right, wrong, right
    logs = model.evaluate(probabilities, shares, verbose=0, return_dict=True)
    assert logs["accuracy"] == pytest.approx(2 / 3)
    assert logs["AUC"] == pytest.approx(1)
    assert logs["Precision"] == pytest.approx(1 / 2)
    wanted = -(shares * np.log(probabilities) + (1 - shares) * np.log(1 - probabilities)).mean()
    assert logs["loss"] == pytest.approx(wanted, rel=1e-5)


def test_weights_count_in_the_loss():
    model = compiled("sparse", 3, ["accuracy"])
    logs = model.evaluate(PROBABILITIES, SHARES, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    each = -(SHARES * np.log(PROBABILITIES)).sum(axis=1)
    assert logs["loss"] == pytest.approx((WEIGHTS * each).mean(), rel=1e-5)


@pytest.mark.parametrize("metric", ["SparseTopKCategoricalAccuracy", "SparseCategoricalCrossentropy"])
def test_metrics_of_integers_see_integers(metric):
    logs = compiled("sparse", 3, [metric]).evaluate(PROBABILITIES, SHARES, verbose=0, return_dict=True)
    plain = compiled("sparse", 3, [metric], soft_labels=False)
    wanted = plain.evaluate(PROBABILITIES, SHARES.argmax(axis=1), verbose=0, return_dict=True)
    names = logs.keys() - {"loss"}
    assert names == wanted.keys() - {"loss"} != set()
    assert all(logs[name] == pytest.approx(wanted[name]) for name in names)


def test_hard_labels_are_what_they_are_without_mixing():
    """Those of the validation images."""
    labels = np.eye(3, dtype=np.float32)[[0, 1, 1]]
    mixed = compiled("categorical", 3, ["accuracy", "AUC"])
    plain = compiled("categorical", 3, ["accuracy", "AUC"], soft_labels=False)
    one, other = (
        model.evaluate(PROBABILITIES, labels, verbose=0, return_dict=True) for model in (mixed, plain)
    )
    assert one == other


def test_a_model_compiled_for_mixed_labels_is_saved_as_keras_own(tmp_path):
    from imgtrain.model.runtime import keras

    model = compiled("categorical", 3, ["accuracy"])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    logs = loaded.evaluate(PROBABILITIES, np.eye(3)[[0, 1, 1]], verbose=0, return_dict=True)
    assert logs["accuracy"] == pytest.approx(2 / 3)
