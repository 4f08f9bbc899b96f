"""The moving average of the weights in place of the weights while they are validated and kept (`use_ema`).

Keras's `fit` puts the average in place after the last epoch only, so that early stopping would choose, and put
back, the weights without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from imgtrain.model.runtime import tf

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """The moving average that the optimizer of a compiled model keeps; does nothing if it keeps none."""

    def __init__(self, model: Any) -> None:
        """Take the model."""
        self._model = model
        self._trained: list[Any] | None = None
        # The loss scale of float16 wraps the optimizer of the configuration.
        self._is_kept = getattr(model.optimizer, "inner_optimizer", model.optimizer).use_ema

    def put_in_place(self) -> None:
        """Give the model the average of its weights."""
        optimizer = self._model.optimizer
        # Before the first update the average is 0: float16 skips updates whose gradients overflow.
        if int(optimizer.iterations) > 0:
            optimizer.finalize_variable_values(self._model.trainable_variables)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the average inside the block, and the trained weights, bit for bit, after it."""
        if not self._is_kept:
            yield
            return
        self._trained = self._read()
        self.put_in_place()
        try:
            yield
        finally:
            self._assign(self._trained)
            self._trained = None

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Give the model the trained weights inside the block, also within a block of `in_place`."""
        if self._trained is None:
            yield
            return
        average = self._read()
        self._assign(self._trained)
        try:
            yield
        finally:
            self._assign(average)

    def _read(self) -> list[Any]:
        # A tensor that was read from a variable keeps its value.
        return [tf.convert_to_tensor(variable.value) for variable in self._model.trainable_variables]

    def _assign(self, values: Sequence[Any]) -> None:
        for variable, value in zip(self._model.trainable_variables, values, strict=True):
            variable.assign(value)
