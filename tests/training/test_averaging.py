"""The moving average of the weights is what is validated, monitored, kept and resumed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgtrain.config import parse_config
from imgtrain.dataset.plan import make_plan
from imgtrain.errors import InterruptedRunError

pytestmark = pytest.mark.tensorflow

EPOCHS = 4
STOPPING = {"monitor": "val_loss", "patience": EPOCHS}


@dataclass
class Trained:
    """What is left of a call of `fit`: the model, its history and the averages at the end of each epoch."""

    model: Any
    history: Any
    averages: list[list[np.ndarray]]
    validation: Any


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    from imgtrain.model.build import build_and_compile
    from imgtrain.training.fit import fit
    from imgtrain.workflows.library import open_batches

    # Noise: the loss never comes to rest, and the trained weights stay away from their average.
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("images")
    for folder in ("train/a", "train/b", "validation/a", "validation/b"):
        (root / folder).mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{index}.png")
    data = {"train": str(root / "train"), "validation": str(root / "validation"), "target_size": [8, 8]}

    def run(
        precision: str = "float32", wrap: Callable[[Any], Any] = lambda batches: batches, **training: Any
    ) -> Trained:
        checkpoints = training.pop("checkpoints", None)
        optimizer = {"name": "sgd", "learning_rate": 3.0, "use_ema": True, "ema_momentum": 0.8}
        training = {"epochs": EPOCHS, "optimizer": optimizer, "early_stopping": STOPPING, **training}
        config = parse_config(
            {
                "data": {**data, "batch_size": 4, "cache": "memory"},
                "model": {"layers": ["BatchNormalization", "GlobalAveragePooling2D"]},
                "training": training,
            }
        )
        batches = open_batches(make_plan(config))
        assert batches.validation is not None
        model = build_and_compile(batches.plan, batches.train.batches, precision, for_training=True)
        averages: list[list[np.ndarray]] = []
        inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)

        def keep(_: Any) -> None:
            averages.append([np.asarray(average) for average in inner._model_variables_moving_average])

        history = fit(
            model,
            batches.train.batches,
            wrap(batches.validation.batches),
            config.training,
            checkpoints=checkpoints,
            on_epoch=keep,
        )
        return Trained(model, history, averages, batches.validation)

    return run


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_average_is_validated_and_that_of_the_best_epoch_is_kept(
    train: Callable[..., Trained], precision: str
) -> None:
    done = train(precision)
    losses = [epoch.logs["val_loss"] for epoch in done.history.epochs]
    assert done.history.best_epoch == int(np.argmin(losses))
    for weight, average in zip(
        done.model.trainable_variables, done.averages[done.history.best_epoch], strict=True
    ):
        np.testing.assert_array_equal(weight, average)
    logs = done.model.evaluate(done.validation, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(min(losses), rel=1e-3)


def test_without_early_stopping_the_last_average_is_kept(train: Callable[..., Trained]) -> None:
    done = train(early_stopping=None)
    for weight, average in zip(done.model.trainable_variables, done.averages[-1], strict=True):
        np.testing.assert_array_equal(weight, average)
    assert done.history.best_epoch == EPOCHS - 1


def test_training_goes_on_from_the_trained_weights(train: Callable[..., Trained]) -> None:
    """Validation changes nothing about the training: the losses of every epoch are those without it."""
    beside = train()
    alone = train(early_stopping=None, wrap=lambda batches: None)
    assert [epoch.logs["loss"] for epoch in beside.history.epochs] == [
        epoch.logs["loss"] for epoch in alone.history.epochs
    ]


class Stopped:
    """Validation batches with a signal to stop in the middle of the second epoch's."""

    def __init__(self, batches: Any) -> None:
        self._batches, self._passes = batches, 0

    def read_ahead(self, epoch: int) -> Iterator[Any]:
        self._passes += 1
        for batch in self._batches.read_ahead(epoch):
            if self._passes == 2:
                signal.raise_signal(signal.SIGTERM)
            yield batch


def test_a_stop_during_validation_is_resumed_bit_identically(
    train: Callable[..., Trained], tmp_path: Path
) -> None:
    from imgtrain.training.checkpoint_store import CheckpointStore
    from imgtrain.training.checkpointing import Checkpointer

    store = CheckpointStore(tmp_path)
    with pytest.raises(InterruptedRunError):
        train(wrap=Stopped, checkpoints=Checkpointer(store, origin={}, minutes=60))
    earlier = store.load(lambda event: None)
    resumed = train(checkpoints=Checkpointer(store, origin={}, minutes=60, earlier=earlier))
    unbroken = train()
    assert len(resumed.averages) == EPOCHS - 1
    for one, two in zip(resumed.model.get_weights(), unbroken.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for one, two in zip(resumed.history.epochs, unbroken.history.epochs, strict=True):
        assert one.logs == two.logs
