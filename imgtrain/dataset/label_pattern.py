"""Labels in file names, extracted with `data.label_pattern`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from imgtrain.dataset.groups import match_groups
from imgtrain.dataset.index import FOLDER_LINK, ImageFolder, make_image_folder
from imgtrain.dataset.layout import count, find_folder_problem, format_names
from imgtrain.dataset.walk import FoundFile, walk_below
from imgtrain.errors import DataError, Problem, did_you_mean

__all__ = ["UNMATCHED_IMAGE", "index_by_pattern", "match_labels"]

UNMATCHED_IMAGE = "does not match data.label_pattern"
"""Why an image is ignored."""


def match_labels(paths: Sequence[str], expression: str) -> list[str | None]:
    """Return the text matched by the expression's group in each path; None if it doesn't match or is empty.

    Raises:
        ConfigError: As in `match_groups`.
    """
    return [text or None for text in match_groups(paths, expression, key="data.label_pattern")]


def index_by_pattern(
    root: Path,
    expression: str,
    *,
    class_names: Sequence[str] | None = None,
    follow_links: bool = False,
    where: str = "",
) -> ImageFolder:
    """List the images in and below a folder whose path contains their label.

    Args:
        root: The folder, absolute.
        expression: A regular expression with one group, searched in the path relative to the folder.
        class_names: In label order. None uses the sorted labels found. If given, other labels are errors.
        follow_links: Whether to follow symbolic links to folders.
        where: The configuration key to show in errors.

    Raises:
        ConfigError: As in `match_groups`.
        DataError: The folder cannot be read, no image matches, or there are unknown labels.
    """
    if reason := find_folder_problem(root):
        raise DataError(Problem(where, *reason))
    images, ignored, problems = _list_images(root, follow_links=follow_links, where=where)
    if problems:
        raise DataError(problems)
    labels = match_labels([image.path for image in images], expression)
    ignored |= {
        image.path: UNMATCHED_IMAGE for image, label in zip(images, labels, strict=True) if label is None
    }
    labelled = [(label, image) for label, image in zip(labels, images, strict=True) if label is not None]
    if not labelled:
        found = f"{count(len(images), 'image')}"
        example = f", such as {images[0].path}" if images else ""
        what = f"data.label_pattern {expression!r} matches none of the {found} in {root}{example}"
        raise DataError(Problem(where, what, "the expression is searched in such paths" if images else ""))
    names = sorted({label for label, _ in labelled}) if class_names is None else list(class_names)
    unknown = sorted({label for label, _ in labelled} - set(names))
    if unknown:
        hint = f"{did_you_mean(unknown[0], names)} The classes are {format_names(names, 20)}".lstrip()
        what = f"data.label_pattern finds labels in {root} that are not classes: {format_names(unknown)}"
        raise DataError(Problem(where, what, hint))
    labels_of = {name: label for label, name in enumerate(names)}
    return make_image_folder(root, names, [(labels_of[label], image) for label, image in labelled], ignored)


def _list_images(
    root: Path, *, follow_links: bool, where: str
) -> tuple[list[FoundFile], dict[str, str], list[Problem]]:
    """Return all images below the folder by relative path, why other paths are ignored, and unreadable folders."""
    images: list[FoundFile] = []
    ignored: dict[str, str] = {}
    problems: list[Problem] = []
    for below, listing in walk_below(os.fspath(root), follow_links=follow_links):
        if isinstance(listing, OSError):
            problems.append(Problem(where, f"{root / below} cannot be read: {listing.strerror}"))
            continue
        images += [image._replace(path=f"{below}{image.path}") for image in listing.images]
        ignored |= {f"{below}{stray}": reason for stray, reason in listing.strays.items()}
        if not follow_links:
            ignored |= {f"{below}{inner.name}": FOLDER_LINK for inner in listing.folders if inner.is_link}
    return images, ignored, problems
