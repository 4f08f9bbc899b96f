"""What Keras offers by name, and what of it is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.fault import FaultyValueError

ROOT = Path(__file__).parents[2]
STORED = ROOT / "imgtrain" / "config" / "catalogue.json"


@pytest.fixture(scope="module")
def catalogue():
    return load_catalogue()


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_catalogue_is_what_the_installed_keras_offers(tmp_path):
    if json.loads(STORED.read_text())["keras"] != version("keras"):
        pytest.skip("the catalogue is of another Keras")
    made = tmp_path / "catalogue.json"
    script = ROOT / "scripts" / "make_catalogue.py"
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, script, made], check=True, capture_output=True, env=quiet)
    assert made.read_text() == STORED.read_text()


@pytest.mark.parametrize(
    ("layer", "given", "arguments"),
    [
        ("Flatten", None, {}),
        ("MaxPooling2D", 2, {"pool_size": 2}),
        ("MaxPooling2D", [2, 3], {"pool_size": [2, 3]}),
        ("Dropout", 0.2, {"rate": 0.2}),
        ("Activation", "relu", {"activation": "relu"}),
        ("Dense", {"units": 3, "activation": None}, {"units": 3, "activation": None}),
        ("Dense", {"units": 3, "name": "hidden"}, {"units": 3, "name": "hidden"}),
        ("Dense", {"units": 3, "kernel_regularizer": "l2"}, {"units": 3, "kernel_regularizer": "l2"}),
        (
            "Dense",
            {"units": 3, "kernel_regularizer": {"L2": {"l2": 0.1}}},
            {"units": 3, "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}},
        ),
        (
            "Dense",
            {"units": 3, "kernel_initializer": {"class_name": "HeNormal", "config": {"seed": 1}}},
            {"units": 3, "kernel_initializer": {"class_name": "HeNormal", "config": {"seed": 1}}},
        ),
        (
            "PReLU",
            {"alpha_constraint": {"MaxNorm": 2}},
            {"alpha_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2}}},
        ),
        ("Conv2D", {"filters": 1, "kernel_size": 3, "data_format": "channels_last"}, ...),
    ],
)
def test_bind(catalogue, layer, given, arguments):
    assert catalogue.layer(layer).bind(given) == (given if arguments is ... else arguments)


DENSE = {"units": 3}


@pytest.mark.parametrize(
    ("layer", "given", "path", "message"),
    [
        ("Dense", None, (), "Dense requires units"),
        ("Conv2D", {"filters": 3}, (), "Conv2D requires kernel_size"),
        ("Conv2D", {"fliters": 3, "kernel_size": 3}, ("fliters",), "did you mean 'filters'?"),
        (
            "Dropout",
            {"rate": float("inf")},
            ("rate",),
            "must be a finite number, string, boolean, null or a list of these; got .inf",
        ),
        ("Dropout", {"rate": {"a": 1}}, ("rate",), "must be a finite number"),
        ("Dropout", {"rate": print}, ("rate",), "must be a finite number"),
        ("Dense", DENSE | {"activation": "rleu"}, ("activation",), "did you mean 'relu'?"),
        ("Dense", DENSE | {"activation": {"class_name": "x"}}, ("activation",), "unknown activation"),
        ("LSTM", DENSE | {"recurrent_activation": "x y z"}, ("recurrent_activation",), "allowed: celu"),
        ("Dense", DENSE | {"input_shape": [3]}, ("input_shape",), "follows from data.target_size"),
        ("Conv2D", {"filters": 1, "kernel_size": 1, "dtype": "float16"}, ("dtype",), "training.precision"),
        ("Flatten", {"data_format": "channels_first"}, ("data_format",), "must be channels_last"),
        ("Dense", DENSE | {"name": "a/b"}, ("name",), "without `/`"),
        ("LeakyReLU", {"alpha": 0.1}, ("alpha",), "did you mean 'negative_slope'?"),
        ("Dense", DENSE | {"kernel_regularizer": "l3"}, ("kernel_regularizer",), "unknown regularizer"),
        (
            "Dense",
            DENSE | {"kernel_regularizer": 0.1},
            ("kernel_regularizer",),
            "the name of a regularizer",
        ),
        (
            "Dense",
            DENSE | {"kernel_regularizer": {"L2": {"l1": 1}}},
            ("kernel_regularizer", "L2", "l1"),
            "allowed arguments: l2",
        ),
        (
            "Dense",
            DENSE | {"kernel_constraint": {"class_name": "MaxNorm", "config": {"maximum": 1}}},
            ("kernel_constraint", "config", "maximum"),
            "MaxNorm has no argument 'maximum'",
        ),
        (
            "Dense",
            DENSE | {"kernel_initializer": {"class_name": "Mine", "config": {}, "module": "os"}},
            ("kernel_initializer", "module"),
            "only objects of Keras itself",
        ),
        (
            "Dense",
            DENSE | {"kernel_initializer": {"class_name": "Zeros", "registered_name": "evil"}},
            ("kernel_initializer", "registered_name"),
            "only objects of Keras itself",
        ),
        (
            "Dense",
            DENSE | {"kernel_initializer": {"class_name": ["x"]}},
            ("kernel_initializer",),
            "must be the name",
        ),
    ],
)
def test_bind_refuses(catalogue, layer, given, path, message):
    with pytest.raises(ValueError, match=r".") as caught:
        catalogue.layer(layer).bind(given)
    (fault,) = caught.value.faults
    assert fault.path == path
    assert message in str(caught.value)


def test_bind_tells_all_at_once(catalogue):
    with pytest.raises(FaultyValueError) as caught:
        catalogue.layer("Conv2D").bind({"strids": 2, "activation": "x", "filters": 3})
    assert [fault.path for fault in caught.value.faults] == [("strids",), ("activation",), ()]


def test_second_names_lead_to_the_first(catalogue):
    assert catalogue.layer("MaxPool2D").name == "MaxPooling2D"
    assert catalogue.layer("Convolution2D").name == "Conv2D"


@pytest.mark.parametrize("name", ["adam", "Adam", "ADAM"])
def test_optimizers_in_any_case(catalogue, name):
    assert catalogue.optimizer(name).name == "Adam"


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("Lambda", "runs custom code"),
        ("TFSMLayer", "runs custom code"),
        ("TorchModuleWrapper", "runs custom code"),
        ("InputLayer", "follows from data.target_size"),
        ("Input", "follows from data.target_size"),
        ("Concatenate", "takes several inputs"),
        ("TimeDistributed", "wraps other layers"),
        ("StringLookup", "for text, categories or sound"),
        ("MixUp", "changes the labels"),
        ("RandomCrop", "use CenterCrop"),
        ("Equalization", "use AutoContrast"),
        ("lambda", "runs custom code"),
        ("maxpooling2d", "did you mean 'MaxPooling2D'?"),
        ("os.system", "unknown layer"),
    ],
)
def test_layers_that_cannot_be_used_say_why(catalogue, layer, reason):
    with pytest.raises(FaultyValueError, match=r".") as caught:
        catalogue.layer(layer)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "log_name", "better"),
    [
        ("accuracy", "accuracy", "max"),
        ("acc", "acc", "max"),
        ("AUC", "AUC", "max"),
        ("mse", "mse", "min"),
        ("true_positives", "true_positives", None),
    ],
)
def test_metrics(catalogue, name, log_name, better):
    metric = catalogue.metric(name)
    assert (metric.log_name, metric.better) == (log_name, better)
    assert catalogue.metric_log_name(name) == log_name


@pytest.mark.parametrize(
    ("find", "name", "message"),
    [
        ("metric", "F1Score", "cannot be created by name"),
        ("metric", "accuray", "did you mean 'accuracy'?"),
        ("loss", "ctc", "cannot be created by name"),
        ("loss", "Loss", "cannot be created by name"),
        ("loss", "categorical_crossentrop", "did you mean 'categorical_crossentropy'?"),
        ("optimizer", "rms", "unknown optimizer"),
        ("optimizer", "LossScaleOptimizer", "training.precision"),
        ("optimizer", "Optimizer", "base class"),
        ("optimizer", "schedulefreeadamw", "use adamw"),
    ],
)
def test_other_names_that_cannot_be_used(catalogue, find, name, message):
    with pytest.raises(FaultyValueError, match=r".") as caught:
        getattr(catalogue, find)(name)
    assert message in str(caught.value)
