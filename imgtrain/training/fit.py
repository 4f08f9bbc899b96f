"""The training loop: feeds numbered batches to Keras's training step.

Keras's `fit` would feed the same batches through tf.data, whose iterators are recreated every epoch; tearing them
down can stall for as long as the epoch took. Here, threads prefetch batches for the compiled step. The training step,
losses, metrics, optimizer and callbacks are Keras's.

Batch `step` of epoch `epoch` is always the same, so training can stop after any batch and resume in another process
with bit-identical results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from imgtrain.batches.batches import Batches
from imgtrain.config.schema import TrainingConfig
from imgtrain.errors import DataError, DivergedError, InterruptedRunError, Problem, RunFileError
from imgtrain.events import BatchTrained, Emit, EpochEnded, EpochStarted, Message, TrainingEnded, ignore
from imgtrain.model.runtime import keras
from imgtrain.training.averaging import AveragedWeights
from imgtrain.training.checkpointing import Checkpointer
from imgtrain.training.graceful_shutdown import GracefulShutdown
from imgtrain.training.history import Epoch, History
from imgtrain.training.schedule import scheduled_rates
from imgtrain.training.state import (
    Position,
    capture_arrays,
    capture_callback,
    restore_arrays,
    restore_callback,
)
from imgtrain.training.steps import Steps

__all__ = ["Stage", "fit"]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A part of training with trained layers, optimizer and learning rate of its own.

    Attributes:
        model: A compiled Keras model.
        train: Batches of (images, labels) or (images, labels, weights).
        validation: Unshuffled batches of (images, labels), or None.
        training: Number of epochs, schedule and callbacks.
        steps: The compiled steps of the model.
    """

    model: Any
    train: Batches
    validation: Batches | None
    training: TrainingConfig
    steps: Steps


def fit(
    model: Any,
    train: Batches,
    validation: Batches | None,
    training: TrainingConfig,
    *,
    steps: Steps | None = None,
    later: Callable[[], Stage] | None = None,
    checkpoints: Checkpointer | None = None,
    on_epoch: Callable[[Sequence[Epoch]], None] = lambda epochs: None,
    emit: Emit = ignore,
) -> History:
    """Train a compiled model and restore the weights of the best epoch.

    The first Ctrl-C or SIGTERM stops training after the current batch and writes a checkpoint; the second stops
    immediately.

    Args:
        model: A compiled Keras model.
        train: Batches of (images, labels) or (images, labels, weights).
        validation: Unshuffled batches of (images, labels), or None.
        training: Number of epochs, schedule and callbacks.
        steps: Steps of the model that are already compiled; None compiles them.
        later: Prepares a second stage, which continues with the best weights of the first; None for one stage.
        checkpoints: Writes checkpoints and holds the one to resume from; None disables checkpoints.
        on_epoch: Called after every epoch with all epochs so far.
        emit: Called with an event for every batch and epoch.

    Raises:
        DivergedError: A loss or metric became NaN or infinite.
        InterruptedRunError: Ctrl-C or SIGTERM was received.
        RunFileError: A checkpoint cannot be written, or the checkpoint to resume from does not match the model.
    """
    with GracefulShutdown() as interruption:
        first = Stage(model, train, validation, training, steps or Steps(model, train))
        return _Run(first, later, checkpoints, interruption, emit).fit(on_epoch)


class _Run:
    """State of one call of `fit`: Keras objects and training progress."""

    def __init__(
        self,
        first: Stage,
        later: Callable[[], Stage] | None,
        checkpoints: Checkpointer | None,
        interruption: GracefulShutdown,
        emit: Emit,
    ) -> None:
        self._later = later
        self._checkpoints = checkpoints
        self._interruption = interruption
        self._emit = emit
        self._position = Position()
        self._saved = (0, 0)
        self._begin(first)

    def _begin(self, stage: Stage) -> None:
        """Create the Keras objects of a stage."""
        model, training = stage.model, stage.training
        self._model = model
        self._train = stage.train
        self._validation = stage.validation
        self._stage_epochs = training.epochs
        self._steps = stage.steps
        self._average = AveragedWeights(model)
        self._rates = scheduled_rates(training, model.optimizer, steps_per_epoch=len(stage.train))
        self._plateau, self._stopping = _make_callbacks(training)
        callbacks = [callback for callback in (self._plateau, self._stopping) if callback is not None]
        self._callbacks = keras.callbacks.CallbackList(callbacks, model=model)
        model.stop_training = False
        self._callbacks.on_train_begin()

    @property
    def _epochs(self) -> int:
        """Number of epochs until the end of this stage, including earlier ones."""
        return self._position.stage_epoch + self._stage_epochs

    def fit(self, on_epoch: Callable[[Sequence[Epoch]], None]) -> History:
        """Train the remaining epochs."""
        self._restore()
        self._train_stage(on_epoch)
        if self._later is not None and self._position.stage == 0:
            self._begin_later()
            self._train_stage(on_epoch)
        return self._make_history()

    def _begin_later(self) -> None:
        """Begin the second stage with the best weights of the first, which remain the best until they are improved."""
        assert self._later is not None
        first, position = self._stopping, self._position
        position.stage, position.stage_epoch, position.stopped = 1, position.epoch, False
        self._begin(self._later())
        if first is not None and first.best_weights is not None:
            restore_callback(self._stopping, {"best": first.best, "best_epoch": first.best_epoch})
            self._stopping.best_weights = self._model.get_weights()

    def _train_stage(self, on_epoch: Callable[[Sequence[Epoch]], None]) -> None:
        """Train the remaining epochs of a stage, and restore its best weights."""
        model, stopping = self._model, self._stopping
        while not self._is_over():
            ended = self._train_epoch()
            self._position.end_epoch(ended, stopped=model.stop_training)
            on_epoch(self._position.finished)
            if self._checkpoints is not None and (self._is_over() or self._checkpoints.are_affordable()):
                self._save()
            best = (
                stopping is not None
                and stopping.best_epoch == ended.number
                and stopping.best_weights is not None
            )
            self._emit(
                EpochEnded(
                    ended.number, self._epochs, ended.seconds, ended.images_per_second, ended.logs, best
                )
            )
            self._stop_if_asked()
        if self._checkpoints is not None:
            self._checkpoints.wait()
        # EarlyStopping's best weights, if any, replace the average of the last epoch.
        self._average.put_in_place()
        self._callbacks.on_train_end()

    def _is_over(self) -> bool:
        return self._position.epoch >= self._epochs or self._position.stopped

    def _train_epoch(self) -> Epoch:
        """Train and validate the current epoch, or the rest of it after resuming."""
        position = self._position
        self._emit(EpochStarted(position.epoch, self._epochs, len(self._train), self._train.images_per_epoch))
        self._callbacks.on_epoch_begin(position.epoch)
        begun = time.perf_counter() - position.seconds
        if position.step == 0:
            self._model.reset_metrics()
        with closing(self._train.read_ahead(position.epoch, start=position.step)) as ahead:
            for batch in self._keeping_what_was_trained(ahead):
                if self._rates is not None:
                    step = (position.epoch - position.stage_epoch) * len(self._train) + position.step
                    self._model.optimizer.learning_rate = self._rates[step]
                position.logs = self._steps.train(batch)
                _raise_if_nan(position.logs, position.epoch, position.step)
                position.step += 1
                position.images += len(batch[0])
                position.seconds = time.perf_counter() - begun
                self._emit(BatchTrained(position.step, position.images, position.logs))
                self._stop_if_asked()
                if self._checkpoints is not None and self._checkpoints.are_due():
                    self._save()
        logs = dict(position.logs)
        # EarlyStopping must save the weights that were validated.
        with self._average.in_place():
            if self._validation is not None:
                logs |= {f"val_{name}": value for name, value in self._validate(self._validation).items()}
            _raise_if_nan(logs, position.epoch)
            logs["learning_rate"] = float(self._model.optimizer.learning_rate)
            self._callbacks.on_epoch_end(position.epoch, dict(logs))
        speed = position.images / position.seconds
        stage = None if self._later is None else position.stage + 1
        return Epoch(position.epoch, time.perf_counter() - begun, speed, logs, stage)

    def _validate(self, batches: Batches) -> dict[str, float]:
        """Return the means of the metrics over a split."""
        self._model.reset_metrics()
        logs: dict[str, float] = {}
        with closing(batches.read_ahead(0)) as ahead:
            for images, labels, *_ in self._keeping_what_was_trained(ahead):
                logs = self._steps.validate((images, labels))
                self._stop_if_asked()
        return logs

    def _keeping_what_was_trained(self, batches: Generator[Any, None, None]) -> Generator[Any, None, None]:
        """Yield the batches; if loading one fails, write a checkpoint before raising."""
        try:
            yield from batches
        except (DataError, RunFileError):
            self._save()
            if self._checkpoints is not None:
                self._checkpoints.wait()
            raise

    def _stop_if_asked(self) -> None:
        """Write a checkpoint and raise if a signal was received."""
        if not self._interruption.requested:
            return
        position = self._position
        if self._checkpoints is not None:
            self._emit(Message("writing a checkpoint; press Ctrl-C again to stop without it"))
            self._save()
            self._checkpoints.wait()
        place = f"batch {position.step} of epoch {position.epoch + 1}"
        if position.step == 0:
            place = f"epoch {position.epoch}"
        raise InterruptedRunError(f"stopped by the user after {place}")

    def _save(self) -> None:
        """Start writing a checkpoint, unless one was already written at this batch."""
        place = (self._position.epoch, self._position.step)
        if self._checkpoints is None or place == self._saved:
            return
        self._saved = place
        progress = {
            "position": self._position.to_plain(),
            "early_stopping": capture_callback(self._stopping),
            "reduce_lr_on_plateau": capture_callback(self._plateau),
        }
        best = None if self._stopping is None else self._stopping.best_weights
        with self._average.set_aside():
            arrays = capture_arrays(self._model, best)
        self._checkpoints.save(progress, arrays)

    def _restore(self) -> None:
        earlier = None if self._checkpoints is None else self._checkpoints.earlier
        if earlier is None:
            return
        if earlier.progress["position"].get("stage"):
            assert self._later is not None  # the configuration is the same
            self._begin(self._later())
        self._steps.build()
        learning_rate = float(self._model.optimizer.learning_rate)
        restore_arrays(self._model, earlier.arrays)
        restore_callback(self._stopping, earlier.progress["early_stopping"])
        restore_callback(self._plateau, earlier.progress["reduce_lr_on_plateau"])
        if "best" in earlier.arrays:
            self._stopping.best_weights = list(earlier.arrays["best"])
        self._position = Position.from_plain(earlier.progress["position"])
        self._saved = (self._position.epoch, self._position.step)
        if self._checkpoints is not None and self._checkpoints.new_stage:
            # Callbacks wait for an improvement from here on; the best weights so far remain the best.
            self._model.optimizer.learning_rate = learning_rate
            for callback in (self._stopping, self._plateau):
                restore_callback(callback, {} if callback is None else {"wait": 0})
        if not self._is_over():
            place = f"epoch {self._position.epoch + 1}, batch {self._position.step + 1} of {len(self._train)}"
            self._emit(Message(f"resuming at {place}"))

    def _make_history(self) -> History:
        stopping, epochs = self._stopping, self._position.finished
        restored = (
            stopping is not None and stopping.restore_best_weights and stopping.best_weights is not None
        )
        history = History(
            tuple(epochs),
            best_epoch=stopping.best_epoch if restored else epochs[-1].number,
            stopped_early=len(epochs) < self._epochs,
        )
        self._emit(TrainingEnded(len(epochs), history.best_epoch, history.stopped_early))
        return history


def _make_callbacks(training: TrainingConfig) -> tuple[Any, Any]:
    """Return Keras's ReduceLROnPlateau and EarlyStopping; None for each that is not configured."""
    plateau, stopping = training.reduce_lr_on_plateau, training.early_stopping
    return (
        None if plateau is None else keras.callbacks.ReduceLROnPlateau(**plateau.model_dump()),
        None if stopping is None else keras.callbacks.EarlyStopping(**stopping.model_dump()),
    )


def _raise_if_nan(logs: Mapping[str, float], epoch: int, step: int | None = None) -> None:
    for name, value in logs.items():
        if not math.isfinite(value):
            place = f"epoch {epoch + 1}" + ("" if step is None else f", batch {step + 1}")
            raise DivergedError(
                Problem(
                    place,
                    f"{name} is {value}: training diverged",
                    "try a learning rate ten times smaller (`optimizer: {name: adam, learning_rate: 0.0001}`), "
                    "a `clipnorm: 1.0` argument of the optimizer, or `precision: float32`",
                )
            )
