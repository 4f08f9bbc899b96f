"""Decode every file of a folder once, on all cores, with flat memory.

Each thread here waits for a process that decodes; none of the caller's own code meets a damaged file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import numpy as np
import xxhash
from numpy.typing import NDArray

from imgtrain.dataset.decode import DecodedImage, DecodeSettings, UndecodableImage
from imgtrain.dataset.index import ImageFolder
from imgtrain.dataset.isolation import decode_isolated
from imgtrain.dataset.traits import TRAITS
from imgtrain.events import Emit, Progress

__all__ = ["ROW", "available_cores", "decode_folder", "decode_unchanged"]

ROW = np.dtype(
    [
        ("digest", "u1", 16),
        ("checksum", "<u8"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("decoded", "u1"),
        ("traits", TRAITS),
    ]
)
"""What is known of each file besides its pixels: the digest of the full-size picture, XXH3 (64 bits) of the
kept pixels, the upright picture's full size, 1 if it could be decoded, and what the audit compares. All zero
if not."""

_SECONDS_BETWEEN_EVENTS = 0.1


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_folder(
    folder: ImageFolder,
    settings: DecodeSettings,
    *,
    keep: Callable[[int, NDArray[np.uint8]], None],
    task: str,
    emit: Emit,
) -> tuple[NDArray[np.void], dict[int, str]]:
    """Decode all files; at most one picture per core is in memory at any time.

    Args:
        folder: The files.
        settings: What each picture is brought to.
        keep: Called with each row and its pixels (height, width, channels), from several threads at once; not
            called for files that cannot be decoded.
        task: Name of the progress events, about ten a second, which come from the calling thread.
        emit: Listener.

    Returns:
        The table (n,) of dtype `ROW`, and the reason for each row that could not be decoded.
    """
    total, done = len(folder), 0
    table = np.zeros(total, ROW)
    reasons: dict[int, str] = {}
    waiting = iter(range(total))
    lock, stop = threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal done
        while not stop.is_set():
            with lock:
                row = next(waiting, None)
            if row is None:
                return
            try:
                image = decode_unchanged(folder, row, settings)
            except UndecodableImage as error:
                reasons[row] = error.reason
            else:
                keep(row, image.pixels)
                checksum = xxhash.xxh3_64_intdigest(image.pixels.data)
                digest = np.frombuffer(image.digest, np.uint8)
                table[row] = (digest, checksum, image.height, image.width, 1, image.traits)
            with lock:
                done += 1

    emit(Progress(task, 0, total))
    workers = min(available_cores(), max(1, total))
    with ThreadPoolExecutor(workers, thread_name_prefix="imgtrain-decode") as pool:
        try:
            working = {pool.submit(work) for _ in range(workers)}
            while working:
                finished, working = wait(working, _SECONDS_BETWEEN_EVENTS, FIRST_EXCEPTION)
                for future in finished:
                    future.result()
                if working:
                    emit(Progress(task, done, total))
        finally:
            # Whatever ended the loop (a full disk, Ctrl-C), the threads finish their picture and no more.
            stop.set()
    emit(Progress(task, total, total))
    return table, dict(sorted(reasons.items()))


def decode_unchanged(folder: ImageFolder, row: int, settings: DecodeSettings) -> DecodedImage:
    """Decode one file, which must still be what it was when the folder was listed.

    Raises:
        UndecodableImage: If it cannot be decoded, or has changed.
    """
    file = folder.file(row)
    image = decode_isolated(file, settings)
    try:
        status = file.stat()
    except OSError as error:
        raise UndecodableImage(f"unreadable: {error.strerror}") from error
    if (status.st_size, status.st_mtime_ns) != (folder.sizes[row], folder.mtimes_ns[row]):
        raise UndecodableImage("changed since the folder was listed")
    return image
