"""Load the pixels of all splits, and handle bad files and leaks according to the configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imgtrain.config.schema import Config
from imgtrain.dataset.holdout import draw_validation
from imgtrain.dataset.index import ImageFolder
from imgtrain.dataset.layout import count
from imgtrain.dataset.split import Split, Splits
from imgtrain.errors import DataError, Problem
from imgtrain.events import Emit, Message, ignore
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.decode_workers import stop_idle_workers
from imgtrain.pixels.image_store import Cache, ImageStore, open_image_store
from imgtrain.pixels.leaks import DroppedImage, pictures_of_splits, resolve_leaks

__all__ = [
    "Images",
    "SplitImages",
    "decode_splits",
    "draw_splits",
    "leave_out_pictures",
    "load_images",
    "load_splits",
]


@dataclass(frozen=True, slots=True, eq=False)
class SplitImages:
    """A split and its pixels.

    Attributes:
        split: The images, without skipped and dropped ones.
        pixels: The pixels of the whole folder; `split.indices` are those of the split.
        skipped: (relative path, reason) of the files that could not be decoded.
        dropped: The images dropped by `data.on_leak: drop`.
    """

    split: Split
    pixels: ImageStore
    skipped: tuple[tuple[str, str], ...] = ()
    dropped: tuple[DroppedImage, ...] = ()

    def dropped_pictures(self) -> tuple[str, ...]:
        """Return the distinct hashes of the dropped images as hexadecimal digits."""
        digests = (self.pixels.digests[image.index].tobytes().hex() for image in self.dropped)
        return tuple(dict.fromkeys(digests))


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """All splits with their pixels; None for splits that don't exist."""

    train: SplitImages
    validation: SplitImages | None
    test: SplitImages | None

    def __iter__(self) -> Iterator[SplitImages]:
        """Iterate over the existing splits."""
        return (images for images in (self.train, self.validation, self.test) if images is not None)

    def evaluated(self) -> tuple[SplitImages, ...]:
        """Return the existing evaluation splits: validation and test."""
        return tuple(part for part in (self.validation, self.test) if part is not None)

    def fingerprint(self) -> str:
        """Return a hash of the images, their classes and splits.

        It is based on decoded pixels, so it is the same for copies of the data in other folders.
        """
        hasher = hashlib.sha256()
        for part in self:
            hasher.update(f"{part.split.name} {len(part.split)} ".encode())
            hasher.update(part.split.labels.astype("<i4").tobytes())
            hasher.update(part.pixels.digests[part.split.indices].tobytes())
        return f"sha256:{hasher.hexdigest()}"

    def describe(self) -> dict[str, Any]:
        """Return the contents of `data.json`: all images of all splits, and skipped and dropped ones.

        Images with the same digest have the same pixels, whatever their names and file formats.
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
                "dropped": [
                    {
                        "path": image.path,
                        "same_pixels_as": {"split": image.copy_split, "path": image.copy_path},
                    }
                    for image in part.dropped
                ],
            }
            for part in self
        }
        return {"fingerprint": self.fingerprint(), "splits": splits}


def load_images(config: Config, splits: Splits, emit: Emit = ignore) -> Images:
    """Decode all files or load them from the cache, draw the validation images, and resolve leaks.

    Args:
        config: The configuration.
        splits: Result of `split_data`.
        emit: Called with events.

    Raises:
        DataError: As in `load_splits`, `draw_validation` and `resolve_leaks`.
        RunFileError: The cache cannot be written.
    """
    data = config.data
    stores = decode_splits(
        splits, DecodeSettings.of(data), cache=data.cache, cache_directory=data.cache_directory, emit=emit
    )
    stop_idle_workers()  # to free memory for training
    if data.on_bad_image == "error":
        _raise_bad_images(splits, stores)
    drawn = draw_splits(splits, stores)
    for warning in drawn.warnings[len(splits.warnings) :]:
        emit(Message(warning, "warning"))
    parts = {split.name: _leave_out_bad_images(split, stores[split.folder]) for split in drawn}
    _report_skipped(parts.values(), emit)
    if not data.shows_transparency:
        _report_hidden_colors(parts.values(), emit)
    validation, test = (parts[name].split if name in parts else None for name in ("validation", "test"))
    drawn = replace(drawn, train=parts["train"].split, validation=validation, test=test)
    dropped = resolve_leaks(config, drawn, pictures_of_splits(drawn, stores), emit)
    for name, images in dropped.items():
        rest = parts[name].split.without([image.index for image in images])
        parts[name] = replace(parts[name], split=rest, dropped=images)
    return Images(parts["train"], parts.get("validation"), parts.get("test"))


def decode_splits(
    splits: Iterable[Split],
    settings: DecodeSettings,
    *,
    cache: Cache,
    cache_directory: Path | None,
    emit: Emit = ignore,
) -> Mapping[ImageFolder, ImageStore]:
    """Decode all files of the splits' folders or load them from the cache; each folder once.

    Args:
        splits: The splits; their names are shown with the progress.
        settings: Size and color mode.
        cache: As `data.cache`.
        cache_directory: As `data.cache_directory`.
        emit: Called with events.

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


def draw_splits(splits: Splits, stores: Mapping[ImageFolder, ImageStore]) -> Splits:
    """Draw the validation images, if configured, without splitting duplicates.

    Files that cannot be decoded take part in the draw, so the split stays the same if they are skipped.

    Args:
        splits: Result of `split_data`.
        stores: Result of `decode_splits`.

    Raises:
        DataError: As in `draw_validation`.
    """
    if splits.holdout is None:
        return splits
    return draw_validation(splits, pictures_of_splits([splits.train], stores)["train"])


def load_splits(
    splits: Iterable[Split],
    settings: DecodeSettings,
    *,
    cache: Cache,
    cache_directory: Path | None,
    on_bad_image: str,
    emit: Emit = ignore,
) -> dict[str, SplitImages]:
    """Decode as in `decode_splits`, and skip or reject files that cannot be decoded.

    Args:
        splits: Splits with distinct names.
        settings: Size and color mode.
        cache: As `data.cache`.
        cache_directory: As `data.cache_directory`.
        on_bad_image: As `data.on_bad_image`.
        emit: Called with events.

    Returns:
        The splits and their pixels, by name.

    Raises:
        DataError: Files cannot be decoded and `on_bad_image` is `error` (lists all of them), or no images of a split
            or a training class remain.
        RunFileError: The cache cannot be written.
    """
    splits = list(splits)
    stores = decode_splits(splits, settings, cache=cache, cache_directory=cache_directory, emit=emit)
    stop_idle_workers()
    if on_bad_image == "error":
        _raise_bad_images(splits, stores)
    parts = {split.name: _leave_out_bad_images(split, stores[split.folder]) for split in splits}
    _report_skipped(parts.values(), emit)
    return parts


def leave_out_pictures(part: SplitImages, digests: Collection[str], emit: Emit = ignore) -> SplitImages:
    """Drop the images that training dropped because they are also training images.

    Args:
        part: The images.
        digests: `SplitImages.dropped_pictures` of the training.
        emit: Called with a warning.

    Raises:
        DataError: No images remain.
    """
    known = set(digests)
    leaked = [
        index
        for index in (part.split.indices.tolist() if known else ())
        if part.pixels.digests[index].tobytes().hex() in known
    ]
    if not leaked:
        return part
    what = (
        f"{len(leaked):,} of {count(len(part.split), f'{part.split.name} image')} are dropped, as in "
        "training, because they have the same pixels as training images"
    )
    if len(leaked) == len(part.split):
        raise DataError(Problem(part.split.folder.root, what, "give a folder with other images"))
    emit(Message(what, "warning"))
    return replace(part, split=part.split.without(leaked))


def _raise_bad_images(splits: Iterable[Split], stores: Mapping[ImageFolder, ImageStore]) -> None:
    problems = [
        Problem(split.folder.file(index), f"cannot be decoded: {bad[index]}")
        for split in splits
        for bad in (stores[split.folder].bad,)
        for index in split.indices.tolist()
        if index in bad
    ]
    if problems:
        files = "1 file" if len(problems) == 1 else f"{len(problems):,} files"
        hint = "repair or remove them (`imgtrain check --sheet` shows them), or set `data.on_bad_image: skip`"
        raise DataError([*problems, Problem("", f"{files} cannot be decoded", hint)])


def _leave_out_bad_images(split: Split, pixels: ImageStore) -> SplitImages:
    bad = [index for index in split.indices.tolist() if index in pixels.bad]
    skipped = tuple((split.folder.paths[index], pixels.bad[index]) for index in bad)
    return SplitImages(split.without(bad), pixels, skipped)


def _report_hidden_colors(parts: Iterable[SplitImages], emit: Emit) -> None:
    hidden = sum(int(part.pixels.stats["hidden_colors"][part.split.indices].sum()) for part in parts)
    if hidden:
        emit(
            Message(
                f"{count(hidden, 'image')} with several colors under completely transparent pixels, which the network "
                "sees; set data.background: [255, 255, 255] to blend transparent images with white"
            )
        )


def _report_skipped(gathered: Iterable[SplitImages], emit: Emit) -> None:
    problems = []
    for part in gathered:
        if part.skipped:
            first, reason = part.skipped[0]
            emit(
                Message(
                    f"{part.split.name}: skipped {len(part.skipped)} of "
                    f"{len(part.split) + len(part.skipped)} files that "
                    f"cannot be decoded, first {first}: {reason}; data.json lists all of them",
                    "warning",
                )
            )
        empty = [
            name
            for name, count in zip(part.split.class_names, part.split.counts(), strict=True)
            if count == 0 and part.split.name == "train"
        ]
        if len(part.split) == 0:
            problems.append(Problem(part.split.name, "no images remain: none of its files can be decoded"))
        elif empty:
            problems.append(Problem(part.split.name, f"no images of class {', '.join(empty)} remain"))
    if problems:
        raise DataError(problems)
