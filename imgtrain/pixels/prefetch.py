"""Decode files in batches, in order, while the previous batch is processed; with constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from imgtrain.pixels.decode import DecodeSettings, UndecodableImage
from imgtrain.pixels.decode_workers import decode_in_worker
from imgtrain.run.machine import available_cores

__all__ = ["DecodedBatch", "prefetch"]

# Number of batches to prefetch.
_BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True, eq=False)
class DecodedBatch:
    """A batch of files, in order.

    Attributes:
        paths: The b files.
        reasons: Why a file could not be decoded, by position in `paths`.
        pixels: uint8 (b − bad, height, width, channels) of the other files, in order.
    """

    paths: tuple[str, ...]
    reasons: dict[int, str]
    pixels: NDArray[np.uint8]


def prefetch(
    paths: Iterable[str], settings: DecodeSettings, *, batch_size: int
) -> Generator[DecodedBatch, None, None]:
    """Yield all files in batches; the threads end with the generator, even if it is closed early.

    Args:
        paths: The files.
        settings: Size and color mode.
        batch_size: Files per batch; the last batch may be smaller.
    """
    waiting = iter(paths)
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="imgtrain-decode") as pool:
        ahead: deque[tuple[tuple[str, ...], list[Future[NDArray[np.uint8] | str]]]] = deque()
        try:
            while True:
                while len(ahead) <= _BATCHES_AHEAD and (batch := tuple(islice(waiting, batch_size))):
                    ahead.append((batch, [pool.submit(_decode, path, settings) for path in batch]))
                if not ahead:
                    return
                batch, futures = ahead.popleft()
                yield _gather(batch, [future.result() for future in futures], settings)
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(path: str, settings: DecodeSettings) -> NDArray[np.uint8] | str:
    """Return the pixels, or why the file cannot be decoded."""
    try:
        return decode_in_worker(path, settings).pixels
    except UndecodableImage as error:
        return error.reason


def _gather(
    paths: tuple[str, ...], outcomes: list[NDArray[np.uint8] | str], settings: DecodeSettings
) -> DecodedBatch:
    reasons = {position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, str)}
    pixels = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    return DecodedBatch(
        paths, reasons, np.stack(pixels) if pixels else np.empty((0, *settings.shape), np.uint8)
    )
