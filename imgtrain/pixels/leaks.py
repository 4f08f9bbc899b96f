"""Images that are scored although the network is trained on the same picture, or chosen by it: leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgtrain.config.schema import Config
from imgtrain.dataset.layout import count
from imgtrain.dataset.split import Split, Splits, name_classes
from imgtrain.errors import DataError, Problem
from imgtrain.events import Emit, Message, ignore

__all__ = ["DroppedImage", "Leak", "LeakSource", "find_leaks", "leak_sources", "resolve_leaks", "say_leak"]


@dataclass(frozen=True, slots=True)
class LeakSource:
    """Images that a scored split should have no picture in common with.

    Attributes:
        splits: Names of the splits that they are in.
        name: What to call one of them, such as `an image of data.train`.
        decides: Whether `data.on_leak: error` stops at such a leak; otherwise it is a warning.
    """

    splits: tuple[str, ...]
    name: str
    decides: bool


@dataclass(frozen=True, slots=True, eq=False)
class Leak:
    """The images of a scored split that show a picture of one source. An image is in one leak at most.

    Attributes:
        split: Name of the scored split.
        source: Where the pictures are, too; an image that is in several sources is counted for the first.
        samples: (k,) sample indices of the leaked images, sorted.
        copies: For each of them, split and sample index of the first image of the source with its picture.
    """

    split: str
    source: LeakSource
    samples: NDArray[np.intp]
    copies: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class DroppedImage:
    """A leaked image that is left out.

    Attributes:
        index: Its image index.
        path: Relative to the folder of its split.
        copy_split: Name of the split with the same picture.
        copy_path: Of the first image with the same picture there.
    """

    index: int
    path: str
    copy_split: str
    copy_path: str


def leak_sources(splits: Splits, scored: Split) -> tuple[LeakSource, ...]:
    """Return what a split should have no picture in common with, the most harmful first.

    Args:
        splits: All of them; a validation split has been drawn.
        scored: The validation or the test split.
    """
    # As after a draw, or where a split file lists the images of all splits.
    one_folder = scored.folder is splits.train.folder
    train = "a training image" if one_folder else "an image of data.train"
    if scored.name != "test":
        return (LeakSource(("train",), train, decides=False),)
    if splits.validation is None:
        return (LeakSource(("train",), train, decides=True),)
    if splits.holdout is not None:
        # Images held out of data.train count as training images: they choose the epoch.
        return (LeakSource(("train", "validation"), train, decides=True),)
    validation = "a validation image" if one_folder else "an image of data.validation"
    return (
        LeakSource(("train",), train, decides=True),
        LeakSource(("validation",), validation, decides=False),
    )


def find_leaks(splits: Splits, pictures: Mapping[str, NDArray[np.intp]]) -> list[Leak]:
    """Return what is scored and should not be: validation images first, then test images.

    Args:
        splits: All of them; a validation split has been drawn.
        pictures: For each split, (n,) the picture that each image shows: the same integer in all splits.
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
    """Return split and sample index for positions in the splits' images, one split behind the other."""
    starts = np.cumsum([0, *lengths[:-1]])
    splits = np.searchsorted(starts, joined, side="right") - 1
    return tuple(
        (names[split], sample)
        for split, sample in zip(splits.tolist(), (joined - starts[splits]).tolist(), strict=True)
    )


def resolve_leaks(
    config: Config, splits: Splits, pictures: Mapping[str, NDArray[np.intp]], emit: Emit = ignore
) -> dict[str, tuple[DroppedImage, ...]]:
    """Refuse leaks, warn of them, or say what is to be left out, as `data.on_leak` says.

    Args:
        config: The configuration.
        splits: All of them; a validation split has been drawn.
        pictures: As for `find_leaks`.
        emit: Takes warnings.

    Returns:
        With `drop`, what is to be left out of each split, by its name.

    Raises:
        DataError: Test images are training images too and `on_leak` is `error`; or `drop` would leave a split
            empty.
    """
    by_name = {part.name: part for part in splits}
    problems: list[Problem] = []
    dropped: dict[str, tuple[DroppedImage, ...]] = {}
    for leak in find_leaks(splits, pictures):
        images = _leaked_images(leak, by_name)
        what = (
            f"{say_leak(leak, len(images), len(by_name[leak.split]))}, first {images[0].path} and "
            f"{images[0].copy_path}"
        )
        if config.data.on_leak == "drop":
            emit(Message(f"{what}; left out by `data.on_leak: drop` and listed in data.json", "warning"))
            dropped[leak.split] = (*dropped.get(leak.split, ()), *images)
        elif leak.source.decides and config.data.on_leak == "error":
            problems.append(
                Problem(
                    config.where("data", leak.split),
                    f"{what}: the {leak.split} scores would be too good",
                    f"set `data.on_leak: drop` to leave these {leak.split} images out, or `warn` to keep them; "
                    "`imgtrain check` lists them all, and its option --fix-split proposes other splits",
                )
            )
        else:
            emit(Message(f"{what}: the {leak.split} scores would be too good", "warning"))
    for name, images in dropped.items():
        problems += _check_rest(config, by_name[name], images, emit)
    if problems:
        raise DataError(problems)
    return dropped


def say_leak(leak: Leak, leaked: int, images: int, *, kind: str = "the same pixels") -> str:
    """Return how many of a split's images leak, such as `2 of 8 test images have … as an image of data.train`."""
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
    """Return a problem if nothing is left of a split; warn of classes of which nothing is left."""
    rest = part.without([image.index for image in dropped])
    if not len(rest):
        what = f"no {part.name} image is left: `data.on_leak: drop` leaves all {len(part):,} out"
        hint = f"give {part.name} images that are not among the training images, or no {part.name} images"
        return [Problem(config.where("data", part.name), what, hint)]
    gone = (part.counts() > 0) & (rest.counts() == 0)
    if gone.any():
        names = [name for name, is_gone in zip(part.class_names, gone, strict=True) if is_gone]
        emit(Message(f"no {part.name} image is left of {name_classes(names)}", "warning"))
    return []
