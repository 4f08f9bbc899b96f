"""Signals that ask the process to stop: the first is noted, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

__all__ = ["GracefulShutdown"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulShutdown:
    """Within it, the first Ctrl-C or SIGTERM only sets `requested`; the second raises KeyboardInterrupt.

    Work that can stop between two steps asks `requested` after each of them. Outside the main thread, where Python
    handles no signals, it does nothing.

    Attributes:
        requested: Whether somebody wants the work to stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self._earlier: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        """Begin to note signals."""
        if threading.current_thread() is threading.main_thread():
            # Started with `nohup` or in the background of a script, a process ignores Ctrl-C, and goes on to.
            heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._earlier = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Handle signals as before."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
