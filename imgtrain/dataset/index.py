"""List the images and labels of a folder with one subfolder per class, without opening the files.

As in Keras and torchvision, class folders can be symbolic links; links to folders below them are only followed with
`follow_links`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.layout import (
    count,
    describe_listing,
    find_class_roots,
    find_folder_problem,
    format_names,
    split_of_name,
)
from imgtrain.dataset.walk import IMAGE_SUFFIXES, FoundFile, Listing, list_folder, walk_below
from imgtrain.errors import DataError, Problem, did_you_mean
from imgtrain.text import printable

__all__ = [
    "FOLDER_LINK",
    "IMAGE_SUFFIXES",
    "LOOSE_IMAGE",
    "NESTED_IMAGE",
    "ImageFolder",
    "Nested",
    "index_folder",
    "make_image_folder",
    "read_only",
]

# Why images are ignored that the user may expect to be used.
LOOSE_IMAGE = "is not in a class folder"
NESTED_IMAGE = "is in a subfolder of its class folder"
FOLDER_LINK = "a link to a folder, and follow_links is false"
ABOVE_LEAVES = "is not in a deepest folder"

Nested: TypeAlias = bool | Literal["leaf"]
"""As `data.nested`."""

# The problem, and how to fix it.
_WhatAndHint: TypeAlias = tuple[str, str]
Number = TypeVar("Number", bound=np.generic)

_HOW_TO_FOLLOW = "set `data.follow_links: true` and `data.nested: true`, or replace the links by the images"
_HOW_IT_SHOULD_BE = "give a folder with one subfolder per class that contains its images"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImageFolder:
    """The images of one folder, sorted by label and path. All arrays have shape (n,) and are read-only.

    Attributes:
        root: The folder, absolute.
        class_names: In label order.
        paths: Relative to `root`, with POSIX separators.
        group_paths: The paths in which `data.group_by` is searched: like `paths`, but relative to the configured
            folder of each image, in case a split file combines several folders.
        labels: int32, index in `class_names`.
        sizes: int64, bytes.
        mtimes_ns: int64, nanoseconds since 1970.
        ignored: Why a path was ignored, by relative path; without hidden files and folders.
    """

    root: Path
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    group_paths: tuple[str, ...]
    labels: NDArray[np.int32]
    sizes: NDArray[np.int64]
    mtimes_ns: NDArray[np.int64]
    ignored: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        sizes = f"{count(len(self), 'image')}, {count(len(self.class_names), 'class')}"
        return printable(f"<ImageFolder {self.root}: {sizes}>")

    def file(self, index: int) -> Path:
        """Return the absolute path of an image."""
        return self.root / self.paths[index]

    def counts(self) -> NDArray[np.int64]:
        """Return the number of images of each class, in label order, shape (classes,)."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)


def read_only(array: NDArray[Number]) -> NDArray[Number]:
    """Make an array read-only in place, and return it."""
    array.flags.writeable = False
    return array


def index_folder(
    root: Path | str,
    *,
    class_names: Sequence[str] | None = None,
    nested: Nested = False,
    follow_links: bool = False,
    where: str = "",
) -> ImageFolder:
    """List the images of a folder with one subfolder per class.

    Args:
        root: The folder.
        class_names: In label order. None uses the sorted names of the subfolders, each of which must contain an
            image. If given, subfolders with other names and images are errors, but classes can be missing or empty.
        nested: Whether class folders are searched recursively. `leaf` makes a class of every folder with images and
            without subfolders that contain images, named by its path relative to `root`.
        follow_links: Whether to follow symbolic links to folders below the class folders.
        where: The configuration key to show in errors.

    Raises:
        DataError: With all problems, the contents of the folder, and suggestions.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 (resolve() would replace links by what the user did not write)
    if reason := find_folder_problem(root):
        raise DataError(Problem(where, *reason))
    top = list_folder(root)
    ignored = {
        **{image.path: LOOSE_IMAGE for image in top.images},
        **top.strays,
    }
    problems: list[_WhatAndHint] = []
    classes: dict[str, _ClassFolder] = {}
    for folder in top.folders:
        found = _read_class_folder(root, folder.name, nested=bool(nested), follow_links=follow_links)
        problems += found.unreadable
        ignored.update(found.ignored)
        classes[folder.name] = found
    if wrong := _wrong_level(root, top, classes, class_names):
        problems.insert(0, wrong)
        raise DataError([Problem(where, *problem) for problem in problems])
    if nested == "leaf":
        classes = _split_into_leaves(classes, ignored)
    if class_names is None:
        problems += _problems_of_new_classes(root, classes)
    else:
        problems += _problems_of_known_classes(root, top, classes, class_names)
    if problems:
        raise DataError([Problem(where, *problem) for problem in problems])
    names = tuple(classes) if class_names is None else class_names
    ignored |= dict.fromkeys(classes.keys() - set(names), "a folder without images")
    return make_image_folder(
        root,
        names,
        [
            (label, image)
            for label, name in enumerate(names)
            if name in classes
            for image in classes[name].images
        ],
        ignored,
    )


def make_image_folder(
    root: Path,
    class_names: Sequence[str],
    images: Sequence[tuple[int, FoundFile]],
    ignored: Mapping[str, str],
) -> ImageFolder:
    """Return the (label, file) pairs as an `ImageFolder`, sorted by label and path."""
    images = sorted(images)
    paths = tuple(image.path for _, image in images)
    return ImageFolder(
        root=root,
        class_names=tuple(class_names),
        paths=paths,
        group_paths=paths,
        labels=read_only(np.array([label for label, _ in images], np.int32)),
        sizes=read_only(np.array([image.size for _, image in images], np.int64)),
        mtimes_ns=read_only(np.array([image.mtime_ns for _, image in images], np.int64)),
        ignored=dict(sorted(ignored.items())),
    )


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    """The contents of a class folder; `deeper` counts the images in subfolders, which are only used with `nested`."""

    top: Listing
    images: list[FoundFile]
    deeper: dict[str, int]
    ignored: dict[str, str]
    unreadable: list[_WhatAndHint]

    @property
    def links(self) -> list[str]:
        """Paths of the links to folders that were not followed, relative to the root."""
        return [path for path, reason in self.ignored.items() if reason == FOLDER_LINK]


def _read_class_folder(root: Path, name: str, *, nested: bool, follow_links: bool) -> _ClassFolder:
    top = Listing()
    images: list[FoundFile] = []
    deeper: dict[str, int] = {}
    ignored: dict[str, str] = {}
    unreadable: list[_WhatAndHint] = []
    status = root.stat()
    # Marking the root as visited prevents following links back to it.
    visited = {(status.st_dev, status.st_ino)}
    for below, listing in walk_below(str(root / name), follow_links=follow_links, visited=visited):
        if isinstance(listing, OSError):
            unreadable.append((f"{root / name / below} cannot be read: {listing.strerror}", ""))
            continue
        top = top if below else listing
        prefix = f"{name}/{below}"
        if nested or not below:
            images += [
                FoundFile(f"{prefix}{image.path}", image.size, image.mtime_ns) for image in listing.images
            ]
        elif listing.images:
            sub_folder = below.split("/", 1)[0]
            deeper[sub_folder] = deeper.get(sub_folder, 0) + len(listing.images)
            ignored.update({f"{prefix}{image.path}": NESTED_IMAGE for image in listing.images})
        ignored.update({f"{prefix}{stray}": reason for stray, reason in listing.strays.items()})
        if not follow_links:
            links = [folder.name for folder in listing.folders if folder.is_link]
            ignored.update({f"{prefix}{link}": FOLDER_LINK for link in links})
    return _ClassFolder(top, images, deeper, ignored, unreadable)


def _split_into_leaves(
    classes: Mapping[str, _ClassFolder], ignored: dict[str, str]
) -> dict[str, _ClassFolder]:
    """Return the deepest folders with images as classes; images in folders above them are added to `ignored`."""
    leaves: dict[str, _ClassFolder] = {}
    for name, found in classes.items():
        images: dict[str, list[FoundFile]] = {}
        for image in found.images:
            images.setdefault(image.path.rpartition("/")[0], []).append(image)
        above = {folder[:end] for folder in images for end in range(len(folder)) if folder[end] == "/"} & set(
            images
        )
        ignored |= {image.path: ABOVE_LEAVES for folder in above for image in images[folder]}
        for folder in sorted(set(images) - above):
            leaves[folder] = replace(found, images=images[folder])
        if not images:
            leaves[name] = found
    return leaves


def _problems_of_new_classes(root: Path, classes: Mapping[str, _ClassFolder]) -> list[_WhatAndHint]:
    return [
        _explain_empty(root / name, found)
        for name, found in classes.items()
        if not found.images and not found.unreadable
    ]


def _problems_of_known_classes(
    root: Path, top: Listing, classes: Mapping[str, _ClassFolder], class_names: Sequence[str]
) -> list[_WhatAndHint]:
    if unknown := [
        _explain_unknown(root, name, found, class_names)
        for name, found in classes.items()
        if name not in class_names and (found.images or found.deeper)
    ]:
        return unknown
    if any(found.images or found.unreadable for found in classes.values()):
        return []
    what = f"{root} contains no images of any class; found {describe_listing(top)}"
    return [_explain_empty(root / name, found) for name, found in classes.items() if found.deeper] or [
        (what, "")
    ]


def _wrong_level(
    root: Path, top: Listing, classes: Mapping[str, _ClassFolder], class_names: Sequence[str] | None
) -> _WhatAndHint | None:
    """Return (problem, suggested folder) if this is not a folder of class folders."""
    if not top.folders:
        return _without_folders(root, top)
    unreadable = any(found.unreadable for found in classes.values())
    if unreadable or (class_names is not None and set(class_names) & set(classes)):
        return None
    only_deeper = [name for name, found in classes.items() if found.deeper and not found.images]
    no_images = not any(found.images for found in classes.values())
    as_meant = ""
    if only_deeper and (no_images or any(map(split_of_name, only_deeper))):
        what = f"is one level too high: {format_names(only_deeper)} only contain folders of images"
        as_meant = (
            "" if class_names else f" With `nested: true`, the classes would be {format_names(classes)}"
        )
    elif no_images:
        what = "contains no images"
        if links := [path for found in classes.values() for path in found.links]:
            what += f", but links to folders ({format_names(links)}), and follow_links is false"
            return f"{root} {what}", _HOW_TO_FOLLOW
    elif class_names is None and all(map(split_of_name, classes)):
        what = "contains folders with names of splits, not classes"
    else:
        return None
    # Searched last, because it reads all folders again.
    meant = next((found for found in find_class_roots(root) if found.path != root), None)
    hint = f"did you mean {meant}?" if meant else _HOW_IT_SHOULD_BE
    return f"{root} {what}; found {describe_listing(top)}", hint + as_meant


def _without_folders(root: Path, top: Listing) -> _WhatAndHint:
    if not top.images:
        if not top.strays:
            return f"{root} is empty", _HOW_IT_SHOULD_BE
        return (
            f"{root} contains no class folders and no images; found {describe_listing(top)}",
            _HOW_IT_SHOULD_BE,
        )
    what = f"{root} contains no class folders, only files: {describe_listing(top)}"
    parent = next((found for found in find_class_roots(root.parent) if found.path == root.parent), None)
    if parent is not None and len(parent.class_names) > 1 and split_of_name(root.name) is None:
        return what, f"did you mean {parent}?"
    return what, (
        "put the images of each class into a subfolder named after the class; or set `data.labels` to a CSV file with"
        " the labels, or `data.label_pattern` if the file names contain them"
    )


def _explain_empty(folder: Path, found: _ClassFolder) -> _WhatAndHint:
    if found.deeper:
        return (
            f"class folder {folder} contains no images itself, but {count(sum(found.deeper.values()), 'image')} in"
            f" {count(len(found.deeper), 'subfolder')} ({format_names(found.deeper)})",
            "move them up, or set `nested: true`",
        )
    if found.links:
        what = f"class folder {folder} contains no images, but links to folders ({format_names(found.links)})"
        return f"{what}, and follow_links is false", _HOW_TO_FOLLOW
    return (
        f"class folder {folder} contains no images; found {describe_listing(found.top)}",
        "remove the folder, or add images",
    )


def _explain_unknown(root: Path, name: str, found: _ClassFolder, class_names: Sequence[str]) -> _WhatAndHint:
    images = count(len(found.images) or sum(found.deeper.values()), "image")
    what = f"{name!r} is not one of the classes; {root / name} contains {images}"
    meant = did_you_mean(name, class_names)
    return what, f"{meant} The classes are {format_names(class_names, 20)}".lstrip()
