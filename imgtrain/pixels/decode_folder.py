"""Decode every file of a folder once, on all cores, with constant memory.

Each thread waits for a worker process that decodes, so corrupt files never affect the calling process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from imgtrain.dataset.index import ImageFolder
from imgtrain.events import Emit, Progress
from imgtrain.pixels.decode import DecodedImage, DecodeSettings, UndecodableImage
from imgtrain.pixels.decode_workers import decode_each_in_worker
from imgtrain.pixels.image_stats import IMAGE_STATS
from imgtrain.run.machine import available_cores

__all__ = ["DECODE_RESULT", "decode_folder", "decode_unchanged"]

DECODE_RESULT = np.dtype(
    [
        ("digest", "u1", 16),
        ("checksum", "<u8"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("decoded", "u1"),
        ("stats", IMAGE_STATS),
    ]
)
"""The result for each file besides its pixels: the hash of the full-size image, XXH3 (64 bits) of the stored pixels,
the full size of the upright image, 1 if it is decodable, and statistics for the audit. All zero if not decodable."""

_SECONDS_BETWEEN_EVENTS = 0.1
# Each request covers several files; fewer near the end, so that all processes finish together.
_MOST_AT_ONCE = 16
_SHARE_AT_ONCE = 1 / 8


def decode_folder(
    folder: ImageFolder,
    settings: DecodeSettings,
    *,
    keep: Callable[[int, NDArray[np.uint8]], None],
    task: str,
    emit: Emit,
) -> tuple[NDArray[np.void], dict[int, str]]:
    """Decode all files, with at most one image per core in memory at a time.

    Args:
        folder: The files.
        settings: Size and color mode.
        keep: Called with the index and pixels (height, width, channels) of each image, concurrently from several
            threads; not called for files that cannot be decoded.
        task: Name of the progress events, which are emitted about ten times per second in the calling thread.
        emit: Called with progress events.

    Returns:
        The results, (n,) of dtype `DECODE_RESULT`, and why images could not be decoded, by image index.
    """
    total, taken, done = len(folder), 0, 0
    table = np.zeros(total, DECODE_RESULT)
    reasons: dict[int, str] = {}
    workers = min(available_cores(), max(1, total))
    lock, stop = threading.Lock(), threading.Event()

    def work() -> None:
        while indices := take():
            with closing(decode_unchanged(folder, indices, settings)) as outcomes:
                for index, outcome in zip(indices, outcomes, strict=True):
                    note(index, outcome)
                    if stop.is_set():
                        return

    def take() -> list[int]:
        nonlocal taken
        with lock:
            share = (total - taken) / workers * _SHARE_AT_ONCE
            indices = list(range(taken, min(total, taken + max(1, min(_MOST_AT_ONCE, int(share))))))
            taken += len(indices)
            return indices

    def note(index: int, outcome: DecodedImage | UndecodableImage) -> None:
        nonlocal done
        if isinstance(outcome, UndecodableImage):
            reasons[index] = outcome.reason
        else:
            keep(index, outcome.pixels)
            checksum = xxhash.xxh3_64_intdigest(outcome.pixels.data)
            digest = np.frombuffer(outcome.digest, np.uint8)
            table[index] = (digest, checksum, outcome.height, outcome.width, 1, outcome.stats)
        with lock:
            done += 1

    emit(Progress(task, 0, total))
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
            # Whatever ended the loop (a full disk, Ctrl-C), the threads only finish their current image.
            stop.set()
    emit(Progress(task, total, total))
    return table, dict(sorted(reasons.items()))


def decode_unchanged(
    folder: ImageFolder, indices: Sequence[int], settings: DecodeSettings
) -> Generator[DecodedImage | UndecodableImage]:
    """Decode some files, which must not have changed since the folder was listed.

    Yields:
        For each file, in order, the image, or why there is none: it cannot be decoded or has changed.
    """
    files = [folder.file(index) for index in indices]
    with closing(decode_each_in_worker(files, settings)) as outcomes:
        for index, file, outcome in zip(indices, files, outcomes, strict=True):
            yield (
                outcome
                if isinstance(outcome, UndecodableImage)
                else _if_unchanged(folder, index, file, outcome)
            )


def _if_unchanged(
    folder: ImageFolder, index: int, file: Path, image: DecodedImage
) -> DecodedImage | UndecodableImage:
    try:
        status = file.stat()
    except OSError as error:
        return UndecodableImage(f"unreadable: {error.strerror}")
    same = (status.st_size, status.st_mtime_ns) == (folder.sizes[index], folder.mtimes_ns[index])
    return image if same else UndecodableImage("changed since the folder was listed")
