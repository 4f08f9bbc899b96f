"""The files of the pixel cache: what is there, and what is removed when it grows."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from imgtrain.errors import RunFileError
from imgtrain.events import Emit, Message, ignore
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.packed_file import UnusablePackedFile, read_packed_header
from imgtrain.run.system import is_in_use, remove_unused
from imgtrain.text import format_bytes

__all__ = [
    "CacheFile",
    "default_cache_directory",
    "default_limit",
    "list_cache",
    "make_room",
    "remove_abandoned",
    "shrink_cache",
]

# A user's cache directory can contain other files.
_NAME = re.compile(r"[0-9a-f]{32}\.pixels")


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A file of decoded pixels.

    Attributes:
        path: The file.
        size: In bytes.
        last_used: Seconds since 1970.
        folder: The folder of its images; empty if the file does not tell.
        images: Number of images; None if the file was written by another version, or is damaged.
        shape: (height, width, channels) of each image; None likewise.
        in_use: Whether a process reads it now.
    """

    path: Path
    size: int
    last_used: float
    folder: str
    images: int | None
    shape: tuple[int, int, int] | None
    in_use: bool


def default_cache_directory() -> Path:
    """Return the platform's cache directory.

    Raises:
        RunFileError: The home directory is unknown.
    """
    directory = platformdirs.user_cache_path("imgtrain")
    if not directory.is_absolute():
        raise RunFileError("no home directory for the pixel cache; set data.cache_directory")
    return directory


def list_cache(directory: Path) -> list[CacheFile]:
    """Return the cache files in a directory, most recently used first; empty if the directory does not exist."""
    found = []
    for path in directory.glob("*.pixels"):
        with suppress(OSError):
            if _NAME.fullmatch(path.name) and path.is_file():
                found.append(_describe(path))
    return sorted(found, key=lambda file: (-file.last_used, file.path))


def _describe(path: Path) -> CacheFile:
    status = path.stat()
    header: dict[str, Any] = {}
    shape = None
    with suppress(UnusablePackedFile, ValueError, TypeError):
        header = read_packed_header(path)
        shape = DecodeSettings(**header["settings"]).shape
    return CacheFile(
        path=path,
        size=status.st_size,
        last_used=status.st_mtime,
        folder=header.get("folder", ""),
        images=header.get("count"),
        shape=shape,
        in_use=is_in_use(path),
    )


def default_limit(directory: Path) -> int:
    """Return the number of bytes that the cache may take: half of what would be free without it."""
    cached = sum(file.size for file in list_cache(directory))
    return (shutil.disk_usage(directory).free + cached) // 2


def shrink_cache(directory: Path, limit: int) -> Sequence[CacheFile]:
    """Remove cache files, least recently used first, until they take at most `limit` bytes; return those removed.

    Files in use are never removed, so more can remain.
    """
    files = list_cache(directory)
    total = sum(file.size for file in files)
    removed = []
    for file in reversed(files):
        if total <= limit:
            break
        if remove_unused(file.path):
            removed.append(file)
            total -= file.size
    return removed


def make_room(directory: Path, needed: int, emit: Emit = ignore) -> None:
    """Remove old cache files, so that a new one of `needed` bytes keeps the cache within its default limit."""
    limit = default_limit(directory)
    if removed := shrink_cache(directory, limit - needed):
        size = format_bytes(sum(file.size for file in removed))
        files = "1 file" if len(removed) == 1 else f"{len(removed):,} files"
        emit(
            Message(
                f"removed {files} ({size}) from the pixel cache, least recently used first: it may take half of the "
                f"free disk space, {format_bytes(limit)}"
            )
        )


def remove_abandoned(directory: Path) -> None:
    """Remove unfinished files of killed runs; active runs hold a lock."""
    for partial in directory.glob("*.partial"):
        with suppress(OSError, filelock.Timeout), filelock.FileLock(partial.with_suffix(".lock"), timeout=0):
            partial.unlink(missing_ok=True)
