"""Training in two stages: the head on a frozen backbone, then layers of the backbone."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgtrain import make_plan
from imgtrain.config import load_config
from imgtrain.events import BatchTrained
from imgtrain.workflows.train import train

pytestmark = pytest.mark.tensorflow


class Killed(BaseException):
    """Stands for the end of the process: nothing handles it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_folders: Callable[..., Path]) -> Path:
    """Images, a model to start from, and a configuration."""
    from imgtrain.model.runtime import keras

    counts = {"train": 12, "validation": 5, "test": 5}
    root = make_folders(
        tmp_path_factory.mktemp("fine"), {split: {"a": n, "b": n} for split, n in counts.items()}, side=12
    )
    keras.utils.set_random_seed(1)
    layers = keras.layers
    keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, name="first"),
            layers.BatchNormalization(name="norm", momentum=0.5),
            layers.Conv2D(4, 3, name="second"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    ).save(root / "start.h5")
    config = {
        "data": {
            "train": "train",
            "validation": "validation",
            "test": "test",
            "target_size": [12, 12],
            "batch_size": 7,
        },
        "augmentation": {"horizontal_flip": True},
        "preprocessing": {"rescale": 1},
        "model": {"backbone": {"from": "start.h5"}, "layers": [{"Dropout": 0.2}]},
        "training": {
            "epochs": 2,
            "optimizer": {"name": "adam", "learning_rate": 0.05},
            "schedule": "cosine",
            "fine_tune": {"from": "norm", "epochs": 2, "learning_rate": 0.01},
            "checkpoint_minutes": 1e-6,
        },
    }
    (root / "c.yaml").write_text(json.dumps(config))
    return root


def run(folder: Path, name: str, *changes: str, **options: Any) -> Any:
    config = load_config(folder / "c.yaml", [f"output.directory={folder / name}", *changes])
    return train(make_plan(config), **options)


def history(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name / "history.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> Any:
    return run(folder, "unbroken")


def test_the_second_stage_trains_the_named_layers_in_inference_mode(folder: Path, unbroken: Any) -> None:
    from imgtrain.model.runtime import keras

    before = keras.models.load_model(folder / "start.h5", compile=False)
    after = keras.models.load_model(folder / "unbroken" / "model.keras", compile=False).layers[0]

    def changed(layer: str) -> list[bool]:
        pairs = zip(before.get_layer(layer).get_weights(), after.get_layer(layer).get_weights(), strict=True)
        return [not np.array_equal(old, new) for old, new in pairs]

    assert changed("first") == [False, False]
    # Scale and offset are trained, the moving mean and variance stay.
    assert changed("norm") == [True, True, False, False]
    assert changed("second") == [True, True]
    rows = history(folder, "unbroken")
    assert [row["stage"] for row in rows] == ["1", "1", "2", "2"]
    # The schedule starts again at the lower learning rate.
    assert float(rows[0]["learning_rate"]) > 0.01 >= float(rows[2]["learning_rate"]) > 0
    assert len(unbroken.history.epochs) == 4


@pytest.mark.parametrize("batch", [3, 8, 11])  # in the first stage, at its end, and in the second stage
def test_a_killed_run_continues_bit_identically(folder: Path, unbroken: Any, batch: int) -> None:
    trained = 0

    def kill(event: Any) -> None:
        nonlocal trained
        trained += isinstance(event, BatchTrained)
        if trained == batch + 1:
            raise Killed

    name = f"killed-{batch}"
    with pytest.raises(Killed):
        run(folder, name, emit=kill)
    resumed = run(folder, name, resume=True)
    assert history(folder, name) == history(folder, "unbroken")
    for one, two in zip(resumed.model.get_weights(), unbroken.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_completed_run_is_continued_in_its_last_stage(folder: Path) -> None:
    changes = ("training.schedule=null", "training.early_stopping=null")
    run(folder, "longer", *changes)
    again = run(folder, "longer", *changes, "training.fine_tune.epochs=3", resume=True)
    assert [epoch.stage for epoch in again.history.epochs] == [1, 1, 2, 2, 2]
