"""From the loaded splits to their batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgtrain.batches.batches import Batches
from imgtrain.batches.make_batches import make_batches
from imgtrain.config.load import parse_config
from imgtrain.dataset.plan import make_plan
from imgtrain.pixels.load_images import load_images


@pytest.fixture
def make(image_folders: Callable[..., Path]) -> Callable[..., dict[str, Batches]]:
    """Return a function that makes the batches of a configuration; one image of class a is damaged."""
    train = image_folders({"a": 13, "b": 4}, root="train")
    (train / "a/00.png").write_bytes(b"")

    def make(**training: Any) -> dict[str, Batches]:
        data = {"train": str(train), "validation_split": 0.25, "target_size": [8, 8], "batch_size": 50}
        config = parse_config(
            {"data": {**data, "cache": "memory", "on_bad_image": "skip"}, "training": training}
        )
        plan = make_plan(config)
        return make_batches(plan, load_images(plan.config, plan.splits), inference_batch_size=50)

    return make


def test_balanced_weights_make_every_class_of_the_drawn_training_images_count_alike(
    make: Callable[..., dict[str, Batches]],
) -> None:
    batches = make(class_weight="balanced")
    _, labels, weights = batches["train"].batch(0, 0)
    assert weights.dtype == np.float32
    assert (weights @ labels).tolist() == pytest.approx([len(labels) / 2] * 2)
    assert len(batches["validation"].batch(0, 0)) == 2, "weights are for training"


def test_given_weights_are_by_name(make: Callable[..., dict[str, Batches]]) -> None:
    _, labels, weights = make(class_weight={"b": 3})["train"].batch(0, 0)
    assert (weights == np.where(labels[:, 1] == 1, 3, 1)).all()
    assert len(make()["train"].batch(0, 0)) == 2
