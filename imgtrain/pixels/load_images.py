"""The splits' pixels: every folder decoded once, bad files and leaks dealt with as the configuration says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgtrain.config.schema import Config
from imgtrain.dataset.index import ImageFolder
from imgtrain.dataset.split import Split, Splits
from imgtrain.errors import DataError, Problem
from imgtrain.events import Emit, Message, ignore
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.decode_workers import stop_idle_workers
from imgtrain.pixels.image_store import Cache, ImageStore, open_image_store
from imgtrain.pixels.leaks import find_leaks

__all__ = ["Images", "SplitImages", "decode_splits", "load_images", "load_splits"]


@dataclass(frozen=True, slots=True, eq=False)
class SplitImages:
    """A split and its pixels.

    Attributes:
        split: The images, without those that were skipped.
        pixels: The pixels of the split's whole folder; `split.indices` says which are the split's.
        skipped: (relative path, reason) of each file that could not be decoded.
    """

    split: Split
    pixels: ImageStore
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """All splits with their pixels; a split that the configuration does not name is None."""

    train: SplitImages
    validation: SplitImages | None
    test: SplitImages | None

    def __iter__(self) -> Iterator[SplitImages]:
        """Go through the splits that there are."""
        return (images for images in (self.train, self.validation, self.test) if images is not None)

    def evaluated(self) -> tuple[SplitImages, ...]:
        """Return the splits that scores are given for: validation and test, as far as there are."""
        return tuple(part for part in (self.validation, self.test) if part is not None)

    def fingerprint(self) -> str:
        """Return a hash of which pictures are in which split under which class.

        It follows the decoded pixels, so that it is the same for a copy of the data elsewhere.
        """
        hasher = hashlib.sha256()
        for part in self:
            hasher.update(f"{part.split.name} {len(part.split)} ".encode())
            hasher.update(part.split.labels.astype("<i4").tobytes())
            hasher.update(part.pixels.digests[part.split.indices].tobytes())
        return f"sha256:{hasher.hexdigest()}"

    def describe(self) -> dict[str, Any]:
        """Return the contents of `data.json`: every image of every split, and what was skipped.

        Two images with the same digest have the same pixels, whatever their names and file formats.
        """
        splits = {
            part.split.name: {
                "folder": str(part.split.folder.root),
                "images": [
                    {"path": path, "class": part.split.class_names[label], "digest": digest.tobytes().hex()}
                    for path, label, digest in zip(
                        part.split.paths,
                        part.split.labels,
                        part.pixels.digests[part.split.indices],
                        strict=True,
                    )
                ],
                "skipped": [{"path": path, "reason": reason} for path, reason in part.skipped],
            }
            for part in self
        }
        return {"fingerprint": self.fingerprint(), "splits": splits}


def load_images(config: Config, splits: Splits, emit: Emit = ignore) -> Images:
    """Decode every file of every split, or find the pixels in the cache; then look for leaks.

    Raises:
        DataError: As `load_splits`; or images of the test folder are training images too and `on_leak` is
            `error`.
        RunFileError: The cache cannot be written.
    """
    data = config.data
    gathered = load_splits(
        splits,
        DecodeSettings.of(data),
        cache=data.cache,
        cache_directory=data.cache_directory,
        on_bad_image=data.on_bad_image,
        emit=emit,
    )
    images = Images(gathered["train"], gathered.get("validation"), gathered.get("test"))
    _look_for_leaks(config, images, emit)
    return images


def decode_splits(
    splits: Iterable[Split],
    settings: DecodeSettings,
    *,
    cache: Cache,
    cache_directory: Path | None,
    emit: Emit = ignore,
) -> Mapping[ImageFolder, ImageStore]:
    """Decode every file of the splits' folders, or find the pixels in the cache; each folder once.

    Args:
        splits: Their names are shown with the progress.
        settings: What every image is brought to.
        cache: As `data.cache`.
        cache_directory: As `data.cache_directory`.
        emit: Takes progress and messages.

    Raises:
        RunFileError: The cache cannot be written.
    """
    stores: dict[ImageFolder, ImageStore] = {}
    for split in splits:
        if split.folder not in stores:
            stores[split.folder] = open_image_store(
                split.folder,
                settings,
                cache=cache,
                cache_directory=cache_directory,
                task=f"decoding {split.name}",
                emit=emit,
            )
    return stores


def load_splits(
    splits: Iterable[Split],
    settings: DecodeSettings,
    *,
    cache: Cache,
    cache_directory: Path | None,
    on_bad_image: str,
    emit: Emit = ignore,
) -> dict[str, SplitImages]:
    """Decode as `decode_splits`, and leave out or refuse files that cannot be decoded.

    Args:
        splits: With names of their own.
        settings: What every image is brought to.
        cache: As `data.cache`.
        cache_directory: As `data.cache_directory`.
        on_bad_image: As `data.on_bad_image`.
        emit: Takes progress and messages.

    Returns:
        The splits and their pixels, by the splits' names.

    Raises:
        DataError: Files cannot be decoded, all of them named, and `on_bad_image` is `error`; or a split, or a
            class of the training images, has no image left.
        RunFileError: The cache cannot be written.
    """
    splits = list(splits)
    stores = decode_splits(splits, settings, cache=cache, cache_directory=cache_directory, emit=emit)
    stop_idle_workers()  # what comes next wants the memory
    problems: list[Problem] = []
    gathered: dict[str, SplitImages] = {}
    for split in splits:
        folder, pixels = split.folder, stores[split.folder]
        bad = [int(index) for index in split.indices if int(index) in pixels.bad]
        if on_bad_image == "error":
            problems += [
                Problem(str(folder.file(index)), f"cannot be decoded: {pixels.bad[index]}") for index in bad
            ]
        skipped = tuple((folder.paths[index], pixels.bad[index]) for index in bad)
        gathered[split.name] = SplitImages(split.without(bad), pixels, skipped)
    if problems:
        files = "1 file" if len(problems) == 1 else f"{len(problems):,} files"
        hint = "repair or remove them (`imgtrain check --sheet` shows them), or set `data.on_bad_image: skip`"
        raise DataError([*problems, Problem("", f"{files} cannot be decoded", hint)])
    _say_what_was_skipped(gathered.values(), emit)
    return gathered


def _say_what_was_skipped(gathered: Iterable[SplitImages], emit: Emit) -> None:
    problems = []
    for part in gathered:
        if part.skipped:
            first, reason = part.skipped[0]
            emit(
                Message(
                    f"{part.split.name}: {len(part.skipped)} of {len(part.split) + len(part.skipped)} files cannot "
                    f"be decoded and are skipped, first {first}: {reason}; all are listed in data.json",
                    "warning",
                )
            )
        empty = [
            name
            for name, count in zip(part.split.class_names, part.split.counts(), strict=True)
            if count == 0 and part.split.name == "train"
        ]
        if len(part.split) == 0:
            problems.append(Problem(part.split.name, "no image is left: none of its files can be decoded"))
        elif empty:
            problems.append(Problem(part.split.name, f"no image is left of class {', '.join(empty)}"))
    if problems:
        raise DataError(problems)


def _look_for_leaks(config: Config, images: Images, emit: Emit) -> None:
    """Refuse, or warn of, evaluation images that the network is trained on or chosen by.

    Images held out of the training folder count as training images for the test: they choose the epoch.
    """
    problems = []
    for known, part in _pairs_to_compare(images):
        pairs = find_leaks(known.split, known.pixels, part.split, part.pixels)
        if not pairs:
            continue
        name, where = part.split.name, known.split.name
        count = len({other for _, other in pairs})
        known_path, other_path = pairs[0]
        what = (
            f"{count} of {len(part.split)} {name} images have the same pixels as a {_IN_WORDS[where]} image, "
            f"first {other_path} and {known_path} in {where}: the {name} scores would be too good"
        )
        in_training_folder = where == "train" or known.split.folder is images.train.split.folder
        if name == "test" and in_training_folder and config.data.on_leak == "error":
            problems.append(
                Problem(
                    config.where("data", "test"),
                    what,
                    "`imgtrain check` lists them all, and its option --fix-split writes a list without them for "
                    "data.split_file; or set `data.on_leak: warn` to train all the same",
                )
            )
        else:
            emit(Message(what, "warning"))
    if problems:
        raise DataError(problems)


def _pairs_to_compare(images: Images) -> Iterator[tuple[SplitImages, SplitImages]]:
    """Go through the pairs of splits that should have no picture in common; the second is scored."""
    for part in images.evaluated():
        yield images.train, part
    if images.validation is not None and images.test is not None:
        yield images.validation, images.test


_IN_WORDS = {"train": "training", "validation": "validation"}
