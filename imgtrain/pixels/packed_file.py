"""The cache file: all pixels of a folder, with checksums, written atomically.

Layout, little-endian: one page with a magic line, format version, length and checksum of a JSON header, and the
header; then the pixels (n, height, width, channels) uint8; then the tail: the table of `DECODE_RESULT`s and a JSON
object of the reasons why images could not be decoded. The header is written last and contains the checksum of the
tail, so incomplete files are not recognized.

Pixels are read at their offset instead of through a memory map: truncating a mapped file kills the process (SIGBUS),
and mapped pages count as the process's memory. Both use the page cache.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import struct
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from imgtrain.errors import RunFileError
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.decode_folder import DECODE_RESULT
from imgtrain.run.machine import available_cores
from imgtrain.run.system import (
    RENAMES_OPEN_FILES,
    flush_to_disk,
    mark_in_use,
    open_binary,
    read_at,
    reserve_space,
    write_at,
)
from imgtrain.text import format_bytes

__all__ = [
    "PackedFile",
    "PackedFileWriter",
    "UnusablePackedFile",
    "open_packed_file",
    "read_packed_header",
    "space_needed",
]

FORMAT_VERSION = 2
_MAGIC = b"imgtrain pixels\n"
_PREFIX = struct.Struct("<16sIIQ")  # magic, format version, length of the header, its checksum
_PAGE = 4096
_MOST_FOLDER_CHARACTERS = 256  # of up to 12 bytes each in JSON, in a page with the rest of the header
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class UnusablePackedFile(Exception):  # noqa: N818 (never reaches the user: the file is made again)
    """The file is corrupt, or is not the expected file."""


class PackedFile:
    """An open cache file; thread-safe.

    Attributes:
        table: (n,) of dtype `DECODE_RESULT`.
        reasons: Why an image could not be decoded, by image index; its pixels are 0.
    """

    def __init__(
        self,
        descriptor: int,
        path: Path,
        settings: DecodeSettings,
        table: NDArray[np.void],
        reasons: dict[int, str],
    ) -> None:
        self._descriptor = descriptor
        self._path = path
        self._settings = settings
        self.table = table
        self.reasons = reasons
        self._image_bytes = int(np.prod(settings.shape))
        self._close = weakref.finalize(self, os.close, descriptor)

    def read_into(self, index: int, pixels: NDArray[np.uint8]) -> None:
        """Fill `pixels` (…, height, width, channels), C-contiguous, with the images starting at `index`.

        Raises:
            RunFileError: The file was truncated or its disk failed after it was opened.
        """
        view = pixels.reshape(-1).data
        offset = _PAGE + index * self._image_bytes
        reason: str | None = "it was truncated while in use"
        try:
            while view.nbytes and (count := read_at(self._descriptor, view, offset)):
                view, offset = view[count:], offset + count
        except OSError as error:
            reason = error.strerror
        if view.nbytes:
            raise RunFileError(f"{self._path} cannot be read: {reason}; run again to rebuild it")

    def verify(self) -> None:
        """Verify all checksums, on all cores.

        Raises:
            UnusablePackedFile: An image is corrupt.
        """
        images_at_once = max(1, (4 << 20) // self._image_bytes)
        blocks = iter(range(0, len(self.table), images_at_once))
        lock = threading.Lock()

        def work() -> None:
            buffer = np.empty((images_at_once, self._image_bytes), np.uint8)
            while True:
                with lock:
                    start = next(blocks, None)
                if start is None:
                    return
                pixels = buffer[: len(self.table) - start]
                self.read_into(start, pixels)
                for index, image in enumerate(pixels, start):
                    if xxhash.xxh3_64_intdigest(image) != self.table["checksum"][index]:
                        raise UnusablePackedFile(f"the pixels of image {index} are corrupt")

        with ThreadPoolExecutor(available_cores()) as pool:
            for future in [pool.submit(work) for _ in range(available_cores())]:
                future.result()

    def close(self) -> None:
        """Close the file; it cannot be read afterwards."""
        self._close()


def space_needed(count: int, settings: DecodeSettings) -> int:
    """Return the size in bytes of a file with `count` images, without reasons."""
    return _PAGE + count * (int(np.prod(settings.shape)) + DECODE_RESULT.itemsize)


def open_packed_file(path: Path, key: str, settings: DecodeSettings, count: int) -> PackedFile:
    """Open a cache file and verify it completely.

    Raises:
        FileNotFoundError: The file doesn't exist.
        UnusablePackedFile: The file is corrupt or has another key.
        OSError: The file cannot be opened.
    """
    descriptor = _open_for_use(path)
    try:
        header, tail = _read_frame(descriptor)
        _expect(header, key, settings, count)
        table = np.frombuffer(tail, DECODE_RESULT, count)
        reasons = {int(index): reason for index, reason in json.loads(tail[table.nbytes :]).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        os.close(descriptor)
        raise UnusablePackedFile(f"its header cannot be read: {error}") from error
    except BaseException:
        os.close(descriptor)
        raise
    file = PackedFile(descriptor, path, settings, table, reasons)
    try:
        file.verify()
    except BaseException:
        file.close()
        raise
    return file


def _open_for_use(path: Path) -> int:
    """Open a file, protect it against removal, and note the time."""
    descriptor = open_binary(path, os.O_RDONLY)
    mark_in_use(descriptor)
    if os.fstat(descriptor).st_nlink == 0:
        # Removed between opening and marking.
        os.close(descriptor)
        raise FileNotFoundError(path)
    with contextlib.suppress(OSError):
        os.utime(path)
    return descriptor


def read_packed_header(path: Path) -> dict[str, Any]:
    """Return the header of a cache file, which is not verified further: `settings`, `count` and `folder`.

    Raises:
        UnusablePackedFile: It is not a cache file of this version, or is incomplete.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return _parse_header(file.read(_PAGE))


def _as_json(settings: DecodeSettings) -> dict[str, Any]:
    """Return the settings as they are read back from JSON, which has no tuples."""
    background = settings.background
    return {**asdict(settings), "background": None if background is None else list(background)}


def _expect(header: dict[str, Any], key: str, settings: DecodeSettings, count: int) -> None:
    if (header["key"], header["settings"], header["count"]) != (key, _as_json(settings), count):
        raise UnusablePackedFile("it was created for other files or settings")


def _read_frame(descriptor: int) -> tuple[dict[str, Any], bytes]:
    """Return the header and the tail, after verifying their checksums."""
    header = _parse_header(_read_up_to(descriptor, 0, _PAGE))
    size = os.fstat(descriptor).st_size
    if size != header["length"]:
        raise UnusablePackedFile(f"it has {size:,} bytes instead of {header['length']:,}")
    tail = _read_up_to(descriptor, header["tail_at"], size - header["tail_at"])
    if len(tail) < size - header["tail_at"]:
        raise UnusablePackedFile("it is truncated")
    if xxhash.xxh3_64_hexdigest(tail) != header["tail_checksum"]:
        raise UnusablePackedFile("its table is corrupt")
    return header, tail


def _parse_header(page: bytes) -> dict[str, Any]:
    if len(page) < _PAGE or not page.startswith(_MAGIC):
        raise UnusablePackedFile("it is not a cache file, or is incomplete")
    _, version, length, checksum = _PREFIX.unpack_from(page)
    if version != FORMAT_VERSION:
        raise UnusablePackedFile(f"it has format version {version} instead of {FORMAT_VERSION}")
    text = page[_PREFIX.size : _PREFIX.size + length]
    if xxhash.xxh3_64_intdigest(text) != checksum:
        raise UnusablePackedFile("its header is corrupt")
    header: dict[str, Any] = json.loads(text)
    return header


def _read_up_to(descriptor: int, offset: int, size: int) -> bytes:
    """Return `size` bytes from an offset, or all until the end of the file."""
    content = bytearray(size)
    view = memoryview(content)
    while view.nbytes and (count := read_at(descriptor, view, offset)):
        view, offset = view[count:], offset + count
    return bytes(content[: size - view.nbytes])


class PackedFileWriter:
    """Writes a cache file to a temporary file, and renames it when it is complete.

    A context manager: leaving it without `finish` removes the temporary file.

    Raises:
        RunFileError: From every method, if the disk is full or not writable.
    """

    def __init__(
        self, path: Path, key: str, settings: DecodeSettings, count: int, *, folder: str = ""
    ) -> None:
        """Prepare writing.

        Args:
            path: The file.
            key: Result of `cache_key`.
            settings: Size and color mode of the images.
            count: Number of images.
            folder: Their folder, which is only shown to users; the end of a long path.
        """
        self._folder = (
            folder if len(folder) <= _MOST_FOLDER_CHARACTERS else f"…{folder[1 - _MOST_FOLDER_CHARACTERS :]}"
        )
        self._path = path
        self._partial = path.with_suffix(".partial")
        self._key = key
        self._settings = settings
        self._count = count
        self._image_bytes = int(np.prod(settings.shape))
        self._descriptor = -1

    def __enter__(self) -> PackedFileWriter:
        with self._explained():
            self._partial.unlink(missing_ok=True)
            self._descriptor = open_binary(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            with self._explained():
                self._reserve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._partial.unlink(missing_ok=True)

    def write(self, index: int, pixels: NDArray[np.uint8]) -> None:
        """Write one image; thread-safe."""
        with self._explained():
            self._write_at(_PAGE + index * self._image_bytes, np.ascontiguousarray(pixels).data)

    def finish(self, table: NDArray[np.void], reasons: dict[int, str]) -> PackedFile:
        """Write the table, flush the file to disk, and rename it."""
        table = table.copy()
        table["checksum"][table["decoded"] == 0] = xxhash.xxh3_64_intdigest(bytes(self._image_bytes))
        tail = table.tobytes() + json.dumps(reasons).encode()
        tail_at = _PAGE + self._count * self._image_bytes
        header = json.dumps(
            {
                "key": self._key,
                "settings": _as_json(self._settings),
                "count": self._count,
                "folder": self._folder,
                "tail_at": tail_at,
                "tail_checksum": xxhash.xxh3_64_hexdigest(tail),
                "length": tail_at + len(tail),
            }
        ).encode()
        prefix = _PREFIX.pack(_MAGIC, FORMAT_VERSION, len(header), xxhash.xxh3_64_intdigest(header))
        assert len(prefix) + len(header) <= _PAGE
        with self._explained():
            self._write_at(tail_at, tail)
            os.ftruncate(self._descriptor, tail_at + len(tail))
            os.fsync(self._descriptor)
            self._write_at(0, (prefix + header).ljust(_PAGE, b"\0"))
            os.fsync(self._descriptor)
            mark_in_use(self._descriptor)
            if not RENAMES_OPEN_FILES:
                os.close(self._descriptor)
                self._descriptor = -1
            self._partial.replace(self._path)
            # Some file systems don't support flushing folders; the file itself is safe anyway.
            with contextlib.suppress(OSError):
                flush_to_disk(self._path.parent)
            if self._descriptor < 0:
                self._descriptor = open_binary(self._path, os.O_RDONLY)
        descriptor, self._descriptor = self._descriptor, -1
        return PackedFile(descriptor, self._path, self._settings, table, reasons)

    def _reserve(self) -> None:
        """Allocate the space, so that a full disk is detected before decoding."""
        size = space_needed(self._count, self._settings)
        if reserve_space(self._descriptor, size):
            return
        if shutil.disk_usage(self._path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(self._descriptor, size)

    def _write_at(self, offset: int, content: bytes | memoryview) -> None:
        view = memoryview(content).cast("B")
        while view.nbytes:
            count = write_at(self._descriptor, view, offset)
            view, offset = view[count:], offset + count

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            folder = str(self._path.parent)
            if error.errno in _NO_SPACE:
                needed = format_bytes(space_needed(self._count, self._settings))
                free = format_bytes(shutil.disk_usage(self._path.parent).free)
                raise RunFileError(
                    f"the pixel cache in {folder} needs {needed}, but only {free} are free;"
                    " free some space, or set data.cache_directory or `data.cache: none`"
                ) from error
            raise RunFileError(
                f"the pixel cache in {folder} cannot be written: {error.strerror};"
                " set data.cache_directory, or `data.cache: none`"
            ) from error
