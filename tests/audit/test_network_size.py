"""The estimate of the network, held against Keras's own count."""

from __future__ import annotations

from typing import Any

import pytest

from imgtrain.audit.network_size import estimate_network
from imgtrain.config import parse_config

LAYERS: dict[str, list[Any]] = {
    "plain": [{"Conv2D": {"filters": 8, "kernel_size": 3}}, {"MaxPooling2D": 2}, "Flatten", {"Dense": 16}],
    "strided": [
        {"Conv2D": {"filters": 8, "kernel_size": [3, 5], "strides": 2, "padding": "same", "use_bias": False}},
        "BatchNormalization",
        {"Activation": "relu"},
        {"AveragePooling2D": {"pool_size": 3, "strides": 2, "padding": "same"}},
        "GlobalAveragePooling2D",
        {"Dropout": 0.3},
    ],
    "separable": [
        {"SeparableConv2D": {"filters": 12, "kernel_size": 3, "depth_multiplier": 2}},
        {"DepthwiseConv2D": {"kernel_size": 3}},
        {"Conv2D": {"filters": 6, "kernel_size": 3, "dilation_rate": 2, "groups": 3}},
        "GlobalMaxPooling2D",
        {"Dense": 3},
    ],
}


def config(layers: list[Any]) -> Any:
    return parse_config({"data": {"train": ".", "target_size": [30, 41]}, "model": {"layers": layers}})


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", LAYERS)
def test_equals_keras(name: str) -> None:
    from imgtrain.model.build import build_network

    asked = config(LAYERS[name])
    model = build_network(asked, class_count=3, statistics=None)
    assert estimate_network(asked, classes=3).parameters == model.count_params()


def test_every_output_is_counted() -> None:
    size = estimate_network(config(["Flatten", {"Dense": {"units": 7, "use_bias": False}}]), classes=3)
    assert size.activations == 30 * 41 * 3 + 7


def test_unknown_layers_are_named() -> None:
    size = estimate_network(
        config([{"Conv2DTranspose": {"filters": 3, "kernel_size": 2}}, "Flatten"]), classes=3
    )
    assert size.unknown == ("Conv2DTranspose", "Flatten")
