"""Keras's training and validation steps, compiled once."""

from __future__ import annotations

from typing import Any

from imgtrain.batches.batches import Batch, Batches
from imgtrain.model.runtime import tf

__all__ = ["Steps"]


class Steps:
    """The compiled training and validation steps of a model.

    The batch size is dynamic, so a smaller last batch does not trigger retracing.
    """

    def __init__(self, model: Any, train: Batches) -> None:
        """Initialize with a compiled model and its training batches."""
        model.optimizer.build(model.trainable_variables)
        signature = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in train.batch(0, 0))
        self._train = _Compiled(model.train_step, signature)
        self._validate = _Compiled(model.test_step, signature[:2])

    def build(self) -> None:
        """Create the metric variables, which Keras otherwise creates on the first batch."""
        self._train.function.get_concrete_function()

    def train(self, batch: Batch) -> dict[str, float]:
        """Train on a batch; return the means of the metrics since the last reset."""
        return self._train(batch)

    def validate(self, batch: Batch) -> dict[str, float]:
        """Validate on a batch; return the means of the metrics since the last reset."""
        return self._validate(batch)


class _Compiled:
    """A step that returns all metrics as one vector, because fetching each separately is slow."""

    def __init__(self, step: Any, signature: tuple[Any, ...]) -> None:
        self._names: list[str] = []
        self._step = step
        self.function = tf.function(self._trace, input_signature=[signature], autograph=False)

    def __call__(self, batch: Batch) -> dict[str, float]:
        values = self.function(batch).numpy()
        return dict(zip(self._names, values.tolist(), strict=True))

    def _trace(self, batch: Any) -> Any:
        logs = self._step(batch)
        self._names = list(logs)
        return tf.stack([tf.cast(value, tf.float32) for value in logs.values()])
