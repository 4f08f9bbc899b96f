"""Batches by epoch and step: batch `step` of epoch `epoch` is always the same, whoever asks for it and when.

A pass goes once over all images, in its own order and with its own augmentation. Normally an epoch is a pass.
With a given number of steps, the passes follow each other without end and epochs are cut from them: with half
the steps of a pass, two epochs see every image once; with twice as many, one epoch sees every image twice,
augmented anew each time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from imgtrain.augment.apply import augment_batch
from imgtrain.augment.buffers import Buffers
from imgtrain.augment.mix import mix_images, mix_targets, pair_up, sample_mixing
from imgtrain.augment.random_streams import Stream, make_generator
from imgtrain.augment.sample import epoch_order, sample_params
from imgtrain.augment.warp import opencv_on_one_thread
from imgtrain.events import Emit, Progress, ignore

if TYPE_CHECKING:
    from imgtrain.config.schema import AugmentationConfig

__all__ = ["Batch", "Batches", "ClassMode", "Pixels"]

ClassMode = Literal["categorical", "binary", "sparse"]
Batch = tuple[NDArray[np.uint8], NDArray[Any]] | tuple[NDArray[np.uint8], NDArray[Any], NDArray[np.float32]]
"""Images (b, height, width, channels), labels in the class mode's form, and weights (b,) if asked for."""

_MOST_WORKERS = 8


class Pixels(Protocol):
    """Decoded images by index; an `ImageStore` is one."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""

    def read(self, indices: NDArray[np.integer], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the pixels of some images, (k, height, width, channels), in `out` if given."""


class Batches:
    """The images of one split in batches; nothing in it changes after it is made.

    The form of the labels follows the class mode: `categorical` is one-hot float32 (b, classes), `binary` is
    float32 0 and 1 (b, 1), `sparse` is int32 (b,). Where images are mixed, labels are shares from 0 to 1, and the
    weight of an image is the mean of the two by these shares.

    Attributes:
        pixels: Where the images come from.
        indices: Index in `pixels` of each image of the split, shape (n,).
        labels: Label of each image of the split, int32, shape (n,).
        paths: Relative path of each image of the split; empty if not given. Without shuffling and copies, the
            images of the batches come in this order; else `samples` says which they are.
        class_count: Number of classes, those without an image included.
        batch_size: Images in a batch; the last one of a pass may be smaller.
        steps_per_pass: Batches in a pass over all images.
        steps: Batches in an epoch.
    """

    def __init__(
        self,
        *,
        pixels: Pixels,
        indices: NDArray[np.intp],
        labels: NDArray[np.int32],
        class_count: int,
        class_mode: ClassMode,
        batch_size: int,
        paths: Sequence[str] = (),
        shuffle: bool = False,
        seed: int = 0,
        augmentation: AugmentationConfig | None = None,
        balance: Literal["oversample"] | None = None,
        steps: int | None = None,
        class_weights: NDArray[np.float32] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        """Take the images of a split.

        Args:
            pixels: Gives the decoded images by index.
            indices: Index in `pixels` of each image, shape (n,), n > 0.
            labels: From 0 to `class_count` - 1, shape (n,).
            class_count: Number of classes, those without an image included.
            class_mode: Form of the labels.
            batch_size: Images in a batch; the last one of a pass may be smaller.
            paths: Relative path of each image, if anyone will ask for it.
            shuffle: A new order in every pass; else the order of `indices`, copies last.
            seed: Of the order, the copies and the augmentation.
            augmentation: What happens to the images; None for those that are not trained on.
            balance: With `oversample` every class is drawn as often as the largest: each of its images
                equally often and, where that does not divide, some once more, chosen anew in every pass.
            steps: Batches in an epoch; None for one pass.
            class_weights: Weight of each class, shape (class_count,); each batch then ends with weights.
            label_smoothing: Share of each label that is spread evenly over all classes, 0 to below 1.

        Raises:
            ValueError: There is no image, or the arguments contradict each other.
        """
        if len(indices) == 0:
            raise ValueError("there is no image to make batches of")
        if len(labels) != len(indices) or len(paths) not in (0, len(indices)):
            raise ValueError(
                f"indices, labels and paths differ in length: {len(indices)}, {len(labels)}, {len(paths)}"
            )
        if class_mode == "binary" and class_count != 2:
            raise ValueError(f"class mode binary needs exactly two classes, got {class_count}")
        if class_weights is not None and len(class_weights) != class_count:
            raise ValueError(f"class_weights needs {class_count} values, got {len(class_weights)}")
        soft = label_smoothing > 0 or (augmentation is not None and augmentation.mixes)
        if class_mode == "sparse" and soft:
            raise ValueError("soft labels are not integers: class mode sparse needs categorical batches")
        self.pixels = pixels
        self.indices = indices
        self.labels = labels
        self.paths = tuple(paths)
        self.class_count = class_count
        self._class_mode = class_mode
        self._label_smoothing = label_smoothing
        self._class_weights = None if class_weights is None else np.asarray(class_weights, np.float32)
        self.batch_size = batch_size
        self._seed = seed
        self._augmentation = None if augmentation is None or augmentation.changes_nothing else augmentation
        self._buffers = Buffers(most_spare=2 * _MOST_WORKERS)
        # Two passes: batches that are read ahead may already belong to the next one.
        self._pass = lru_cache(maxsize=2)(
            partial(
                _lay_out_pass,
                indices,
                labels,
                shuffle=shuffle,
                balance=balance,
                seed=seed,
                pairs=augmentation is not None and augmentation.mixes,
            )
        )
        counts = np.bincount(labels)
        self._images_per_pass = (
            int(counts.max() * np.count_nonzero(counts)) if balance == "oversample" else len(indices)
        )
        self.steps_per_pass = -(-self._images_per_pass // batch_size)
        self.steps: int = self.steps_per_pass if steps is None else steps

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.steps

    def with_steps(self, steps: int | None) -> Batches:
        """Return the same batches with so many in an epoch; None for one pass."""
        batches = copy(self)
        batches.steps = self.steps_per_pass if steps is None else steps
        return batches

    @property
    def images_per_epoch(self) -> int:
        """How many images the first epoch has.

        A later one can differ only if `steps` was given, by the short batch at the end of each pass.
        """
        passes, steps_left = divmod(self.steps, self.steps_per_pass)
        return passes * self._images_per_pass + min(steps_left * self.batch_size, self._images_per_pass)

    def samples(self, epoch: int) -> NDArray[np.intp]:
        """Return the sample index of each image of an epoch, in its order: for `indices`, `labels` and `paths`."""
        return np.concatenate([self._members(epoch, step).samples for step in range(self.steps)])

    def stream_indices(self, epoch: int) -> NDArray[np.intp]:
        """Return the stream index of each image of an epoch, in the order of its batches.

        It is the image's index in `pixels`, so that its augmentation does not depend on which other images are
        in the split; copies have the stream indices behind the last of these.
        """
        return np.concatenate([self._members(epoch, step).stream_indices for step in range(self.steps)])

    def batch(self, epoch: int, step: int) -> Batch:
        """Return one batch; the same arguments give the same batch, from any thread.

        Args:
            epoch: From 0.
            step: From 0 to `len(self)` - 1.

        Raises:
            IndexError: There is no such step.
        """
        return self._draw(self._members(epoch, step))

    def versions(self, samples: NDArray[np.intp], *, pass_index: int) -> Batch:
        """Return what a pass makes of some images, those that `balance` draws again not counted.

        Args:
            samples: Sample indices, shape (k,).
            pass_index: From 0; without `steps`, the epoch.
        """
        whole = self._pass(pass_index)
        position_of = {index: position for position, index in enumerate(whole.stream_indices.tolist())}
        return self._draw(whole.part([position_of[index] for index in self.indices[samples].tolist()]))

    def read_ahead(
        self, epoch: int, start: int = 0, *, workers: int | None = None, depth: int | None = None
    ) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch in order, while threads prepare the next ones.

        The threads end with the generator, also when it is closed early.

        Args:
            epoch: From 0.
            start: The first step.
            workers: Number of threads; None for one per processor, at most eight.
            depth: How many batches may be under way or waiting; None for two per thread.
        """
        workers = workers or min(os.cpu_count() or 1, _MOST_WORKERS)
        steps = iter(range(start, self.steps))
        pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
        with opencv_on_one_thread():
            try:
                ahead = deque(
                    pool.submit(self.batch, epoch, step) for step in islice(steps, depth or 2 * workers)
                )
                while ahead:
                    batch = ahead.popleft().result()
                    ahead.extend(pool.submit(self.batch, epoch, step) for step in islice(steps, 1))
                    yield batch
            finally:
                pool.shutdown(cancel_futures=True)
                self._buffers.clear()

    def to_arrays(self, emit: Emit = ignore, *, epoch: int = 0) -> Batch:
        """Gather an epoch in memory: what its batches hold, in their order, as one large batch.

        Args:
            emit: Takes `Progress` events.
            epoch: From 0.
        """
        count = len(self.samples(epoch))
        images = np.empty((count, *self.pixels.shape), np.uint8)
        labels: list[NDArray[Any]] = []
        weights: list[NDArray[np.float32]] = []
        done = 0
        emit(Progress("gathering images", done, count))
        for batch, batch_labels, *batch_weights in self.read_ahead(epoch):
            images[done : done + len(batch)] = batch
            labels.append(batch_labels)
            weights += batch_weights
            done += len(batch)
            emit(Progress("gathering images", done, count))
        if weights:
            return images, np.concatenate(labels), np.concatenate(weights)
        return images, np.concatenate(labels)

    def unchanged_images(self) -> Iterator[NDArray[np.uint8]]:
        """Yield every image of the split once, not augmented, in batches (b, height, width, channels)."""
        for start in range(0, len(self.indices), self.batch_size):
            yield self.pixels.read(self.indices[start : start + self.batch_size])

    def targets(self) -> NDArray[Any]:
        """Return the label of every image of the split in the class mode's form, in the order of `indices`."""
        return self._encode(self.labels)

    def _members(self, epoch: int, step: int) -> _Pass:
        """Return the part of a pass that a batch is made of."""
        if not 0 <= step < self.steps:
            raise IndexError(f"there are {self.steps} batches in an epoch, got step {step}")
        pass_index, step = divmod(epoch * self.steps + step, self.steps_per_pass)
        whole = self._pass(pass_index)
        return whole.part(slice(step * self.batch_size, (step + 1) * self.batch_size))

    def _draw(self, members: _Pass) -> Batch:
        """Return the images of a part of a pass, with their labels and weights; any part is the same by itself."""
        if self._augmentation is None or not self._augmentation.mixes:
            images = self._augmented(members.pass_index, members.samples, members.stream_indices)
            return (images, *self._targets(members, None))
        height, width, _ = self.pixels.shape
        mixing = sample_mixing(
            self._augmentation,
            seed=self._seed,
            epoch=members.pass_index,
            stream_indices=members.stream_indices,
            height=height,
            width=width,
        )
        # Partners that are not in this part follow its own images.
        samples, stream_indices, partners = members.with_partners(mixing["own_share"] < 1)
        images = self._augmented(members.pass_index, samples, stream_indices)
        mixed = self._buffers.take((len(members.samples), *self.pixels.shape))
        return (mix_images(images, partners, mixing, mixed), *self._targets(members, mixing))

    def _augmented(
        self, pass_index: int, samples: NDArray[np.intp], stream_indices: NDArray[np.intp]
    ) -> NDArray[np.uint8]:
        """Return images as they are before they are mixed."""
        shape = (len(samples), *self.pixels.shape)
        images = self.pixels.read(self.indices[samples], self._buffers.take(shape))
        if self._augmentation is None:
            return images
        height, width = images.shape[1:3]
        params = sample_params(
            self._augmentation,
            seed=self._seed,
            epoch=pass_index,
            stream_indices=stream_indices,
            height=height,
            width=width,
        )
        return augment_batch(images, params, self._augmentation, self._buffers.take(shape))

    def _targets(
        self, members: _Pass, mixing: NDArray[Any] | None
    ) -> tuple[NDArray[Any]] | tuple[NDArray[Any], NDArray[np.float32]]:
        """Return labels and, if asked for, weights."""
        own, partners = self.labels[members.samples], self.labels[members.partner_samples]
        encoded = self._encode(own)
        if mixing is not None:
            encoded = mix_targets(encoded, self._encode(partners), mixing)
        if self._label_smoothing:
            # As in keras.losses.CategoricalCrossentropy; a binary label is smoothed towards 0.5.
            classes = 2 if self._class_mode == "binary" else self.class_count
            encoded = encoded * np.float32(1 - self._label_smoothing) + np.float32(
                self._label_smoothing / classes
            )
        if self._class_weights is None:
            return (encoded,)
        weights = self._class_weights[own]
        if mixing is not None:
            weights = mix_targets(weights, self._class_weights[partners], mixing)
        return encoded, weights

    def _encode(self, labels: NDArray[np.int32]) -> NDArray[Any]:
        """Return labels, shape (k,), in the class mode's form."""
        encoded: NDArray[Any]
        match self._class_mode:
            case "categorical":
                encoded = (labels[:, None] == np.arange(self.class_count)).astype(np.float32)
            case "binary":
                encoded = labels[:, None].astype(np.float32)
            case "sparse":
                encoded = labels.astype(np.int32)
        return encoded


@dataclass(frozen=True, slots=True, eq=False)
class _Pass:
    """A pass over all images, or a part of it.

    Attributes:
        pass_index: From 0.
        samples: Which images of the split are drawn, in order, shape (k,).
        stream_indices: Which part of the random stream each takes, shape (k,).
        partner_samples: Which image each is mixed with, shape (k,); itself, if images are not mixed.
        partner_stream_indices: Of the partners, shape (k,).
    """

    pass_index: int
    samples: NDArray[np.intp]
    stream_indices: NDArray[np.intp]
    partner_samples: NDArray[np.intp]
    partner_stream_indices: NDArray[np.intp]

    def part(self, part: slice | list[int]) -> _Pass:
        """Return a part of it."""
        return _Pass(
            self.pass_index,
            self.samples[part],
            self.stream_indices[part],
            self.partner_samples[part],
            self.partner_stream_indices[part],
        )

    def with_partners(
        self, needed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Return the members, behind them their partners from elsewhere in the pass, and each one's partner.

        Args:
            needed: Whose partner is needed, shape (k,).

        Returns:
            Samples and stream indices, shape (k or more,), and positions in these, shape (k,).
        """
        positions = {index: position for position, index in enumerate(self.stream_indices.tolist())}
        partners = np.zeros(len(self.samples), np.intp)
        outside = []
        for member in np.flatnonzero(needed).tolist():
            stream_index = int(self.partner_stream_indices[member])
            if stream_index not in positions:
                positions[stream_index] = len(positions)
                outside.append(member)
            partners[member] = positions[stream_index]
        return (
            np.concatenate([self.samples, self.partner_samples[outside]]),
            np.concatenate([self.stream_indices, self.partner_stream_indices[outside]]),
            partners,
        )


def _lay_out_pass(
    indices: NDArray[np.intp],
    labels: NDArray[np.int32],
    pass_index: int,
    *,
    shuffle: bool,
    balance: Literal["oversample"] | None,
    seed: int,
    pairs: bool,
) -> _Pass:
    """Say which images a pass draws, in which order, and which are mixed with each other."""
    samples, stream_indices = np.arange(len(indices)), np.asarray(indices, np.intp)
    if balance == "oversample":
        copies = _choose_copies(labels, seed=seed, pass_index=pass_index)
        samples = np.concatenate([samples, copies])
        behind = stream_indices.max() + 1
        stream_indices = np.concatenate([stream_indices, behind + np.arange(len(copies))])
    unshuffled = np.arange(len(samples))
    order = epoch_order(seed=seed, epoch=pass_index, count=len(samples)) if shuffle or pairs else unshuffled
    partners = pair_up(order) if pairs else unshuffled
    if not shuffle:
        order = unshuffled
    return _Pass(
        pass_index,
        samples[order],
        stream_indices[order],
        samples[partners[order]],
        stream_indices[partners[order]],
    )


def _choose_copies(labels: NDArray[np.int32], *, seed: int, pass_index: int) -> NDArray[np.intp]:
    """Return the samples to draw once more, so that every class comes as often as the largest."""
    generator = make_generator(Stream.COPIES, seed=seed, epoch=pass_index)
    counts = np.bincount(labels)
    classes = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    copies = []
    for members in filter(len, classes):
        all_again, some_again = divmod(counts.max() - len(members), len(members))
        copies.append(np.tile(members, all_again))
        copies.append(np.sort(generator.permutation(members)[:some_again]))
    return np.concatenate(copies)
