"""The decoded pixels of a folder: cached in a file, cached in memory, or decoded on demand."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Protocol

import filelock
import numpy as np
import PIL
import xxhash
from numpy.typing import NDArray

from imgtrain.dataset.index import ImageFolder, read_only
from imgtrain.dataset.layout import count
from imgtrain.errors import DataError, Problem, RunFileError
from imgtrain.events import Emit, Message, ignore
from imgtrain.pixels.cache_files import default_cache_directory, make_room, remove_abandoned
from imgtrain.pixels.decode import DECODER_VERSION, DecodedImage, DecodeSettings, UndecodableImage
from imgtrain.pixels.decode_folder import decode_folder, decode_unchanged
from imgtrain.pixels.decode_workers import STOPPED, decode_each_in_worker
from imgtrain.pixels.packed_file import (
    FORMAT_VERSION,
    PackedFile,
    PackedFileWriter,
    UnusablePackedFile,
    open_packed_file,
    space_needed,
)
from imgtrain.run.machine import available_memory_bytes
from imgtrain.text import format_bytes

__all__ = ["Cache", "ImageStore", "cache_key", "open_image_store"]

Cache = Literal["auto", "memory", "disk", "none"]


class ImageStore(Protocol):
    """The decoded pixels of a folder's images, by image index; thread-safe."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""

    @property
    def bad(self) -> Mapping[int, str]:
        """Why an image cannot be decoded, by image index; its pixels are 0."""

    @property
    def digests(self) -> NDArray[np.uint8]:
        """(n, 16) hashes of the full-size images, read-only; 0 for bad images."""

    @property
    def original_sizes(self) -> NDArray[np.int64]:
        """(n, 2) height and width of the upright full-size images, read-only; 0 for bad images."""

    @property
    def stats(self) -> NDArray[np.void]:
        """(n,) statistics of dtype `IMAGE_STATS`, read-only; 0 for bad images."""

    def __len__(self) -> int: ...

    def read(self, indices: NDArray[np.integer], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the pixels (k, height, width, channels) of some images, in the given order.

        Args:
            indices: (k,) image indices.
            out: C-contiguous output array of that shape; None creates one.

        Raises:
            RunFileError: The cache file was corrupted after it was opened.
            DataError: Without a cache: an image has changed since it was first decoded.
        """


def open_image_store(
    folder: ImageFolder,
    settings: DecodeSettings,
    *,
    cache: Cache = "auto",
    cache_directory: Path | None = None,
    task: str = "decoding",
    emit: Emit = ignore,
) -> ImageStore:
    """Decode all images, or open them from the cache.

    Args:
        folder: The images.
        settings: Size and color mode.
        cache: `disk` caches the pixels in a file for later runs; `memory` caches them for this process; `none` decodes
            again whenever pixels are read; `auto` is the first of these that is possible.
        cache_directory: Folder of the cache files; None is the platform's cache directory.
        task: Name of the progress events.
        emit: Called with events.

    Raises:
        RunFileError: The file cannot be written (`disk`), or the pixels do not fit into memory (`memory`). Bad images
            are not errors, but listed in `bad`.
    """
    if cache == "memory":
        return _open_in_memory(folder, settings, task, emit)
    if cache == "none":
        return _DecodedOnReading(folder, settings, task, emit)
    try:
        return _open_on_disk(folder, settings, cache_directory, task, emit)
    except RunFileError as error:
        if cache == "disk":
            raise
        needed = len(folder) * int(np.prod(settings.shape))
        fits = needed <= available_memory_bytes() / 2
        instead = "cached in memory for this run" if fits else "decoded in every epoch"
        emit(Message(f"{error.problems[0].what}; images are {instead} instead", "warning"))
        if fits:
            return _open_in_memory(folder, settings, task, emit)
        return _DecodedOnReading(folder, settings, task, emit)


def cache_key(folder: ImageFolder, settings: DecodeSettings) -> str:
    """Return the cache key, 32 hexadecimal digits that depend on the files, the settings and the decoder version.

    Files are identified by path, size and modification time.
    """
    hasher = xxhash.xxh3_128()
    versions = [FORMAT_VERSION, DECODER_VERSION, PIL.__version__]
    hasher.update(json.dumps([versions, asdict(settings), os.fspath(folder.root), len(folder)]).encode())
    hasher.update("\0".join(folder.paths).encode("utf-8", "surrogateescape"))
    hasher.update(folder.sizes.tobytes())
    hasher.update(folder.mtimes_ns.tobytes())
    return hasher.hexdigest()


class _Decoded:
    """Base class of all stores: the results of the first decoding."""

    def __init__(self, settings: DecodeSettings, table: NDArray[np.void], reasons: Mapping[int, str]) -> None:
        self.shape = settings.shape
        self.bad = reasons
        self.digests = read_only(np.array(table["digest"]))
        self.original_sizes = read_only(np.stack([table["height"], table["width"]], axis=1).astype(np.int64))
        self.stats: NDArray[np.void] = read_only(np.array(table["stats"]))

    def __len__(self) -> int:
        return len(self.digests)

    def _output(self, indices: NDArray[np.integer], out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        shape = (len(indices), *self.shape)
        if out is None:
            return np.empty(shape, np.uint8)
        if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"out must be C-contiguous uint8 {shape}; received {out.dtype} {out.shape}")
        return out


class _InMemory(_Decoded):
    def __init__(
        self,
        settings: DecodeSettings,
        table: NDArray[np.void],
        reasons: Mapping[int, str],
        pixels: NDArray[np.uint8],
    ) -> None:
        super().__init__(settings, table, reasons)
        self._pixels = pixels

    def read(self, indices: NDArray[np.integer], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        out = self._output(indices, out)
        for position, index in enumerate(indices):
            out[position] = self._pixels[_checked(index, len(self))]
        return out


class _OnDisk(_Decoded):
    def __init__(self, settings: DecodeSettings, file: PackedFile) -> None:
        super().__init__(settings, file.table, file.reasons)
        self._file = file

    def read(self, indices: NDArray[np.integer], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        out = self._output(indices, out)
        for position, index in enumerate(indices):
            self._file.read_into(_checked(index, len(self)), out[position])
        return out


class _DecodedOnReading(_Decoded):
    def __init__(self, folder: ImageFolder, settings: DecodeSettings, task: str, emit: Emit) -> None:
        # Decode once to find bad files before training.
        super().__init__(
            settings, *decode_folder(folder, settings, keep=lambda index, pixels: None, task=task, emit=emit)
        )
        self._folder = folder
        self._settings = settings

    def read(self, indices: NDArray[np.integer], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        out = self._output(indices, out)
        good = {
            position: int(index)
            for position, index in enumerate(indices)
            if _checked(index, len(self)) not in self.bad
        }
        out[[position for position in range(len(out)) if position not in good]] = 0
        with closing(decode_unchanged(self._folder, list(good.values()), self._settings)) as outcomes:
            for (position, index), outcome in zip(good.items(), outcomes, strict=True):
                if isinstance(outcome, UndecodableImage):
                    what = f"could be decoded when the run started, but not any more: {outcome.reason}"
                    raise DataError(Problem(self._folder.file(index), what)) from outcome
                out[position] = outcome.pixels
        return out


def _checked(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise IndexError(f"index {index} is out of range for {count} images")
    return index


def _open_in_memory(folder: ImageFolder, settings: DecodeSettings, task: str, emit: Emit) -> ImageStore:
    shape = (len(folder), *settings.shape)
    try:
        pixels = np.zeros(shape, np.uint8)
    except (MemoryError, ValueError) as error:
        raise RunFileError(
            f"{format_bytes(math.prod(shape))} of pixels do not fit into memory; set `data.cache: disk`"
        ) from error

    def keep(index: int, image: NDArray[np.uint8]) -> None:
        pixels[index] = image

    table, reasons = decode_folder(folder, settings, keep=keep, task=task, emit=emit)
    return _InMemory(settings, table, reasons, pixels)


def _open_on_disk(
    folder: ImageFolder, settings: DecodeSettings, cache_directory: Path | None, task: str, emit: Emit
) -> ImageStore:
    directory = _existing_directory(cache_directory)
    key = cache_key(folder, settings)
    path = directory / f"{key}.pixels"
    if found := _find(path, key, folder, settings, emit):
        return _OnDisk(settings, found)
    lock = filelock.FileLock(path.with_suffix(".lock"))
    try:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            emit(Message("another run is decoding the same images; waiting for it"))
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise RunFileError(f"the pixel cache in {directory} cannot be locked: {error}") from error
    try:
        # Another run may have created it in the meantime.
        if found := _find(path, key, folder, settings, ignore):
            return _OnDisk(settings, found)
        remove_abandoned(directory)
        make_room(directory, space_needed(len(folder), settings), emit)
        with PackedFileWriter(path, key, settings, len(folder), folder=os.fspath(folder.root)) as writer:
            table, reasons = decode_folder(folder, settings, keep=writer.write, task=task, emit=emit)
            return _OnDisk(settings, writer.finish(table, reasons))
    finally:
        lock.release()


def _existing_directory(given: Path | None) -> Path:
    directory = given or default_cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFileError(
            f"the cache directory {directory} cannot be created: {error.strerror};"
            " set data.cache_directory, or `data.cache: none`"
        ) from error
    return directory


def _find(
    path: Path, key: str, folder: ImageFolder, settings: DecodeSettings, emit: Emit
) -> PackedFile | None:
    """Return the cache file if it exists, is valid, and no failed file in it can be decoded now."""
    try:
        file = open_packed_file(path, key, settings, len(folder))
    except FileNotFoundError:
        return None
    except (UnusablePackedFile, OSError, RunFileError) as error:
        emit(Message(f"rebuilding the pixel cache {path}: {error}", "warning"))
        return None
    # Permissions, memory, system load or unmounted file systems don't affect the key.
    if slow := sum(reason.startswith(STOPPED) for reason in file.reasons.values()):
        emit(Message(f"retrying {count(slow, 'file')} that timed out before"))
    failed = [folder.file(index) for index in file.reasons]
    with closing(decode_each_in_worker(failed, settings)) as outcomes:
        for index, outcome in zip(list(file.reasons), outcomes, strict=True):
            if isinstance(outcome, DecodedImage):
                file.close()
                return None
            file.reasons[index] = outcome.reason
    return file
