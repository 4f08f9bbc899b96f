"""The checkpoints of a run under way: when they are due, and a thread that writes them beside the training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from threading import Thread
from typing import Any

from imgtrain.training.checkpoint_store import Checkpoint, CheckpointStore

__all__ = ["Checkpointer"]

# A checkpoint at the end of an epoch may take this share of the time; one that takes less than so many seconds of a
# processor is always written.
_SHARE = 0.02
_CHEAP_SECONDS = 0.05


class Checkpointer:
    """Writes one checkpoint at a time, and brings the error of a failed write back to the training.

    Attributes:
        earlier: Where to go on; None to begin.
    """

    def __init__(
        self,
        folder: CheckpointStore,
        *,
        origin: Mapping[str, Any],
        minutes: float,
        earlier: Checkpoint | None = None,
    ) -> None:
        """Take the place.

        Args:
            folder: Where they are written.
            origin: What stands in each of them.
            minutes: Between two of them inside an epoch.
            earlier: Where to go on; None to begin.
        """
        self.earlier = earlier
        self._folder = folder
        self._origin = origin
        self._seconds = 60 * minutes
        self._thread: Thread | None = None
        self._error: Exception | None = None
        self._processor_seconds = 0.0
        # The clock that goes on when somebody sets the other.
        self._last = time.monotonic()

    def are_due(self) -> bool:
        """Return whether the time since the last one has passed.

        Raises:
            RunFileError: The last one could not be written.
        """
        self._raise_error()
        return time.monotonic() - self._last >= self._seconds

    def are_affordable(self) -> bool:
        """Return whether enough time has passed since the last one to write one at the end of an epoch.

        Epochs may take less time than the weights take to be written.
        """
        if self._thread is not None and self._thread.is_alive():
            return False
        cost = self._processor_seconds
        return cost < _CHEAP_SECONDS or cost <= _SHARE * (time.monotonic() - self._last)

    def save(self, progress: Mapping[str, Any], arrays: Mapping[str, Sequence[Any]]) -> None:
        """Begin to write a checkpoint; waits for the last one first.

        Args:
            progress: As in `Checkpoint`.
            arrays: As in `Checkpoint`; nothing may change in them later.

        Raises:
            RunFileError: The last one could not be written.
        """
        self.wait()
        checkpoint = Checkpoint(self._origin, progress, arrays)
        # A daemon: a second Ctrl-C ends the process at once, and what is half written was never there.
        self._thread = Thread(target=self._write, args=(checkpoint,), name="checkpoint", daemon=True)
        self._thread.start()
        self._last = time.monotonic()

    def wait(self) -> None:
        """Return when the last one is on the disk.

        Raises:
            RunFileError: It could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._raise_error()

    def _write(self, checkpoint: Checkpoint) -> None:
        started = time.thread_time()
        try:
            self._folder.save(checkpoint)
        except Exception as error:
            self._error = error
        self._processor_seconds = time.thread_time() - started

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
