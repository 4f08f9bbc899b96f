"""Images that a CSV file lists, wherever they are, as one folder with the indices of each split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.csv_table import RowProblems
from imgtrain.dataset.index import ImageFolder, make_image_folder
from imgtrain.dataset.layout import format_names
from imgtrain.dataset.walk import FoundFile
from imgtrain.errors import did_you_mean

__all__ = ["ListedImage", "ListedSplits", "gather_images", "group_path", "paths_below"]

ListedSplits = tuple[ImageFolder, Mapping[str, NDArray[np.intp]]]
"""All images as one folder, and the sorted image indices of each split, without empty splits."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A row of a CSV file.

    Attributes:
        line: Its line number.
        given: The path as given.
        file: The absolute path of its file.
        size: In bytes.
        mtime_ns: Time of its modification, nanoseconds since 1970.
        split: `train`, `validation` or `test`.
        class_name: Empty if it is not given.
    """

    line: int
    given: str
    file: str
    size: int
    mtime_ns: int
    split: str
    class_name: str


def gather_images(
    images: Sequence[ListedImage],
    *,
    folders: Sequence[Path],
    class_names: Sequence[str] | None,
    problems: RowProblems,
    ignored: Mapping[str, str] | None = None,
) -> ListedSplits:
    """Return all images as one folder, with the indices of each split.

    Args:
        images: At least one.
        folders: The training folder and the other configured folders, absolute.
        class_names: In label order; None uses the sorted classes of the training images.
        problems: Rows that are invalid for other reasons; images of unknown classes are added.
        ignored: Why files are not used, by absolute path.

    Raises:
        DataError: With all problems.
    """
    if class_names is None:
        class_names = sorted({image.class_name for image in images if image.split == "train"})
    labels = {name: label for label, name in enumerate(class_names)}
    for image in images:
        if image.class_name not in labels:
            problems.add(
                image.line,
                f"{image.class_name!r} is not one of the classes",
                f"{did_you_mean(image.class_name, class_names)} The classes are {format_names(class_names, 20)}",
            )
    problems.raise_all()
    root = _common_root([image.file for image in images], folders)
    found = sorted(
        (
            labels[image.class_name],
            FoundFile(_relative(image.file, root), image.size, image.mtime_ns),
            image.split,
        )
        for image in images
    )
    unused = {_relative(file, root): reason for file, reason in (ignored or {}).items()}
    folder = make_image_folder(root, class_names, [(label, file) for label, file, _ in found], unused)
    group_paths = (group_path(str(folder.file(index)), folders, root) for index in range(len(folder)))
    folder = replace(folder, group_paths=tuple(group_paths))
    splits = np.array([split for _, _, split in found])
    by_split = {name: np.flatnonzero(splits == name) for name in ("train", "validation", "test")}
    return folder, {name: indices for name, indices in by_split.items() if len(indices)}


def group_path(file: str, folders: Sequence[Path], root: Path) -> str:
    """Return the path in which regular expressions are searched: relative to the deepest folder that contains it.

    Args:
        file: An image, absolute.
        folders: Those of the configuration, absolute.
        root: The folder that contains all listed images, absolute.
    """
    return next(paths_below(file, [*folders, root]))


def paths_below(file: str, folders: Sequence[Path]) -> Iterator[str]:
    """Yield the path relative to each of the folders that contain the file, deepest first."""
    # The CSV file is often in a parent of the others.
    for folder in sorted(folders, key=lambda folder: -len(str(folder))):
        below = _relative(file, folder)
        if not below.startswith("../"):
            yield below


def _relative(file: str, root: Path) -> str:
    prefix = f"{root}{os.sep}"
    if file.startswith(prefix):  # many times as fast as `relpath`, once per image
        return file[len(prefix) :].replace(os.sep, "/")
    return os.path.relpath(file, root).replace(os.sep, "/")


def _common_root(files: Sequence[str], folders: Sequence[Path]) -> Path:
    common = os.path.commonpath([os.path.dirname(file) for file in files])  # noqa: PTH120
    train = str(folders[0])
    return Path(train) if os.path.commonpath([common, train]) == train else Path(common)
