"""What a training run is made of between two batches: taken out of Keras's objects, and put back."""

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

# What Keras's callbacks remember from one epoch to the next, besides EarlyStopping's best weights.
_REMEMBERED = ("best", "best_epoch", "cooldown_counter", "stopped_epoch", "wait")


@dataclass(slots=True)
class Position:
    """How far training has come.

    Attributes:
        epoch: The epoch, from 0, that is under way or comes next.
        step: How many batches of it are done.
        images: How many images of it are done.
        seconds: How long they took.
        logs: The running means of its metrics.
        finished: The epochs before it.
        stopped: Whether a callback has ended the training.
    """

    epoch: int = 0
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    logs: dict[str, float] = field(default_factory=dict)
    finished: list[Epoch] = field(default_factory=list)
    stopped: bool = False

    def end_epoch(self, epoch: Epoch, *, stopped: bool) -> None:
        """Go on to the next epoch."""
        self.finished.append(epoch)
        self.epoch, self.step, self.images, self.seconds, self.logs = self.epoch + 1, 0, 0, 0.0, {}
        self.stopped = stopped

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_plain` was made of."""
        return cls(**{**plain, "finished": [Epoch(**epoch) for epoch in plain["finished"]]})


def capture_arrays(model: Any, best: Sequence[NDArray[Any]] | None) -> dict[str, Sequence[Any]]:
    """Return every variable that training changes, as it is now, without copying.

    A tensor that was read from a variable keeps its value: TensorFlow copies the memory before it changes the
    variable. So a thread may write the tensors while training goes on.

    Args:
        model: Compiled, with its optimizer and metrics built.
        best: The best weights so far, as `model.get_weights` returned them.
    """
    arrays: dict[str, Sequence[Any]] = {
        name: [tf.convert_to_tensor(variable.value) for variable in variables]
        for name, variables in _variables(model).items()
    }
    return arrays if best is None else {**arrays, "best": best}


def restore_arrays(model: Any, arrays: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Give every variable its value of the checkpoint.

    Raises:
        RunFileError: The checkpoint is of another network or optimizer.
    """
    for name, variables in _variables(model).items():
        found = [(array.shape, array.dtype.name) for array in arrays[name]]
        if found != [(tuple(variable.shape), np.dtype(variable.dtype).name) for variable in variables]:
            raise RunFileError(
                f"the checkpoint's {name} do not fit this network; start again with --overwrite"
            )
        for variable, array in zip(variables, arrays[name], strict=True):
            variable.assign(array)


def capture_callback(callback: Any) -> dict[str, Any] | None:
    """Return what one of Keras's callbacks remembers, as JSON can hold it."""
    if callback is None:
        return None
    return {name: getattr(callback, name) for name in _REMEMBERED if hasattr(callback, name)}


def restore_callback(callback: Any, remembered: Mapping[str, Any] | None) -> None:
    """Let a callback remember what `capture_callback` returned; call it after `on_train_begin`."""
    for name, value in (remembered or {}).items():
        setattr(callback, name, value)


def _variables(model: Any) -> dict[str, list[Any]]:
    """Return every variable by what it belongs to: the random ones are the states of Dropout and its like."""
    weights = {id(variable) for variable in model.weights}
    return {
        "weights": list(model.weights),
        "random": [variable for variable in model.variables if id(variable) not in weights],
        "optimizer": list(model.optimizer.variables),
        "metrics": list(model.metrics_variables),
    }
