"""Decides when to write checkpoints, and writes them in a background thread during training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from threading import Thread
from typing import Any

from imgtrain.training.checkpoint_store import Checkpoint, CheckpointStore

__all__ = ["Checkpointer"]

# Maximum share of training time spent on end-of-epoch checkpoints. Those that take less than _CHEAP_SECONDS of CPU
# time are always written.
_SHARE = 0.02
_CHEAP_SECONDS = 0.05


class Checkpointer:
    """Writes one checkpoint at a time, and re-raises the error of a failed write in the training thread.

    Attributes:
        earlier: The checkpoint to resume from; None starts from scratch.
        new_stage: Whether to continue with the learning rate of the model instead of the checkpoint's.
    """

    def __init__(
        self,
        folder: CheckpointStore,
        *,
        origin: Mapping[str, Any],
        minutes: float,
        earlier: Checkpoint | None = None,
        new_stage: bool = False,
    ) -> None:
        """Initialize without writing anything.

        Args:
            folder: Where checkpoints are written.
            origin: As in `Checkpoint`; the same for all checkpoints.
            minutes: Time between two checkpoints within an epoch.
            earlier: The checkpoint to resume from; None starts from scratch.
            new_stage: Whether to continue with the learning rate of the model instead of the checkpoint's.
        """
        self.earlier = earlier
        self.new_stage = new_stage
        self._folder = folder
        self._origin = origin
        self._seconds = 60 * minutes
        self._thread: Thread | None = None
        self._error: Exception | None = None
        self._processor_seconds = 0.0
        # Monotonic: not affected by changes of the system clock.
        self._last = time.monotonic()

    def are_due(self) -> bool:
        """Return whether `minutes` have passed since the last checkpoint.

        Raises:
            RunFileError: The last checkpoint could not be written.
        """
        self._raise_error()
        return time.monotonic() - self._last >= self._seconds

    def are_affordable(self) -> bool:
        """Return whether enough time has passed since the last checkpoint to write one at the end of an epoch.

        Short epochs may take less time than writing the weights.
        """
        if self._thread is not None and self._thread.is_alive():
            return False
        cost = self._processor_seconds
        return cost < _CHEAP_SECONDS or cost <= _SHARE * (time.monotonic() - self._last)

    def save(self, progress: Mapping[str, Any], arrays: Mapping[str, Sequence[Any]]) -> None:
        """Start writing a checkpoint, after waiting for the previous one.

        Args:
            progress: As in `Checkpoint`.
            arrays: As in `Checkpoint`; must not be modified afterwards.

        Raises:
            RunFileError: The last checkpoint could not be written.
        """
        self.wait()
        checkpoint = Checkpoint(self._origin, progress, arrays)
        # A daemon thread, so that a second Ctrl-C exits immediately; writes are atomic.
        self._thread = Thread(target=self._write, args=(checkpoint,), name="checkpoint", daemon=True)
        self._thread.start()
        self._last = time.monotonic()

    def wait(self) -> None:
        """Block until the last checkpoint is written.

        Raises:
            RunFileError: The checkpoint could not be written.
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
