"""Suggest the right folder if the given one doesn't contain one subfolder per class."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imgtrain.dataset.walk import Listing, list_folder, list_tree
from imgtrain.errors import did_you_mean

__all__ = [
    "SPLIT_NAMES",
    "ClassRoot",
    "count",
    "describe_listing",
    "describe_only_class",
    "find_class_roots",
    "find_folder_problem",
    "format_names",
    "split_of_name",
]

SPLIT_NAMES = {
    "train": frozenset(
        {"train", "training", "trn", "train_set", "training_set", "train_data", "train_images"}
    ),
    "validation": frozenset(
        {"val", "valid", "validation", "validate", "dev", "val_set", "validation_set", "valid_data"}
    ),
    "test": frozenset(
        {"test", "testing", "tst", "test_set", "testing_set", "test_data", "test_images", "eval", "holdout"}
    ),
}
"""Common folder names of each split, in lower case with `_` for spaces and hyphens."""


def split_of_name(folder_name: str) -> str | None:
    """Return `train`, `validation` or `test` for a common folder name of that split, otherwise None."""
    plain = folder_name.lower().replace(" ", "_").replace("-", "_")
    return next((split for split, names in SPLIT_NAMES.items() if plain in names), None)


@dataclass(frozen=True, slots=True)
class ClassRoot:
    """A folder that contains class folders.

    Attributes:
        path: The folder.
        class_names: Its subfolders that directly contain images, sorted.
        images: Number of images in them.
    """

    path: Path
    class_names: tuple[str, ...]
    images: int

    @property
    def split(self) -> str | None:
        """The split that the folder's name indicates; None if there is none."""
        return split_of_name(self.path.name)

    def __str__(self) -> str:
        classes = count(len(self.class_names), "class folder")
        return f"{self.path} ({classes}: {format_names(self.class_names)}; {count(self.images, 'image')})"


def find_class_roots(root: Path, listings: Mapping[Path, Listing] | None = None) -> list[ClassRoot]:
    """Return `root` and folders below it whose subfolders directly contain images, most likely first.

    Folders with names of training folders come first, then those with several classes, then those with many images.

    Args:
        root: The folder.
        listings: Result of `list_tree` for it, if known.
    """
    listings = list_tree(root) if listings is None else listings
    found = []
    for folder, listing in listings.items():
        images = {
            inner.name: len(listings[folder / inner.name].images)
            for inner in listing.folders
            if folder / inner.name in listings and listings[folder / inner.name].images
        }
        if images and any(split_of_name(name) is None for name in images):
            found.append(ClassRoot(folder, tuple(images), sum(images.values())))
    return sorted(
        found, key=lambda root: (root.split != "train", len(root.class_names) < 2, -root.images, root.path)
    )


def find_folder_problem(path: Path) -> tuple[str, str] | None:
    """Return (problem, hint) if `path` is not a readable folder, otherwise None."""
    try:
        os.scandir(path).close()
    except NotADirectoryError:
        if path.suffix.lower() in {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"}:
            return f"{path} is an archive, not a folder", "extract it, and give the extracted folder"
        if path.exists():
            return (
                f"{path} is a file, not a folder",
                f"did you mean its folder {path.parent}?",
            )
        return _describe_missing_folder(path)
    except FileNotFoundError:
        return _describe_missing_folder(path)
    except OSError as error:
        hint = "change its permissions" if isinstance(error, PermissionError) else ""
        return f"{path} cannot be read: {error.strerror}", hint
    return None


def describe_only_class(root: Path, name: str) -> tuple[str, str]:
    """Return (problem, hint) if there is a single class."""
    return (
        f"{root} contains only one class, {name}",
        f"classification needs two: put images of something else into a folder beside it, such as "
        f"{root / f'not_{name}'}; or, if {name} contains several classes, the images of each into a folder of its own",
    )


def _describe_missing_folder(path: Path) -> tuple[str, str]:
    nearest = next((parent for parent in path.parents if parent.is_dir()), None)
    if path.is_symlink():
        return f"{path} is a broken link", ""
    what = f"{path} does not exist"
    if nearest is None:
        return what, ""
    missing = path.relative_to(nearest).parts[0]
    siblings: list[str] = []
    with suppress(OSError):
        siblings = [folder.name for folder in list_folder(nearest).folders]
    meant = did_you_mean(missing, siblings)
    if not meant:
        same_split = [
            name for name in siblings if split_of_name(name) and split_of_name(name) == split_of_name(missing)
        ]
        meant = f"did you mean {same_split[0]!r}?" if same_split else ""
    holds = f"contains {_named(siblings, 'folder')}" if siblings else "contains no folders"
    return what, f"{meant} {nearest} {holds}".lstrip()


def describe_listing(listing: Listing) -> str:
    """Return `2 folders (test, train), 14 images, 3 other files`."""
    parts = []
    if listing.folders:
        parts.append(_named([folder.name for folder in listing.folders], "folder"))
    if listing.images:
        parts.append(_named([image.path for image in listing.images], "image"))
    if listing.strays:
        parts.append(_named(list(listing.strays), "other file"))
    return ", ".join(parts) or "nothing"


def count(number: int, noun: str) -> str:
    """Return `1 image` or `2,000 images`."""
    plural = f"{noun}es" if noun.endswith(("s", "x", "ch")) else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def format_names(names: Sequence[str] | Collection[str], limit: int = 5) -> str:
    """Return `a, b, c and 7 more`."""
    names = list(names)
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit:,} more" if len(names) > limit else shown


def _named(names: Sequence[str], noun: str) -> str:
    return f"{count(len(names), noun)} ({format_names(names)})"
