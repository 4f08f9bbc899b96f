"""Decoding in a process of its own: a file on which a decoder crashes, hangs or takes all memory ends that process.

Decoders are C libraries that read what anybody may have written. A thread that one of them kills takes the
whole run along; a process does not. The processes are few (one for each thread that decodes at the same time),
start when they are first needed, import neither TensorFlow nor the caller's `__main__`, and serve many files.
They are a wall against accidents, not a sandbox: they run with the user's own rights.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from imgtrain.dataset.decode import DecodedImage, DecodeSettings, UndecodableImage, decode_image
from imgtrain.dataset.traits import TRAITS

__all__ = ["MOST_BYTES", "MOST_SECONDS", "decode_isolated", "serve", "stop_idle_processes"]

MOST_SECONDS = 60.0
"""A file that is not decoded by then is given up."""

MOST_BYTES = 3 << 30
"""Memory that decoding one file may take: the largest permitted picture, turned and converted, needs less."""

# The caller's own import path: the package may be installed, linked, or lie in the current folder.
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from imgtrain.dataset.isolation import serve; serve(int(sys.argv[1]))"
)


# Pixels, width, height, digest, traits: plain bytes and numbers travel several times as fast as arrays.
_Packed = tuple[bytes, int, int, bytes, bytes]


def _pack(image: DecodedImage) -> _Packed:
    return image.pixels.tobytes(), image.width, image.height, image.digest, image.traits.tobytes()


def _unpack(packed: _Packed, settings: DecodeSettings) -> DecodedImage:
    pixels, width, height, digest, traits = packed
    return DecodedImage(
        pixels=np.frombuffer(pixels, np.uint8).reshape(settings.shape),
        width=width,
        height=height,
        digest=digest,
        traits=np.frombuffer(traits, TRAITS)[0],
    )


class _ProcessDied(Exception):  # noqa: N818 (never leaves this module)
    """The process ended in the middle of a file."""


class _DecodeProcess:
    """One process, which decodes one file at a time."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        with there:
            # Libraries write their complaints to stderr; what matters of them comes back as a reason.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(there.fileno()), *sys.path],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self._channel = Connection(here.detach())

    def decode(self, path: str, settings: DecodeSettings) -> DecodedImage:
        """Decode a file.

        Raises:
            UndecodableImage: The decoder said no, or took too long; then this process is gone.
            _ProcessDied: The process is gone for another reason, which is the text.
        """
        try:
            self._channel.send((path, settings, MOST_SECONDS))
            if not self._channel.poll(MOST_SECONDS):
                self.stop()
                raise UndecodableImage(f"its decoder was stopped after {MOST_SECONDS:.0f} seconds")
            answer = self._channel.recv()
        except (EOFError, OSError):
            self.stop(grace_seconds=1)
            raise _ProcessDied(self._why_died()) from None
        if isinstance(answer, str):
            raise UndecodableImage(answer)
        return _unpack(answer, settings)

    @property
    def alive(self) -> bool:
        """Whether it can take another file."""
        return not self._channel.closed

    def stop(self, grace_seconds: float = 0) -> None:
        """End the process; it exits by itself when its channel is closed, unless it hangs."""
        if not self._channel.closed:
            self._channel.close()
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            # A process that waits for a dead disk cannot be ended; it is left behind.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)

    def _why_died(self) -> str:
        status = self._process.returncode
        if status is None or status >= 0:
            return f"its decoder ended (status {status})"
        name = signal.Signals(-status).name if -status in list(signal.Signals) else f"signal {-status}"
        because = ", perhaps for want of memory" if -status == signal.SIGKILL else ""
        return f"its decoder crashed ({name}{because})"


_idle: list[_DecodeProcess] = []
_lock = threading.Lock()


def decode_isolated(file: Path | str, settings: DecodeSettings) -> DecodedImage:
    """Decode as `decode_image` does, in a process that may die of it; from any number of threads.

    Args:
        file: A path.
        settings: What the picture is brought to.

    Raises:
        UndecodableImage: Whatever is wrong with the file; also if decoding it crashes, takes more than
            `MOST_SECONDS` or more than `MOST_BYTES`.
    """
    path = os.path.abspath(file)  # noqa: PTH100 (the process may have been started in another folder)
    with _lock:
        process = _idle.pop() if _idle else None
    if process is not None:
        # An earlier file may have damaged it, or somebody ended it: a fresh process says if it is this file.
        with suppress(_ProcessDied):
            return _decode_and_return(process, path, settings)
    try:
        return _decode_and_return(_DecodeProcess(), path, settings)
    except _ProcessDied as death:
        raise UndecodableImage(str(death)) from None


def stop_idle_processes() -> None:
    """End the processes that wait for more files; the next file starts new ones."""
    with _lock:
        processes, _idle[:] = list(_idle), []
    for process in processes:
        process.stop(grace_seconds=1)


def serve(descriptor: int) -> None:
    """Decode what is asked for through a socket until its other end closes: the life of one process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    _set_limits()
    with Connection(descriptor) as channel, suppress(EOFError, OSError):
        while True:
            path, settings, seconds = channel.recv()
            # If the other side has died meanwhile, nobody else would end a decoder that hangs.
            signal.setitimer(signal.ITIMER_REAL, 2 * seconds)
            try:
                answer: _Packed | str = _pack(decode_image(path, settings))
            except UndecodableImage as error:
                answer = error.reason
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.send(answer)


def _decode_and_return(process: _DecodeProcess, path: str, settings: DecodeSettings) -> DecodedImage:
    """Decode, and keep the process for the next file if it still lives."""
    try:
        return process.decode(path, settings)
    except BaseException as error:
        if not isinstance(error, UndecodableImage | _ProcessDied):
            process.stop()  # interrupted while it worked: its answer would be taken for the next file's
        raise
    finally:
        if process.alive:
            with _lock:
                _idle.append(process)


def _set_limits() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MOST_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
    )


def _forget_idle_processes() -> None:
    """After a fork: the parent's processes cannot be shared."""
    global _lock  # noqa: PLW0603 (another thread may have held it)
    _lock = threading.Lock()
    _idle.clear()


atexit.register(stop_idle_processes)
os.register_at_fork(after_in_child=_forget_idle_processes)
