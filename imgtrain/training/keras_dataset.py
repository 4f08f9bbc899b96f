"""Batches as a `keras.utils.PyDataset`, for `model.fit`."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgtrain.augment.preview import describe_label
from imgtrain.batches.batches import Batch, Batches
from imgtrain.model.runtime import keras
from imgtrain.text import printable

__all__ = ["BatchDataset"]

_SHEET_IMAGES = 8
_SHEET_SIDE_PIXELS = 96


class BatchDataset(keras.utils.PyDataset):
    """A `keras.utils.PyDataset` over `Batches`: `model.fit(BatchDataset(batches), epochs=10)`.

    Every epoch has a different order and augmentation. For shorter or longer epochs, set `steps` on the batches;
    don't use `steps_per_epoch` of `fit`, which changes the epoch number in the middle of a pass.

    Attributes and methods of `ImageDataGenerator`'s iterators work as well: `class_indices`, `classes`,
    `filenames`, `samples`, `batch_size`, `num_classes`, `image_shape`, `next()` and `reset()`. `next()` continues
    with the next epoch after the last batch; a `for` loop ends after one epoch.

    Attributes:
        batches: The batches by number.
        class_names: Class names in label order; empty if not given.
        epoch: Current epoch, from 0; `on_epoch_end` advances it.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        class_names: Sequence[str] = (),
        epoch: int = 0,
        workers: int = 1,
        max_queue_size: int = 10,
    ) -> None:
        """Initialize the data set.

        Args:
            batches: Batches to serve.
            class_names: Class names in label order, for `class_indices`.
            epoch: The first epoch, from 0.
            workers: Number of threads that prepare batches; with 1, Keras starts no threads.
            max_queue_size: Maximum number of queued batches, with more than one worker.
        """
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=max_queue_size)
        self.batches = batches
        self.class_names = tuple(class_names)
        self.epoch = epoch
        self._within_epoch = False
        self._next_step = 0

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        """Return a batch of the current epoch. Thread-safe; batches can be requested in any order."""
        return self.batches.batch(self.epoch, index)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        return (self[step] for step in range(len(self)))

    def __next__(self) -> Batch:
        """Return the next batch; continues with the next epoch after the last batch."""
        if self._next_step == len(self):
            self.epoch, self._next_step = self.epoch + 1, 0
        self._next_step += 1
        return self[self._next_step - 1]

    def next(self) -> Batch:
        """Return the next batch, as `next(dataset)` does."""
        return next(self)

    def reset(self) -> None:
        """Make `next()` continue with the first batch of the current epoch."""
        self._next_step = 0

    @property
    def class_indices(self) -> dict[str, int]:
        """Mapping from class name to label."""
        return {name: label for label, name in enumerate(self.class_names)}

    @property
    def classes(self) -> NDArray[np.int32]:
        """Label of each image in file order, shape (samples,)."""
        return self.batches.labels

    @property
    def filenames(self) -> list[str]:
        """Relative path of each image in file order."""
        return list(self.batches.paths)

    @property
    def samples(self) -> int:
        """Number of images."""
        return len(self.batches.labels)

    @property
    def batch_size(self) -> int:
        """Number of images per batch; the last batch of an epoch may be smaller."""
        return self.batches.batch_size

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.batches.class_count

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Image shape (height, width, channels)."""
        height, width, channels = self.batches.pixels.shape
        return height, width, channels

    def on_epoch_begin(self) -> None:
        """Mark the current epoch as started."""
        self._within_epoch = True

    def on_epoch_end(self) -> None:
        """Advance to the next epoch, if the current one has started."""
        # Keras also calls this before the first epoch, after inspecting the shapes of some batches.
        self.epoch += self._within_epoch
        self._within_epoch = False

    def __repr__(self) -> str:
        """Return a one-line summary."""
        height, width, channels = self.image_shape
        return (
            f"<BatchDataset: {self.samples:,} images of {height}×{width}×{channels}, {self.num_classes} classes, "
            f"{len(self):,} batches of up to {self.batch_size}>"
        )

    def _repr_html_(self) -> str:
        """Return a contact sheet of the first images, for notebooks."""
        images, labels, *_ = self[0]
        pictures = "".join(
            f'<figure style="display:inline-block;margin:4px;text-align:center">{_picture(image)}'
            f"<figcaption>{html.escape(printable(self._name_of(label)))}</figcaption></figure>"
            for image, label in zip(images[:_SHEET_IMAGES], labels[:_SHEET_IMAGES], strict=True)
        )
        return f"<div>{html.escape(repr(self))}<br>{pictures}</div>"

    def _name_of(self, target: NDArray[np.generic]) -> str:
        """Return the class name, or the class shares, of a label.

        The label is a vector of class shares, the share of the second class (binary), or an integer.
        """
        names = self.class_names or tuple(map(str, range(self.num_classes)))
        if np.size(target) > 1:
            return ", ".join(describe_label(np.asarray(target, np.float32), names))
        if np.issubdtype(target.dtype, np.integer):
            return names[int(np.squeeze(target))]
        share = float(np.squeeze(target))
        return ", ".join(describe_label(np.array([1 - share, share], np.float32), names))


def _picture(image: NDArray[np.uint8]) -> str:
    """Return an `<img>` tag with the image embedded as a data URL."""
    picture = Image.fromarray(image.squeeze(axis=-1) if image.shape[-1] == 1 else image)
    picture.thumbnail((_SHEET_SIDE_PIXELS, _SHEET_SIDE_PIXELS))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode("ascii")}">'
