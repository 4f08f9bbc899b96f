"""The checkpoints of a run under way: when they are due, and a thread that writes them beside the training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from threading import Thread
from typing import Any

from imgtrain.checkpoint import Checkpoint, CheckpointFolder

__all__ = ["Checkpoints"]


class Checkpoints:
    """Writes one checkpoint at a time, and brings the error of a failed write back to the training.

    Attributes:
        earlier: Where to go on; None to begin.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
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
        # The clock that goes on when somebody sets the other.
        self._last = time.monotonic()

    def are_due(self) -> bool:
        """Return whether the time since the last one has passed.

        Raises:
            RunFileError: The last one could not be written.
        """
        self._raise_error()
        return time.monotonic() - self._last >= self._seconds

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
        try:
            self._folder.save(checkpoint)
        except Exception as error:
            self._error = error

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
