"""Graceful shutdown: the first signal requests a stop, the second exits immediately."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

__all__ = ["GracefulShutdown"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulShutdown:
    """Context manager in which the first Ctrl-C or SIGTERM sets `requested`; the second raises KeyboardInterrupt.

    Check `requested` after every step that can be the last. Has no effect outside the main thread, where Python does
    not handle signals.

    Attributes:
        requested: Whether a signal was received.
    """

    def __init__(self) -> None:
        self.requested = False
        self._earlier: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        """Install the signal handlers."""
        if threading.current_thread() is threading.main_thread():
            # Signals that are already ignored (`nohup`, background jobs of a script) stay ignored.
            heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._earlier = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
