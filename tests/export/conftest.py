"""A run with a small network, made without training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imgtrain.run.model_metadata import ModelMetadata

SIDE = 12
CLASSES = ("dark", "grey", "light")


@pytest.fixture(scope="session")
def exportable_run(tmp_path_factory: pytest.TempPathFactory, make_folders) -> Path:
    """Return a run directory with a network, its configuration, and training and test images.

    The network has what is difficult to convert: statistics that are constants of a layer, batch normalization, and
    the mean over mirror images.
    """
    from imgtrain.model.archive import save_model
    from imgtrain.model.runtime import keras

    root = tmp_path_factory.mktemp("export")
    counts = dict.fromkeys(CLASSES, 10)
    data = make_folders(root / "data", {"train": counts, "test": counts}, side=SIDE)
    run = root / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"status": "completed"}))
    (run / "config.yaml").write_text(
        f"data: {{train: {data}/train, test: {data}/test, target_size: [{SIDE}, {SIDE}]}}\n"
    )
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.1, 0.1]),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(len(CLASSES), activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy")
    _fit_output(model)
    metadata = ModelMetadata(
        format_version=2,
        class_names=CLASSES,
        target_size=(SIDE, SIDE),
        color_mode="rgb",
        class_mode="categorical",
        resize="stretch",
        interpolation="bilinear",
        abstain_below=0.4,
        flip_average=True,
        test_folder=str(data / "test"),
        data_fingerprint="sha256:0",
        versions={},
        created="2026-11-21T00:00:00+00:00",
    )
    save_model(model, metadata, run / "model.keras")
    return run


def _fit_output(model) -> None:
    """Choose the last layer by least squares, so that the three levels of the images are told apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % len(CLASSES)
    images = np.clip(
        40 + 90 * labels[:, None, None, None] + rng.integers(-35, 36, (90, SIDE, SIDE, 3)), 0, 255
    )
    *_, hidden, output = model.layers
    features = images.astype(np.float32)
    for layer in model.layers[:-1]:
        features = layer(features, training=False)
    inputs = np.concatenate([np.asarray(features), np.ones((90, 1))], axis=1)
    weights = np.linalg.lstsq(inputs, 6 * np.eye(len(CLASSES))[labels], rcond=None)[0].astype(np.float32)
    output.set_weights([weights[:-1], weights[-1]])
    assert hidden.units == len(weights) - 1


@pytest.fixture
def fast_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure latency only as often as needed to have figures."""
    monkeypatch.setattr("imgtrain.export.latency._SECONDS", 0.0)
