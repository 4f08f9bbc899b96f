"""From what a person names (files, folders, patterns) to the files that are meant; nothing is opened."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from imgtrain.dataset.walk import walk_below

__all__ = ["expand_paths", "split_list"]


def expand_paths(names: Iterable[str]) -> Iterator[str]:
    """Yield the path of every file that is meant, in the order of the names; a folder's sorted.

    A folder stands for all images below it, told by their suffix, hidden ones left out. A file is taken
    whatever its suffix. A name that does not exist but has `*`, `?` or `[` in it is a pattern, in which `**`
    stands for any folders. Any other name is yielded as it is: that there is no such file is found on reading it.
    """
    for name in names:
        if Path(name).is_dir():
            yield from _images_below(name)
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (keeps what the user wrote)
            for match in matches or [name]:
                if Path(match).is_dir():
                    # With `**` every folder is a match besides its files.
                    if "**" not in name:
                        yield from _images_below(match)
                else:
                    yield match
        else:
            yield name


def split_list(listing: bytes) -> list[str]:
    """Return the paths of a list: one per line or, where there is a zero byte, ended by zero bytes."""
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
