"""Augmented versions of some images in the first epochs, without decoding the others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgtrain.augment.preview import Versions, describe_label
from imgtrain.augment.random_streams import Stream, make_generator
from imgtrain.batches.batches import Batches
from imgtrain.errors import DataError, Problem
from imgtrain.events import Emit, Message, ignore
from imgtrain.pixels.decode import DecodeSettings, UndecodableImage
from imgtrain.pixels.decode_workers import decode_in_worker

if TYPE_CHECKING:
    from imgtrain.config.schema import Config
    from imgtrain.dataset.index import ImageFolder
    from imgtrain.dataset.split import Split

__all__ = ["make_versions"]

_AT_ONCE = 8  # number of images whose versions are in memory at a time
_MOST_KEPT = 64  # number of originals that are kept in memory, instead of decoding them again


def make_versions(
    config: Config, split: Split, *, images: int, epochs: int, emit: Emit = ignore
) -> Iterator[Versions]:
    """Choose some images of all classes, and yield their versions in the first epochs, in file order.

    Only these images and those they are mixed with are decoded.

    Args:
        config: The configuration; its seed also determines the choice of images.
        split: The training images.
        images: Number of images; all if there are fewer.
        epochs: Number of epochs.
        emit: Called with a warning for every file that cannot be decoded and is replaced by another one.

    Raises:
        DataError: No file can be decoded.
    """
    augmentation, seed = config.augmentation, config.training.seed
    pixels = _DecodedWhenRead(split.folder, DecodeSettings.of(config.data), emit)
    batches = Batches(
        pixels=pixels,
        indices=split.indices,
        labels=split.labels,
        class_count=len(split.class_names),
        class_mode="categorical",
        batch_size=_AT_ONCE,
        seed=seed,
        augmentation=augmentation,
        balance=config.data.balance,
    )
    readable = (
        sample for sample in _spread_over_classes(split.labels, seed=seed) if pixels.keep(split, sample)
    )
    chosen = np.sort(list(islice(readable, images)))
    if not len(chosen):
        raise DataError(pixels.problems)
    for start in range(0, len(chosen), _AT_ONCE):
        samples = chosen[start : start + _AT_ONCE]
        drawn = [batches.versions(samples, pass_index=epoch) for epoch in range(epochs)]
        for position, sample in enumerate(samples.tolist()):
            original = pixels.read(split.indices[[sample]])
            shares = [labels[position] for _, labels, *_ in drawn]
            yield Versions(
                split.class_names[split.labels[sample]],
                split.paths[sample],
                np.concatenate([original, *(versions[position : position + 1] for versions, *_ in drawn)]),
                (
                    (split.class_names[split.labels[sample]],),
                    *(describe_label(share, split.class_names) for share in shares),
                )
                if augmentation.mixes
                else (),
            )


class _DecodedWhenRead:
    """The pixels of a folder's images, decoded on demand; some of them are kept in memory."""

    def __init__(self, folder: ImageFolder, settings: DecodeSettings, emit: Emit) -> None:
        self.shape = settings.shape
        self.problems: list[Problem] = []
        self._folder = folder
        self._settings = settings
        self._emit = emit
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._bad: set[int] = set()

    def keep(self, split: Split, sample: int) -> bool:
        """Decode an image and keep its pixels; return whether it can be decoded."""
        index = int(split.indices[sample])
        pixels = self._decode(index)
        if pixels is not None and len(self._kept) < _MOST_KEPT:
            self._kept[index] = pixels
        return pixels is not None

    def read(self, indices: NDArray[np.integer], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the pixels of some images, (k, height, width, channels); 0 for images that cannot be decoded."""
        if out is None:
            out = np.empty((len(indices), *self.shape), np.uint8)
        for target, index in zip(out, indices.tolist(), strict=True):
            pixels = self._kept[index] if index in self._kept else self._decode(index)
            target[...] = 0 if pixels is None else pixels
        return out

    def _decode(self, index: int) -> NDArray[np.uint8] | None:
        if index in self._bad:
            return None
        file = self._folder.file(index)
        try:
            return decode_in_worker(file, self._settings).pixels
        except UndecodableImage as error:
            self._bad.add(index)
            self.problems.append(Problem(file, error.reason))
            self._emit(Message(str(self.problems[-1]), "warning"))
            return None


def _spread_over_classes(labels: NDArray[np.int32], *, seed: int) -> Iterator[int]:
    """Yield all samples in random order, alternating between classes."""
    generator = make_generator(Stream.PREVIEW, seed=seed, epoch=0)
    shuffled = generator.permutation(len(labels))
    ranks = generator.permutation(int(labels.max()) + 1)[labels[shuffled]]
    counts = np.bincount(ranks)
    by_class = np.argsort(ranks, kind="stable")
    turns = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    yield from map(int, shuffled[by_class[np.argsort(turns, kind="stable")]])
