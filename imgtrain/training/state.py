"""Captures and restores the training state of Keras objects between two batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from imgtrain.errors import RunFileError
from imgtrain.model.runtime import tf
from imgtrain.training.history import Epoch

__all__ = ["Position", "capture_arrays", "capture_callback", "restore_arrays", "restore_callback"]

# State of Keras callbacks across epochs, except EarlyStopping's best weights.
_REMEMBERED = ("best", "best_epoch", "cooldown_counter", "stopped_epoch", "wait")


@dataclass(slots=True)
class Position:
    """Training progress.

    Attributes:
        epoch: Current or next epoch, from 0.
        step: Number of batches trained in this epoch.
        images: Number of images trained in this epoch.
        seconds: Training time in this epoch so far.
        logs: Running means of the metrics in this epoch.
        finished: Completed epochs.
        stopped: Whether a callback stopped training, or its current stage.
        stage: The stage of training, from 0.
        stage_epoch: The first epoch of the stage.
    """

    epoch: int = 0
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    logs: dict[str, float] = field(default_factory=dict)
    finished: list[Epoch] = field(default_factory=list)
    stopped: bool = False
    stage: int = 0
    stage_epoch: int = 0

    def end_epoch(self, epoch: Epoch, *, stopped: bool) -> None:
        """Advance to the next epoch."""
        self.finished.append(epoch)
        self.epoch, self.step, self.images, self.seconds, self.logs = self.epoch + 1, 0, 0, 0.0, {}
        self.stopped = stopped

    def to_plain(self) -> dict[str, Any]:
        """Return the position as JSON-serializable values."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the position from the result of `to_plain`."""
        return cls(**{**plain, "finished": [Epoch(**epoch) for epoch in plain["finished"]]})


def capture_arrays(model: Any, best: Sequence[NDArray[Any]] | None) -> dict[str, Sequence[Any]]:
    """Return the current values of all variables that training changes, without copying.

    A tensor read from a variable keeps its value: TensorFlow copies the memory before it updates the variable. So a
    background thread can write the tensors to disk during training.

    Args:
        model: Compiled model with built optimizer and metrics.
        best: The best weights so far, as returned by `model.get_weights`.
    """
    arrays: dict[str, Sequence[Any]] = {
        name: [tf.convert_to_tensor(variable.value) for variable in variables]
        for name, variables in _variables(model).items()
    }
    return arrays if best is None else {**arrays, "best": best}


def restore_arrays(model: Any, arrays: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Assign the values of a checkpoint to the model's variables.

    Raises:
        RunFileError: The checkpoint does not match the model or its optimizer.
    """
    for name, variables in _variables(model).items():
        found = [(array.shape, array.dtype.name) for array in arrays[name]]
        if found != [(tuple(variable.shape), np.dtype(variable.dtype).name) for variable in variables]:
            raise RunFileError(
                f"the checkpoint's {name} do not match this model; start again with --overwrite"
            )
        for variable, array in zip(variables, arrays[name], strict=True):
            variable.assign(array)


def capture_callback(callback: Any) -> dict[str, Any] | None:
    """Return the state of a Keras callback as JSON-serializable values."""
    if callback is None:
        return None
    return {name: getattr(callback, name) for name in _REMEMBERED if hasattr(callback, name)}


def restore_callback(callback: Any, remembered: Mapping[str, Any] | None) -> None:
    """Restore the state of a Keras callback; call after `on_train_begin`."""
    for name, value in (remembered or {}).items():
        setattr(callback, name, value)


def _variables(model: Any) -> dict[str, list[Any]]:
    """Return all variables by group; `random` holds the seed generators of layers such as Dropout."""
    weights = {id(variable) for variable in model.weights}
    return {
        "weights": list(model.weights),
        "random": [variable for variable in model.variables if id(variable) not in weights],
        "optimizer": list(model.optimizer.variables),
        "metrics": list(model.metrics_variables),
    }
