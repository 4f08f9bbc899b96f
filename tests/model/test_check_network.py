"""What would fail after the images are decoded, or after the last epoch, is found before, and its layer named."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.load import parse_config
from imgtrain.config.saving import check_saving
from imgtrain.config.schema import Config
from imgtrain.errors import Problem
from imgtrain.model import check_network as module
from imgtrain.model import training_layers
from imgtrain.model.check_network import check_network
from imgtrain.model.runtime import keras

pytestmark = pytest.mark.tensorflow

CONV: dict[str, Any] = {"Conv2D": {"filters": 4, "kernel_size": 3, "activation": "relu"}}


def make_config(layers: list[Any], *, suffix: str = ".keras", side: int = 8, **training: Any) -> Config:
    return parse_config(
        {
            "data": {"train": "x", "target_size": [side, side]},
            "model": {"layers": layers},
            "training": training,
            "output": {"model": f"model{suffix}"},
        }
    )


def check(layers: list[Any], *, precision: str = "float32", **options: Any) -> list[Problem]:
    return check_network(make_config(layers, **options), class_count=3, precision=precision)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_usual_network_is_fine_and_the_users_dtype_policy_stays(suffix: str) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layers = [CONV, {"MaxPooling2D": 2}, "BatchNormalization", "Flatten", {"Dropout": 0.1}]
        assert check(layers, suffix=suffix, precision="bfloat16") == []
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("layers", "suffix", "precision", "said"),
    [
        (
            [CONV, {"RMSNormalization": {"axis": [1, 2]}}, "Flatten"],
            ".keras",
            "float32",
            "layer 2, RMSNormalization: Keras cannot train it: Dimensions must be equal",
        ),
        (
            [CONV, {"RandomGrayscale": 0.5}, "Flatten"],
            ".keras",
            "float32",
            "layer 2, RandomGrayscale: Keras cannot train it: Invalid channel size",
        ),
        (
            [
                {"Conv2D": {"filters": 3, "kernel_size": 3}},
                {"RandAugment": {"value_range": [0, 1]}},
                "Flatten",
            ],
            ".keras",
            "bfloat16",
            "layer 2, RandAugment: Keras cannot train it: Invalid dtype",
        ),
        (
            [{"RandomShear": {"y_factor": 0.2}}, "Flatten"],
            ".keras",
            "float32",
            "layer 1, RandomShear: Keras cannot read its configuration back: The `factor` argument should be",
        ),
        (
            [{"Solarization": {"value_range": [0, 1]}}, "Flatten"],
            ".h5",
            "float32",
            "layer 1, Solarization: Keras cannot save it to an .h5 file: cannot pickle",
        ),
        (
            [{"LayerNormalization": {"axis": [1, 2, 3]}}, "Flatten"],
            ".h5",
            "float32",
            "layer 1, LayerNormalization: Keras restores axis: [1, 2, 3] from an .h5 file as -1",
        ),
    ],
)
def test_a_layer_that_would_fail_is_named(layers: list[Any], suffix: str, precision: str, said: str) -> None:
    (problem,) = check(layers, suffix=suffix, precision=precision)
    assert problem.what.startswith(said)
    assert problem.where == f"model.layers[{said[6:7]}]".replace(said[6:7], str(int(said[6:7]) - 1))
    assert problem.hint == ("set output.model to model.keras" if suffix == ".h5" else "")


@pytest.mark.parametrize(
    ("stands_for", "broken", "said"),
    [
        (
            "CenterCrop",
            "RandomCrop",
            "layer 2, RandomCrop: its output is 4×4×4 in training and 6×6×4 otherwise",
        ),
        ("AutoContrast", "Equalization", "layer 2, Equalization: Keras cannot connect it to other layers"),
    ],
)
def test_layers_that_no_configuration_can_name_would_be_found_too(
    monkeypatch: pytest.MonkeyPatch, stands_for: str, broken: str, said: str
) -> None:
    plain_class = training_layers.plain_class
    monkeypatch.setattr(
        training_layers,
        "plain_class",
        lambda spec: getattr(keras.layers, broken) if spec.name == stands_for else plain_class(spec),
    )
    arguments = {"height": 4, "width": 4} if stands_for == "CenterCrop" else {"value_range": [0, 1]}
    (problem,) = check([CONV, {stands_for: arguments}, "Flatten"])
    assert problem.what.startswith(said)
    assert problem.where == "model.layers[1]"


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_an_optimizer_that_keras_cannot_load_is_refused_with_tensorflow_and_without(suffix: str) -> None:
    for name in load_catalogue().optimizers:
        config = make_config(["Flatten"], suffix=suffix, optimizer={"name": name, "use_ema": True})
        problems = check_network(config, class_count=3)
        assert [problem.where for problem in problems] == [problem.where for problem in check_saving(config)]
        assert bool(problems) == (name == "Lamb" and suffix == ".h5")


def test_the_weights_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgtrain.model.layer_stack.memory_bytes", lambda: 2**50)
    layers = ["Flatten", {"Dense": 20_000}, {"Dense": 20_000}]
    assert check(layers) == []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # 1.7 GB in each Dense layer, if it were allocated.
    assert check(["Flatten", {"Dense": 20_001}, {"Dense": 20_000}, {"Dense": 20_000}]) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_failure_of_the_whole_network_alone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearse = module._rehearse

    def fail_together(layers: Any, suffix: str, **options: Any) -> None:
        if len(layers) > 2:
            raise module._Unfit("Keras cannot train it: together")
        rehearse(layers, suffix, **options)

    monkeypatch.setattr(module, "_rehearse", fail_together)
    (problem,) = check([CONV, "Flatten"])
    assert (problem.where, problem.what) == ("model.layers", "Keras cannot train it: together")


def test_every_problem_is_told_at_once() -> None:
    layers = [{"RandomShear": {"x_factor": 0.2}}, {"RandomSharpness": {"factor": 0.1}}, "Flatten"]
    problems = check(layers, suffix=".h5", optimizer={"name": "adam", "beta_1": 2})
    assert [problem.where for problem in problems] == [
        "model.layers[0]",
        "model.layers[1]",
        "training.optimizer.beta_1",
    ]
    assert not Path("model.h5").exists()
