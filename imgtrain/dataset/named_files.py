"""Expand files, folders and glob patterns to files, without opening them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from imgtrain.dataset.walk import walk_below

__all__ = ["expand_paths", "split_list"]


def expand_paths(names: Iterable[str]) -> Iterator[str]:
    """Yield the paths of all files, in the order of the names; those of a folder are sorted.

    A folder means all images below it (by suffix), except hidden ones. Files are used whatever their suffix. A name
    that doesn't exist and contains `*`, `?` or `[` is a glob pattern, where `**` matches any folders. Other names are
    yielded unchanged; missing files are reported when they are read.
    """
    for name in names:
        if Path(name).is_dir():
            yield from _images_below(name)
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (keeps what the user wrote)
            for match in matches or [name]:
                if Path(match).is_dir():
                    # `**` also matches folders.
                    if "**" not in name:
                        yield from _images_below(match)
                else:
                    yield match
        else:
            yield name


def split_list(listing: bytes) -> list[str]:
    """Return the paths of a list: one per line, or null-terminated if there is a null byte."""
    separator = b"\0" if b"\0" in listing else b"\n"
    lines = (line.removesuffix(b"\r") if separator == b"\n" else line for line in listing.split(separator))
    return [os.fsdecode(line) for line in lines if line]


def _images_below(folder: str) -> Iterator[str]:
    for below, listing in walk_below(folder, follow_links=False):
        if isinstance(listing, OSError):
            yield os.path.join(folder, below)  # noqa: PTH118 (reading it will say why not)
            continue
        for image in listing.images:
            yield os.path.join(folder, below, image.path)  # noqa: PTH118
