"""The batches as Keras wants them, for `model.fit` in a notebook."""

from __future__ import annotations

from imgtrain.batches.batches import Batch, Batches
from imgtrain.model.runtime import keras

__all__ = ["BatchDataset"]


class BatchDataset(keras.utils.PyDataset):
    """A `keras.utils.PyDataset` over `Batches`: `model.fit(BatchDataset(batches), epochs=10)`.

    Each epoch has its own order and augmentation. For shorter or longer epochs give `steps` to the batches:
    `steps_per_epoch` of `fit` would go on in the middle of an epoch with the numbers of the next one.

    Attributes:
        batches: What is trained on.
        epoch: The epoch, from 0, whose batches the items are now; `on_epoch_end` moves on to the next.
    """

    def __init__(
        self, batches: Batches, *, epoch: int = 0, workers: int = 1, max_queue_size: int = 10
    ) -> None:
        """Take the batches.

        Args:
            batches: What to train on.
            epoch: The first epoch, from 0.
            workers: Threads that prepare batches; Keras starts none of its own for 1.
            max_queue_size: How many batches may wait, with more than one worker.
        """
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=max_queue_size)
        self.batches = batches
        self.epoch = epoch
        self._within_epoch = False

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        """Return a batch of the present epoch; any order and any thread will do."""
        return self.batches.batch(self.epoch, index)

    def on_epoch_begin(self) -> None:
        """Note that this epoch is in use."""
        self._within_epoch = True

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's order and augmentation, if this one has begun."""
        # Keras also calls this before the first epoch, after a look at the shapes of some batches.
        self.epoch += self._within_epoch
        self._within_epoch = False
