"""Every layer that a configuration may name trains, is saved and loaded, and predicts the same; or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_examples import EXAMPLES, VARIANTS

from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.load import parse_config
from imgtrain.config.saving import check_saving
from imgtrain.config.schema import Config
from imgtrain.evaluation.predict import predictor
from imgtrain.model.archive import load_model, save_model
from imgtrain.model.build import build_network, float32_copy
from imgtrain.model.check_network import check_network
from imgtrain.model.compile import compile_network
from imgtrain.model.runtime import keras
from imgtrain.run.model_metadata import ModelMetadata
from imgtrain.training.steps import Steps

pytestmark = pytest.mark.tensorflow

# One that is computed in float32, one that an .h5 file cannot hold, one that no file can, a fused one.
FAST = ("ActivityRegularization", "Conv2D", "RandomBrightness", "RandomShear")
# What differs between bfloat16 and float32 in a probability.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05}
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
LABELS = np.eye(3, dtype=np.float32)[RNG.integers(0, 3, 8)]
METADATA = ModelMetadata(
    class_names=("a", "b", "c"),
    target_size=(8, 8),
    color_mode="rgb",
    class_mode="categorical",
    resize="stretch",
    interpolation="bilinear",
    data_fingerprint="00",
    versions={"keras": keras.__version__},
    created="2026-01-01T00:00:00+00:00",
)


class OneBatch:
    """Stands for the batches of a split."""

    def batch(self, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        return IMAGES, LABELS


def make_config(layers: list[Any], suffix: str) -> Config:
    return parse_config(
        {
            "data": {"train": "x", "target_size": [8, 8]},
            "model": {"layers": layers},
            "output": {"model": f"model{suffix}"},
        }
    )


def accepted_formats(layers: list[Any], precision: str) -> list[str]:
    """Return the suffixes of the files that the network check lets a run end with."""
    return [
        suffix
        for suffix in (".keras", ".h5")
        if not check_network(make_config(layers, suffix), class_count=3, precision=precision)
    ]


def train_save_load_and_predict(layers: list[Any], precision: str, suffixes: list[str], folder: Path) -> None:
    config = make_config(layers, ".keras")
    model = build_network(config, class_count=3, statistics=None, precision=precision, for_training=True)
    compile_network(model, config, precision=precision, for_training=True)
    steps = Steps(model, OneBatch())  # type: ignore[arg-type]
    for size in (8, 8, 3):
        assert np.isfinite(list(steps.train((IMAGES[:size], LABELS[:size])).values())).all()
    steps.validate((IMAGES[:5], LABELS[:5]))
    copy = float32_copy(model, config)
    wanted = predictor(copy)(IMAGES)
    np.testing.assert_allclose(predictor(model)(IMAGES), wanted, rtol=0, atol=TOLERANCE[precision])
    for suffix in suffixes:
        path = folder / f"model{suffix}"
        save_model(copy, METADATA, path)
        # As everybody loads it, with warnings as errors; and as imgtrain does.
        for loaded in (keras.models.load_model(path), load_model(path).model):
            np.testing.assert_allclose(predictor(loaded)(IMAGES), wanted, rtol=0, atol=1e-5)


def check_layer(layers: list[Any], precision: str, folder: Path) -> list[str]:
    suffixes = accepted_formats(layers, precision)
    if suffixes:
        train_save_load_and_predict(layers, precision, suffixes, folder)
    keras.utils.clear_session()
    return suffixes


def test_there_is_an_example_of_every_layer() -> None:
    assert EXAMPLES.keys() == load_catalogue().layers.keys()
    assert all(name in str(layers) for name, layers in EXAMPLES.items())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in EXAMPLES]
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_layer_trains_and_comes_back_or_is_refused(name: str, precision: str, tmp_path: Path) -> None:
    accepted = check_layer(EXAMPLES[name], precision, tmp_path)
    # `imgtrain check` tells the same without TensorFlow.
    assert accepted == [
        suffix for suffix in (".keras", ".h5") if not check_saving(make_config(EXAMPLES[name], suffix))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_rare_arguments_and_odd_places_too(name: str, tmp_path: Path) -> None:
    check_layer(VARIANTS[name], "bfloat16", tmp_path)
