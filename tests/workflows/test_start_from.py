"""A run that starts with the weights of a finished model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgtrain import make_plan
from imgtrain.config import parse_config
from imgtrain.errors import ConfigError, RunFileError
from imgtrain.events import Message
from imgtrain.workflows.train import train

pytestmark = pytest.mark.tensorflow

LAYERS: list[Any] = [
    {"Conv2D": {"filters": 4, "kernel_size": 3, "activation": "relu"}},
    "BatchNormalization",
    {"MaxPooling2D": 2},
    {"Conv2D": {"filters": 5, "kernel_size": 3}},
    "GlobalAveragePooling2D",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_folders: Callable[..., Path]) -> Path:
    """Two data sets, and a plain Keras model with other layer names and three classes."""
    from imgtrain.model.runtime import keras

    root = tmp_path_factory.mktemp("from")
    make_folders(root / "two", {"train": {"a": 8, "b": 8}}, side=12)
    make_folders(root / "three", {"train": {"a": 8, "b": 8, "c": 8}}, side=12)
    layers = keras.layers
    keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu", name="mine"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(5, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    ).save(root / "plain.h5")
    return root


def run(folder: Path, data: str, name: str, *, layers: list[Any] = LAYERS, **options: Any) -> tuple[Any, str]:
    """Train one epoch at a learning rate that changes next to nothing; return the result and the messages."""
    said: list[str] = []
    config = parse_config(
        {
            "data": {"train": str(folder / data / "train"), "target_size": [12, 12]},
            "model": {"layers": layers},
            "training": {"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 1e-12}, "seed": 3},
            "output": {"directory": str(folder / name)},
        }
    )

    def listen(event: Any) -> None:
        if isinstance(event, Message):
            said.append(event.text)

    return train(make_plan(config), emit=listen, **options), "\n".join(said)


def weights(model: Any) -> list[Any]:
    return [layer.get_weights() for layer in model.layers if layer.weights]


def test_a_plain_model_gives_every_layer_that_fits(folder: Path) -> None:
    from imgtrain.model.runtime import keras

    source = weights(keras.models.load_model(folder / "plain.h5", compile=False))
    three, said = run(folder, "three", "same", start_from=folder / "plain.h5")
    assert "4 of 4 layers start with the weights of" in said
    for (new, *_), (old, *_) in zip(weights(three.model), source, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)
    assert json.loads((folder / "same" / "run.json").read_text())["started_from"] == str(folder / "plain.h5")

    # Other classes, and one more layer.
    layers = [*LAYERS, {"Dense": 7}]
    two, said = run(folder, "two", "other", layers=layers, start_from=folder / "same")
    assert "3 of 5 layers start with" in said
    assert said.split("new weights for ")[1].startswith("dense_1, output")
    np.testing.assert_allclose(weights(two.model)[2][0], source[2][0], atol=1e-6)

    # The run remembers where it started.
    with pytest.raises(ConfigError, match="the run to resume started with"):
        run(folder, "two", "other", layers=layers, start_from=folder / "plain.h5", resume=True)


def test_what_cannot_be_started_from(folder: Path) -> None:
    with pytest.raises(RunFileError, match="no such model file or run directory"):
        run(folder, "two", "none", start_from=folder / "missing.keras")
    other = ["Flatten", {"Dense": 9}]
    with pytest.raises(ConfigError, match="has weights of the same shape"):
        run(folder, "two", "none", layers=other, start_from=folder / "plain.h5")
