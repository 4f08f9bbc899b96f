"""Shapes computed without TensorFlow: what Keras says of a network is told before it starts, in the same words."""

from __future__ import annotations

from typing import Any

import pytest

from imgtrain.config.layers import check_shapes
from imgtrain.config.load import parse_config
from imgtrain.config.schema import Config

CONV: dict[str, Any] = {"Conv2D": {"filters": 4, "kernel_size": 3}}
SOFTMAX: dict[str, Any] = {"Dense": {"units": 3, "activation": "softmax"}}
FAULTY: dict[str, list[Any]] = {
    "pools too often": [{"MaxPooling2D": 2}] * 5,
    "convolves too often": [CONV] * 8,
    "convolves too widely": [{"Conv2D": {"filters": 1, "kernel_size": 5, "dilation_rate": 4}}],
    "pools too large": [{"AveragePooling2D": {"pool_size": [2, 17], "strides": 1}}],
    "an image after Flatten": ["Flatten", "BatchNormalization", CONV],
    "an image after pooling": ["GlobalAveragePooling2D", {"MaxPooling2D": 2}],
    "no Flatten": [CONV],
    "no Flatten before Dense": [CONV, {"Dense": 8}, {"Dense": 8}],
    "a Dense before the last convolution": [{"Dense": 8}, CONV],
    "no Flatten before a written output": [{"SeparableConv2D": {"filters": 4, "kernel_size": 3}}, SOFTMAX],
    "an output alone": [SOFTMAX],
}
FINE: dict[str, list[Any]] = {
    "same padding": [{"Conv2D": {"filters": 4, "kernel_size": 17, "padding": "SAME"}}, "Flatten"],
    "kept sides": [
        {"GlobalAveragePooling2D": {"keepdims": True}},
        {"Conv2D": {"filters": 4, "kernel_size": 1}},
        "Flatten",
    ],
    "strides": [{"DepthwiseConv2D": {"kernel_size": 3, "strides": 2}}, {"MaxPooling2D": [7, 7]}, "Flatten"],
    "an unknown layer": [{"UpSampling2D": 2}, {"MaxPooling2D": 32}, "Flatten"],
    "a written output": ["Flatten", SOFTMAX],
}


def make_config(layers: list[Any]) -> Config:
    return parse_config({"data": {"train": "x", "target_size": [16, 16]}, "model": {"layers": layers}})


@pytest.mark.parametrize("name", FINE)
def test_networks_that_fit_are_fine(name: str) -> None:
    assert check_shapes(make_config(FINE[name])) == []


@pytest.mark.parametrize(
    "layers", [[{"MaxPooling2D": [2, 2, 2]}], [{"Conv2D": {"filters": "x", "kernel_size": "y"}}]]
)
def test_arguments_that_keras_rejects_are_left_to_keras(layers: list[Any]) -> None:
    assert check_shapes(make_config(layers)) == []


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", FAULTY)
def test_the_problem_is_the_same_with_and_without_tensorflow(name: str) -> None:
    from imgtrain.model.check_network import check_network

    config = make_config(FAULTY[name])
    (problem,) = check_shapes(config)
    assert [problem] == check_network(config, class_count=3)
    assert "shapes so far: input 16×16×3" in problem.hint


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", FINE)
def test_what_fits_here_fits_in_keras(name: str) -> None:
    from imgtrain.model.check_network import check_network

    assert check_network(make_config(FINE[name]), class_count=3) == []
