"""Identical images, and leaks: evaluation images that were also used for training or selecting the model.

Images are identical if they have the same pixels at full size, in any file format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgtrain.config.schema import Config
from imgtrain.dataset.index import ImageFolder
from imgtrain.dataset.layout import count
from imgtrain.dataset.split import Split, Splits, format_class_names
from imgtrain.errors import DataError, Problem
from imgtrain.events import Emit, Message, ignore
from imgtrain.pixels.image_store import ImageStore

__all__ = [
    "DroppedImage",
    "Leak",
    "LeakSource",
    "describe_leak",
    "find_equal_pictures",
    "find_leaks",
    "leak_sources",
    "pictures_of_splits",
    "resolve_leaks",
]


def find_equal_pictures(digests: NDArray[np.uint8], decoded: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return (n,) index of the first image with identical pixels; the image's own index if there is no earlier one.

    Args:
        digests: (n, 16) hashes of the full-size images.
        decoded: (n,) whether the file is decodable; files that aren't have no duplicates.
    """
    first = np.arange(len(digests))
    indices = np.flatnonzero(decoded)
    # NumPy ignores trailing zeros of byte strings, which is harmless if all have the same length.
    texts = np.ascontiguousarray(digests[indices]).view(f"S{digests.shape[1]}").ravel()
    _, earliest, pictures = np.unique(texts, return_index=True, return_inverse=True)
    first[indices] = indices[earliest[pictures]]
    return first


def pictures_of_splits(
    splits: Iterable[Split], stores: Mapping[ImageFolder, ImageStore]
) -> dict[str, NDArray[np.intp]]:
    """Return, for each split, (n,) integer per image, the same for identical pixels in all splits.

    Args:
        splits: Splits with distinct names.
        stores: The decoded pixels of their folders.
    """
    parts = list(splits)
    bad = [np.isin(part.indices, list(stores[part.folder].bad)) for part in parts]
    digests = [stores[part.folder].digests[part.indices] for part in parts]
    pictures = find_equal_pictures(np.concatenate(digests), ~np.concatenate(bad))
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return dict(zip((part.name for part in parts), np.split(pictures, ends), strict=True))


@dataclass(frozen=True, slots=True)
class LeakSource:
    """Images that must not occur in an evaluation split.

    Attributes:
        splits: Names of their splits.
        name: Description of one of them, such as `an image of data.train`.
        decides: Whether such a leak is an error with `data.on_leak: error`; otherwise it is a warning.
    """

    splits: tuple[str, ...]
    name: str
    decides: bool


@dataclass(frozen=True, slots=True, eq=False)
class Leak:
    """The images of an evaluation split that also occur in one source. Each image belongs to at most one leak.

    Attributes:
        split: Name of the evaluation split.
        source: The source; images that occur in several sources are counted for the first one.
        samples: (k,) sorted sample indices of the leaked images.
        copies: For each of them, split and sample index of the first duplicate in the source.
    """

    split: str
    source: LeakSource
    samples: NDArray[np.intp]
    copies: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class DroppedImage:
    """A leaked image that is dropped.

    Attributes:
        index: Its image index.
        path: Relative to the folder of its split.
        copy_split: Name of the split that contains the duplicate.
        copy_path: Path of the first duplicate there.
    """

    index: int
    path: str
    copy_split: str
    copy_path: str


def leak_sources(splits: Splits, scored: Split) -> tuple[LeakSource, ...]:
    """Return the sources of leaks into an evaluation split, most severe first.

    Args:
        splits: All splits, with drawn validation images.
        scored: The validation or the test split.
    """
    # After drawing validation images, or with a split file.
    one_folder = scored.folder is splits.train.folder
    train = "a training image" if one_folder else "an image of data.train"
    if scored.name != "test":
        return (LeakSource(("train",), train, decides=False),)
    if splits.validation is None:
        return (LeakSource(("train",), train, decides=True),)
    if splits.holdout is not None:
        # Images held out of data.train count as training images: they select the best epoch.
        return (LeakSource(("train", "validation"), train, decides=True),)
    validation = "a validation image" if one_folder else "an image of data.validation"
    return (
        LeakSource(("train",), train, decides=True),
        LeakSource(("validation",), validation, decides=False),
    )


def find_leaks(splits: Splits, pictures: Mapping[str, NDArray[np.intp]]) -> list[Leak]:
    """Return the leaks into the validation split, then those into the test split.

    Args:
        splits: All splits, with drawn validation images.
        pictures: For each split, (n,) integer per image, the same for identical pixels in all splits.
    """
    leaks = []
    for part in splits:
        if part.name == "train":
            continue
        scored = pictures[part.name]
        counted = np.zeros(len(scored), bool)
        for source in leak_sources(splits, part):
            known, first = np.unique(
                np.concatenate([pictures[name] for name in source.splits]), return_index=True
            )
            leaked = np.isin(scored, known) & ~counted
            counted |= leaked
            if leaked.any():
                copies = first[np.searchsorted(known, scored[leaked])]
                lengths = [len(pictures[name]) for name in source.splits]
                leaks.append(
                    Leak(part.name, source, np.flatnonzero(leaked), _locate(copies, source.splits, lengths))
                )
    return leaks


def _locate(
    joined: NDArray[np.intp], names: Sequence[str], lengths: Sequence[int]
) -> tuple[tuple[str, int], ...]:
    """Return split and sample index for positions in the concatenated splits."""
    starts = np.cumsum([0, *lengths[:-1]])
    splits = np.searchsorted(starts, joined, side="right") - 1
    return tuple(
        (names[split], sample)
        for split, sample in zip(splits.tolist(), (joined - starts[splits]).tolist(), strict=True)
    )


def resolve_leaks(
    config: Config, splits: Splits, pictures: Mapping[str, NDArray[np.intp]], emit: Emit = ignore
) -> dict[str, tuple[DroppedImage, ...]]:
    """Reject leaks, warn about them, or return the images to drop, according to `data.on_leak`.

    Args:
        config: The configuration.
        splits: All splits, with drawn validation images.
        pictures: As in `find_leaks`.
        emit: Called with warnings.

    Returns:
        With `drop`, the images to drop, by split.

    Raises:
        DataError: Test images are also training images and `on_leak` is `error`, or `drop` would empty a split.
    """
    by_name = {part.name: part for part in splits}
    problems: list[Problem] = []
    dropped: dict[str, tuple[DroppedImage, ...]] = {}
    for leak in find_leaks(splits, pictures):
        images = _leaked_images(leak, by_name)
        what = (
            f"{describe_leak(leak, len(images), len(by_name[leak.split]))}, first {images[0].path} and "
            f"{images[0].copy_path}"
        )
        if config.data.on_leak == "drop":
            emit(Message(f"{what}; dropped (`data.on_leak: drop`) and listed in data.json", "warning"))
            dropped[leak.split] = (*dropped.get(leak.split, ()), *images)
        elif leak.source.decides and config.data.on_leak == "error":
            problems.append(
                Problem(
                    config.where("data", leak.split),
                    f"{what}: the {leak.split} scores would be too optimistic",
                    f"set `data.on_leak: drop` to drop these {leak.split} images, or `warn` to keep them; "
                    "`imgtrain check` lists all of them, and its option --fix-split writes a split without leaks",
                )
            )
        else:
            emit(Message(f"{what}: the {leak.split} scores would be too optimistic", "warning"))
    for name, images in dropped.items():
        problems += _check_rest(config, by_name[name], images, emit)
    if problems:
        raise DataError(problems)
    return dropped


def describe_leak(leak: Leak, leaked: int, images: int, *, kind: str = "the same pixels") -> str:
    """Return a description such as `2 of 8 test images have the same pixels as an image of data.train`."""
    have = "has" if leaked == 1 else "have"
    return f"{leaked:,} of {count(images, f'{leak.split} image')} {have} {kind} as {leak.source.name}"


def _leaked_images(leak: Leak, by_name: Mapping[str, Split]) -> tuple[DroppedImage, ...]:
    part = by_name[leak.split]
    indices = part.indices[leak.samples].tolist()
    images = []
    for index, (name, sample) in zip(indices, leak.copies, strict=True):
        copy = by_name[name]
        copy_path = copy.folder.paths[copy.indices[sample]]
        images.append(DroppedImage(index, part.folder.paths[index], name, copy_path))
    return tuple(images)


def _check_rest(config: Config, part: Split, dropped: Sequence[DroppedImage], emit: Emit) -> list[Problem]:
    """Return a problem if a split becomes empty; warn if a class does."""
    rest = part.without([image.index for image in dropped])
    if not len(rest):
        what = f"no {part.name} images remain: `data.on_leak: drop` drops all {len(part):,}"
        hint = f"provide {part.name} images that are not training images, or no {part.name} images"
        return [Problem(config.where("data", part.name), what, hint)]
    gone = (part.counts() > 0) & (rest.counts() == 0)
    if gone.any():
        names = [name for name, is_gone in zip(part.class_names, gone, strict=True) if is_gone]
        emit(Message(f"no {part.name} images of {format_class_names(names)} remain", "warning"))
    return []
