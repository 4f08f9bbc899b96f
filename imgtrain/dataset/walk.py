"""List folders: subfolders, images by suffix, and other files with the reason why they are ignored."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "IMAGE_SUFFIXES",
    "NOT_AN_IMAGE",
    "FoundFile",
    "FoundFolder",
    "Listing",
    "is_hidden",
    "list_folder",
    "list_tree",
    "walk_below",
]

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".tif", ".tiff", ".bmp",
    ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".avif", ".jp2", ".j2k", ".tga", ".pcx",
})
# fmt: on
"""Suffixes of files treated as images, in lower case; the decoder detects the actual format."""

# Limits of a search for a data set, in case the user gave the root of a disk.
_MOST_FOLDERS_SEARCHED = 2_000
_DEEPEST = 5

NOT_AN_IMAGE = "not an image suffix"
"""Why a file without the suffix of an image is ignored."""

# Files created by desktops, archives and NAS devices, besides names that start with a dot (.ipynb_checkpoints,
# ._1.jpg). @eaDir contains thumbnails that end in .jpg.
_HIDDEN_NAMES = frozenset(
    {
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "@eadir",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    }
)


class FoundFile(NamedTuple):
    """An image file: path relative to the search root (POSIX separators), size in bytes, modification time in ns."""

    path: str
    size: int
    mtime_ns: int


class FoundFolder(NamedTuple):
    """A subfolder; `is_link` if it is a symbolic link to one."""

    name: str
    is_link: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """The direct contents of a folder without hidden files, sorted by name.

    Attributes:
        strays: Why a file is ignored, by name, for everything that is neither a folder nor an image.
    """

    folders: tuple[FoundFolder, ...] = ()
    images: tuple[FoundFile, ...] = ()
    strays: Mapping[str, str] = field(default_factory=dict)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder with this name is hidden and silently ignored."""
    return name.startswith(".") or name.lower() in _HIDDEN_NAMES


def list_folder(folder: str | os.PathLike[str]) -> Listing:
    """List one folder.

    Links to files count as files. Pipes, sockets, devices and broken links are never opened and count as strays.

    Raises:
        OSError: The folder cannot be read.
    """
    folders, images, strays = [], [], {}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if is_hidden(name):
                continue
            try:
                if entry.is_dir():
                    folders.append(FoundFolder(name, entry.is_symlink()))
                elif not entry.is_file():
                    strays[name] = _explain_unusable_entry(entry)
                elif name[name.rfind(".") :].lower() not in IMAGE_SUFFIXES:
                    strays[name] = NOT_AN_IMAGE
                else:
                    status = entry.stat()
                    images.append(FoundFile(name, status.st_size, status.st_mtime_ns))
            except OSError as error:
                strays[name] = f"unreadable: {error.strerror}"
    return Listing(tuple(sorted(folders)), tuple(sorted(images)), dict(sorted(strays.items())))


def _explain_unusable_entry(entry: os.DirEntry[str]) -> str:
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        return "a broken link" if entry.is_symlink() else "vanished while the folder was read"
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def list_tree(root: Path) -> dict[Path, Listing]:
    """Return the listings of a folder and the folders below it, breadth first.

    The search is limited in depth and in the number of folders; unreadable folders are ignored.
    """
    listings: dict[Path, Listing] = {}
    waiting = deque([(root, 0)])
    while waiting and len(listings) < _MOST_FOLDERS_SEARCHED:
        folder, depth = waiting.popleft()
        with suppress(OSError):
            listings[folder] = list_folder(folder)
            if depth < _DEEPEST:
                waiting.extend((folder / inner.name, depth + 1) for inner in listings[folder].folders)
    return listings


def walk_below(
    folder: str, *, follow_links: bool, visited: set[tuple[int, int]] | None = None
) -> Iterator[tuple[str, Listing | OSError]]:
    """Yield (path relative to `folder`, listing) for the folder and all folders below it, in sorted order.

    The path is empty for the folder itself, and ends in `/` otherwise. Unreadable folders yield their error instead.
    Every real folder is read once, so cycles of links terminate.

    Args:
        folder: The search root; can be a link.
        follow_links: Whether to follow symbolic links to folders.
        visited: (device, inode) of folders to skip; updated in place.
    """
    visited = set() if visited is None else visited
    waiting = [""]
    while waiting:
        below = waiting.pop()
        path = os.path.join(folder, below) if below else folder  # noqa: PTH118
        try:
            status = os.stat(path)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            listing = list_folder(path)
        except OSError as error:
            yield below, error
            continue
        yield below, listing
        waiting += [
            f"{below}{inner.name}/"
            for inner in reversed(listing.folders)
            if follow_links or not inner.is_link
        ]
