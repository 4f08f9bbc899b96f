"""Batches of a data set that imgtrain did not make: a `keras.utils.PyDataset` or a `tf.data.Dataset`.

Every batch is checked before it reaches the model, whose own errors name neither the data set nor the batch.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.batches.batches import Batch
from imgtrain.dataset.layout import format_names
from imgtrain.errors import ConfigError, DataError, Problem
from imgtrain.model.runtime import keras, tf

__all__ = ["CustomBatches", "class_names_of"]


class CustomBatches:
    """The batches of a data set, with the interface that `fit` needs of `Batches`.

    Attributes:
        name: What the data set is called in errors: `train` or `validation`.
        images_per_epoch: Number of images, if all batches are as large as the first one.
    """

    def __init__(self, dataset: Any, model: Any, *, name: str, steps: int | None) -> None:
        """Read the first batch.

        Args:
            dataset: A `keras.utils.PyDataset` or a batched `tf.data.Dataset` of (images, labels) or (images, labels,
                weights).
            model: A compiled model with one input and one output.
            name: What the data set is called in errors.
            steps: Batches per epoch; None for all.

        Raises:
            ConfigError: The data set is of another type, or its number of batches is unknown or too small.
            DataError: The first batch doesn't fit the model.
        """
        if not isinstance(dataset, keras.utils.PyDataset | tf.data.Dataset):
            what = f"must be a keras.utils.PyDataset or a tf.data.Dataset; got {type(dataset).__name__}"
            raise ConfigError(Problem(name, what))
        self.name = name
        self._dataset = dataset
        self._input_shape = tuple(model.input_shape[1:])
        self._outputs = int(model.output_shape[-1])
        loss = model.loss if isinstance(model.loss, str) else getattr(model.loss, "name", "")
        self._sparse = loss.startswith("sparse_")
        _check_class_count(name, class_names_of(dataset), self._outputs)
        self._steps = _count_steps(dataset, name, steps)
        self._types: tuple[np.dtype[Any], ...] = ()
        self._first = next(self._read(1), None)
        if self._first is None:
            raise DataError(Problem(name, "contains no batches"))
        self._types = tuple(part.dtype for part in self._first)
        self.images_per_epoch = self._steps * len(self._first[0])

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return self._steps

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the first batch, which tells shapes and dtypes; others can only be read in order."""
        if (epoch, step) != (0, 0):
            raise ValueError("only the first batch can be read by its number")
        assert self._first is not None
        return self._first

    def read_ahead(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch in order, from step `start`.

        Raises:
            DataError: A batch doesn't fit the model, or the data set ends too early.
        """
        read = 0
        for batch in islice(self._read(self._steps), start, None):
            read += 1
            yield batch
        if start + read < self._steps:
            what = f"ended after {start + read:,} of {self._steps:,} batches in epoch {epoch + 1}"
            raise DataError(
                Problem(self.name, what, "use `.repeat()`, or a smaller training.steps_per_epoch")
            )
        if isinstance(self._dataset, keras.utils.PyDataset):
            self._dataset.on_epoch_end()

    def _read(self, count: int) -> Iterator[Batch]:
        if isinstance(self._dataset, keras.utils.PyDataset):
            found: Iterator[Any] = (self._dataset[step] for step in range(count))
        else:
            found = islice(self._dataset.as_numpy_iterator(), count)
        for number, batch in enumerate(found, start=1):
            yield self._check(batch, f"{self.name}, batch {number}")

    def _check(self, batch: Any, where: str) -> Batch:
        """Return the batch as arrays with the dtypes of the first one.

        Raises:
            DataError: It doesn't fit the model.
        """
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            what = f"must be (images, labels) or (images, labels, weights); got {type(batch).__name__}"
            raise DataError(Problem(where, what))
        images, labels, *weights = map(np.asarray, batch)
        if problem := self._find_problem(images, labels, weights):
            raise DataError(Problem(where, *problem))
        if labels.dtype.kind != "f":
            labels = labels.astype(np.int32 if self._sparse else np.float32)
        if self._outputs == 1:
            labels = labels.reshape(-1, 1)
        parts = (images, labels, *(weight.astype(np.float32) for weight in weights))
        if len(parts) == len(self._types):
            parts = tuple(
                part.astype(kind, copy=False) for part, kind in zip(parts, self._types, strict=True)
            )
        return parts  # type: ignore[return-value]

    def _find_problem(
        self, images: NDArray[Any], labels: NDArray[Any], weights: Sequence[NDArray[Any]]
    ) -> tuple[str, str] | None:
        expected, given = self._input_shape, images.shape[1:]
        if images.ndim != len(expected) + 1:
            hint = "call `.batch(32)` on the data set" if images.ndim == len(expected) else ""
            return f"images have the shape {images.shape}; the model takes (batch, {_join(expected)})", hint
        if any(side not in (None, other) for side, other in zip(expected, given, strict=True)):
            what = f"images are {_join(given)}; the model takes {_join(expected)}"
            return what, "resize the images, or build the model for this size"
        if any(len(part) != len(images) for part in (labels, *weights)):
            return f"{len(images)} images, but {len(labels)} labels", ""
        if self._sparse or self._outputs == 1:
            return self._find_index_problem(labels)
        return self._find_one_hot_problem(labels)

    def _find_one_hot_problem(self, labels: NDArray[Any]) -> tuple[str, str] | None:
        """Return the problem of labels that are a vector of class shares per image."""
        classes = self._outputs
        if labels.shape != (len(labels), classes):
            is_index = labels.size == len(labels)
            hint = f"use keras.utils.to_categorical(labels, {classes}), or the loss sparse_categorical_crossentropy"
            what = f"labels have the shape {labels.shape}; the model has {classes} classes and takes one-hot labels"
            return what, hint if is_index else ""
        if labels.min() < 0 or labels.max() > 1:
            return f"one-hot labels are in [0, 1]; got {labels.min():g} to {labels.max():g}", ""
        return None

    def _find_index_problem(self, labels: NDArray[Any]) -> tuple[str, str] | None:
        """Return the problem of labels that are one number per image."""
        if labels.size != len(labels):
            return f"labels have the shape {labels.shape}; the model takes one number per image", ""
        highest = 1 if self._outputs == 1 else self._outputs - 1
        if labels.min() < 0 or labels.max() > highest:
            what = f"labels are in [0, {highest}] for this model; got {labels.min():g} to {labels.max():g}"
            return what, "the classes of the data set and the model differ"
        return None


def class_names_of(dataset: Any) -> tuple[str, ...]:
    """Return the class names that a data set has, in label order; empty if it has none."""
    names = getattr(dataset, "class_names", None) or getattr(dataset, "class_indices", None) or ()
    return tuple(map(str, names))


def _check_class_count(name: str, class_names: Sequence[str], outputs: int) -> None:
    classes = max(outputs, 2)
    if class_names and len(class_names) != classes:
        what = f"has {len(class_names)} classes ({format_names(class_names)}); the model has {classes}"
        raise DataError(Problem(name, what))


def _count_steps(dataset: Any, name: str, steps: int | None) -> int:
    known = int(len(dataset) if isinstance(dataset, keras.utils.PyDataset) else dataset.cardinality())
    if steps is not None:
        if 0 <= known < steps:
            what = f"has {known:,} batches, fewer than the {steps:,} of an epoch"
            raise ConfigError(Problem(name, what, "use `.repeat()`, or fewer steps"))
        return steps
    if known < 0:
        key = "steps_per_epoch" if name == "train" else "validation_steps"
        raise ConfigError(
            Problem(name, "the number of batches is unknown or infinite", f"set training.{key}")
        )
    return known


def _join(shape: Sequence[int | None]) -> str:
    return "×".join("?" if side is None else str(side) for side in shape)
