"""Batches indexed by epoch and step: the batch for (epoch, step) is always the same.

A pass uses every image once, with its own order and augmentation. By default an epoch is a pass. With a fixed number
of steps, epochs are consecutive parts of an endless sequence of passes: with half the steps of a pass, two epochs use
every image once; with twice as many, one epoch uses every image twice, with different augmentation.
"""

from __future__ import annotations

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
from imgtrain.run.machine import available_cores

if TYPE_CHECKING:
    from imgtrain.config.schema import AugmentationConfig

__all__ = ["Batch", "Batches", "ClassMode", "Pixels"]

ClassMode = Literal["categorical", "binary", "sparse"]
Batch = tuple[NDArray[np.uint8], NDArray[Any]] | tuple[NDArray[np.uint8], NDArray[Any], NDArray[np.float32]]
"""Images (b, height, width, channels), labels in the format of the class mode, and optionally weights (b,)."""

_MOST_WORKERS = 8


class Pixels(Protocol):
    """Decoded images by index; an `ImageStore` is one."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""

    def read(self, indices: NDArray[np.integer], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the pixels of some images, (k, height, width, channels), written to `out` if given."""


class Batches:
    """The batches of one split; immutable.

    Labels follow the class mode: `categorical` is one-hot float32 (b, classes), `binary` is float32 0 and 1 (b, 1),
    `sparse` is int32 (b,). For mixed images, labels are shares in [0, 1], and the weight is the mean of both weights
    weighted by these shares.

    Attributes:
        pixels: The source of the images.
        indices: Index in `pixels` of each image of the split, shape (n,).
        labels: Label of each image of the split, int32, shape (n,).
        paths: Relative path of each image of the split; empty if not given. Without shuffling and copies, batches have
            this order; otherwise see `samples`.
        class_count: Number of classes, including those without images.
        batch_size: Images per batch; the last batch of a pass may be smaller.
        steps_per_pass: Batches per pass.
        steps: Batches per epoch.
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
        """Create the batches of a split.

        Args:
            pixels: The decoded images, by index.
            indices: Index in `pixels` of each image, shape (n,), n > 0.
            labels: In [0, class_count), shape (n,).
            class_count: Number of classes, including those without images.
            class_mode: Format of the labels.
            batch_size: Images per batch; the last batch of a pass may be smaller.
            paths: Optional relative path of each image.
            shuffle: Whether to shuffle every pass; otherwise the order is that of `indices`, followed by copies.
            seed: Random seed of order, copies and augmentation.
            augmentation: The augmentation; None for evaluation images.
            balance: With `oversample`, images of smaller classes are repeated equally often until each class is as
                frequent as the largest one; remaining copies are chosen differently in every pass.
            steps: Batches per epoch; None for one pass.
            class_weights: Weight of each class, shape (class_count,); adds weights to the batches.
            label_smoothing: Share of each label to distribute equally over all classes, in [0, 1).

        Raises:
            ValueError: There are no images, or the arguments contradict each other.
        """
        if len(indices) == 0:
            raise ValueError("cannot create batches without images")
        if len(labels) != len(indices) or len(paths) not in (0, len(indices)):
            raise ValueError(
                f"indices, labels and paths must have the same length; got {len(indices)}, {len(labels)}, {len(paths)}"
            )
        if class_mode == "binary" and class_count != 2:
            raise ValueError(f"class mode binary requires exactly two classes; got {class_count}")
        if class_weights is not None and len(class_weights) != class_count:
            raise ValueError(f"class_weights must have {class_count} values; got {len(class_weights)}")
        soft = label_smoothing > 0 or (augmentation is not None and augmentation.mixes)
        if class_mode == "sparse" and soft:
            raise ValueError("class mode sparse doesn't support soft labels; use categorical")
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
        # Two passes, because prefetched batches may belong to the next one.
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
        """Return the number of batches per epoch."""
        return self.steps

    def with_steps(self, steps: int | None) -> Batches:
        """Return the same batches with `steps` batches per epoch; None for one pass."""
        batches = copy(self)
        batches.steps = self.steps_per_pass if steps is None else steps
        return batches

    @property
    def images_per_epoch(self) -> int:
        """Number of images of the first epoch.

        If `steps` is given, other epochs can differ because of the smaller batch at the end of each pass.
        """
        passes, steps_left = divmod(self.steps, self.steps_per_pass)
        return passes * self._images_per_pass + min(steps_left * self.batch_size, self._images_per_pass)

    def samples(self, epoch: int) -> NDArray[np.intp]:
        """Return the sample index (in `indices`, `labels` and `paths`) of each image of an epoch, in order."""
        return np.concatenate([self._members(epoch, step).samples for step in range(self.steps)])

    def stream_indices(self, epoch: int) -> NDArray[np.intp]:
        """Return the random stream index of each image of an epoch, in order.

        It is the image's index in `pixels`, so that its augmentation doesn't depend on the other images of the split;
        copies use subsequent stream indices.
        """
        return np.concatenate([self._members(epoch, step).stream_indices for step in range(self.steps)])

    def batch(self, epoch: int, step: int) -> Batch:
        """Return one batch; deterministic and thread-safe.

        Args:
            epoch: ≥ 0.
            step: In [0, len(self)).

        Raises:
            IndexError: The step is out of range.
        """
        return self._draw(self._members(epoch, step))

    def versions(self, samples: NDArray[np.intp], *, pass_index: int) -> Batch:
        """Return the augmented versions of some images in one pass, without copies drawn by `balance`.

        Args:
            samples: Sample indices, shape (k,).
            pass_index: ≥ 0; without `steps`, the epoch.
        """
        whole = self._pass(pass_index)
        position_of = {index: position for position, index in enumerate(whole.stream_indices.tolist())}
        return self._draw(whole.part([position_of[index] for index in self.indices[samples].tolist()]))

    def read_ahead(
        self, epoch: int, start: int = 0, *, workers: int | None = None, depth: int | None = None
    ) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch in order, prefetching in threads.

        The threads end with the generator, even if it is closed early.

        Args:
            epoch: ≥ 0.
            start: The first step.
            workers: Number of threads; None for one per core, at most eight.
            depth: Number of batches to prefetch; None for two per thread.
        """
        workers = workers or min(available_cores(), _MOST_WORKERS)
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
        """Return a whole epoch as one large batch in memory.

        Args:
            emit: Called with `Progress` events.
            epoch: ≥ 0.
        """
        count = len(self.samples(epoch))
        images = np.empty((count, *self.pixels.shape), np.uint8)
        labels: list[NDArray[Any]] = []
        weights: list[NDArray[np.float32]] = []
        done = 0
        emit(Progress("loading images", done, count))
        for batch, batch_labels, *batch_weights in self.read_ahead(epoch):
            images[done : done + len(batch)] = batch
            labels.append(batch_labels)
            weights += batch_weights
            done += len(batch)
            emit(Progress("loading images", done, count))
        if weights:
            return images, np.concatenate(labels), np.concatenate(weights)
        return images, np.concatenate(labels)

    def unchanged_images(self) -> Iterator[NDArray[np.uint8]]:
        """Yield every image of the split once, without augmentation, in batches (b, height, width, channels)."""
        for start in range(0, len(self.indices), self.batch_size):
            yield self.pixels.read(self.indices[start : start + self.batch_size])

    def targets(self) -> NDArray[Any]:
        """Return the labels of all images of the split in the format of the class mode, in the order of `indices`."""
        return self._encode(self.labels)

    def _members(self, epoch: int, step: int) -> _Pass:
        """Return the part of a pass for one batch."""
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is out of range for {self.steps} batches per epoch")
        pass_index, step = divmod(epoch * self.steps + step, self.steps_per_pass)
        whole = self._pass(pass_index)
        return whole.part(slice(step * self.batch_size, (step + 1) * self.batch_size))

    def _draw(self, members: _Pass) -> Batch:
        """Return the images, labels and weights of a part of a pass, independently of its other parts."""
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
        # Partners outside this part are appended to its images.
        samples, stream_indices, partners = members.with_partners(mixing["own_share"] < 1)
        images = self._augmented(members.pass_index, samples, stream_indices)
        mixed = self._buffers.take((len(members.samples), *self.pixels.shape))
        return (mix_images(images, partners, mixing, mixed), *self._targets(members, mixing))

    def _augmented(
        self, pass_index: int, samples: NDArray[np.intp], stream_indices: NDArray[np.intp]
    ) -> NDArray[np.uint8]:
        """Return the images before mixing."""
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
        """Return labels and, with class weights, weights."""
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
        """Return labels, shape (k,), in the format of the class mode."""
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
        pass_index: ≥ 0.
        samples: Sample indices, in order, shape (k,).
        stream_indices: Random stream index of each sample, shape (k,).
        partner_samples: Sample index of each mixing partner, shape (k,); the sample itself without mixing.
        partner_stream_indices: Random stream index of each partner, shape (k,).
    """

    pass_index: int
    samples: NDArray[np.intp]
    stream_indices: NDArray[np.intp]
    partner_samples: NDArray[np.intp]
    partner_stream_indices: NDArray[np.intp]

    def part(self, part: slice | list[int]) -> _Pass:
        """Return a part of this pass."""
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
        """Return the members followed by their partners from other parts, and the position of each one's partner.

        Args:
            needed: Whether the partner of a member is needed, shape (k,).

        Returns:
            Samples and stream indices, shape (k or more,), and positions of the partners in them, shape (k,).
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
    """Return the images of a pass, their order, and their mixing partners."""
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
    """Return the samples to repeat, so that every class is as frequent as the largest one."""
    generator = make_generator(Stream.COPIES, seed=seed, epoch=pass_index)
    counts = np.bincount(labels)
    classes = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    copies = []
    for members in filter(len, classes):
        all_again, some_again = divmod(counts.max() - len(members), len(members))
        copies.append(np.tile(members, all_again))
        copies.append(np.sort(generator.permutation(members)[:some_again]))
    return np.concatenate(copies)
