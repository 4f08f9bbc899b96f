"""Swaps in the moving average of the weights for validation and early stopping (`use_ema`).

Keras's `fit` swaps in the average only after the last epoch, so early stopping would select and restore weights
that are not averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from imgtrain.model.runtime import tf

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """Exponential moving average of a compiled model's weights; has no effect if the optimizer keeps none."""

    def __init__(self, model: Any) -> None:
        """Initialize with a compiled model."""
        self._model = model
        self._trained: list[Any] | None = None
        # With float16, LossScaleOptimizer wraps the configured optimizer.
        self._is_kept = getattr(model.optimizer, "inner_optimizer", model.optimizer).use_ema

    def put_in_place(self) -> None:
        """Replace the model's weights by their average."""
        optimizer = self._model.optimizer
        # Before the first update the average is 0: float16 skips updates whose gradients overflow.
        if int(optimizer.iterations) > 0:
            optimizer.finalize_variable_values(self._model.trainable_variables)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Use the averaged weights inside the block; restores the trained weights bit-identically on exit."""
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
        """Use the trained weights inside the block, even within an `in_place` block."""
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
        # A tensor read from a variable keeps its value when the variable changes.
        return [tf.convert_to_tensor(variable.value) for variable in self._model.trainable_variables]

    def _assign(self, values: Sequence[Any]) -> None:
        for variable, value in zip(self._model.trainable_variables, values, strict=True):
            variable.assign(value)
