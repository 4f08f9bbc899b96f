"""Decoding in a process of its own: a file on which a decoder crashes, hangs or takes all memory ends that process.

Decoders are C libraries that read what anybody may have written. A thread that one of them kills takes the
whole run along; a process does not. The processes are few (one for each thread that decodes at the same time),
start when they are first needed, import neither TensorFlow nor the caller's `__main__`, and serve many files.
They are a wall against accidents, not a sandbox: they run with the user's own rights.
"""

from __future__ import annotations

import atexit
import gc
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from imgtrain.pixels.decode import DecodedImage, DecodeSettings, UndecodableImage, decode_image
from imgtrain.pixels.image_stats import IMAGE_STATS

__all__ = [
    "MOST_BYTES",
    "MOST_SECONDS",
    "STOPPED",
    "USUAL_SECONDS",
    "decode_each_in_worker",
    "decode_in_worker",
    "serve",
    "stop_idle_workers",
]

USUAL_SECONDS = 20.0
"""A file that is not decoded by then is given up; each MiB of the file allows a second more."""

MOST_SECONDS = 60.0
"""A file that is not decoded by then is given up, however large it is."""

STOPPED = "its decoder was stopped after"
"""How the reason begins if a file took too long."""

MOST_BYTES = 3 << 30
"""Memory that decoding one file may take: the largest permitted picture, turned and converted, needs less."""

# Memory that a picture gave back is kept for the next one: to get new pages takes as long as to decode into them.
_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

# The caller's own import path: the package may be installed, linked, or lie in the current folder.
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from imgtrain.pixels.decode_workers import serve; serve(int(sys.argv[1]))"
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
        traits=np.frombuffer(traits, IMAGE_STATS)[0],
    )


class _ProcessDied(Exception):  # noqa: N818 (never leaves this module)
    """The process ended in the middle of a file."""


class _DecodeProcess:
    """One process, which decodes one file after the other."""

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
                env={**os.environ, **_ENVIRONMENT},
            )
        self._channel = Connection(here.detach())
        # Connection.poll makes and throws away a selector each time, which takes as long as the rest of an answer.
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)

    def decode(
        self, paths: Sequence[str], settings: DecodeSettings
    ) -> Generator[DecodedImage | UndecodableImage]:
        """Ask for all files at once, so that the process never waits, and yield the answers in their order.

        After a file that took too long there are no more answers, and the process is gone. It is also gone if
        the iterator is closed early: answers that are left would be taken for those of the next files.

        Raises:
            _ProcessDied: The process is gone for another reason, which is the text. It was at the file that
                has no answer.
        """
        left = len(paths)
        try:
            self._channel.send((paths, settings))
            for path in paths:
                if seconds := self._wait_in_vain(path):
                    yield UndecodableImage(f"{STOPPED} {seconds:.0f} seconds")
                    return
                answer = self._channel.recv()
                left -= 1
                yield UndecodableImage(answer) if isinstance(answer, str) else _unpack(answer, settings)
        except (EOFError, OSError):
            self.stop(grace_seconds=1)
            raise _ProcessDied(self._why_died()) from None
        finally:
            if left:
                self.stop()

    def _wait_in_vain(self, path: str) -> float:
        """Wait for the answer; return 0 if there is one, or else the seconds that were waited."""
        seconds = min(USUAL_SECONDS, MOST_SECONDS)
        if self._poll.poll(seconds * 1000):
            return 0
        with suppress(OSError):
            longer = min(USUAL_SECONDS + os.stat(path).st_size / 2**20, MOST_SECONDS)  # noqa: PTH116
            if self._poll.poll((longer - seconds) * 1000):
                return 0
            return longer
        return seconds

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


def decode_in_worker(file: Path | str, settings: DecodeSettings) -> DecodedImage:
    """Decode as `decode_image` does, in a process that may die of it; from any number of threads.

    Args:
        file: A path.
        settings: What the picture is brought to.

    Raises:
        UndecodableImage: Whatever is wrong with the file; also if decoding it crashes, takes too long
            (`USUAL_SECONDS`) or more than `MOST_BYTES`.
    """
    (outcome,) = decode_each_in_worker([file], settings)
    if isinstance(outcome, UndecodableImage):
        raise outcome
    return outcome


def decode_each_in_worker(
    files: Iterable[Path | str], settings: DecodeSettings
) -> Generator[DecodedImage | UndecodableImage]:
    """Decode as `decode_in_worker` does, one file after the other, in one process; from any number of threads.

    This is faster than to ask for each alone, because the process goes on while its answer is read. No file is
    blamed for another: if the process dies, the files that have no answer are decoded in a fresh one.

    Args:
        files: Paths.
        settings: What each picture is brought to.

    Yields:
        For each file, in order, the picture, or why there is none.
    """
    # The process may have been started in another folder.
    paths = [os.path.abspath(file) for file in files]  # noqa: PTH100
    answered = 0
    process = _take_idle() if paths else None
    while answered < len(paths):
        # An earlier file may have damaged it, or somebody ended it: only a fresh one says if it is this file.
        fresh = process is None
        process = process or _DecodeProcess()
        try:
            with closing(process.decode(paths[answered:], settings)) as outcomes:
                for outcome in outcomes:
                    answered, fresh = answered + 1, False
                    yield outcome
        except _ProcessDied as death:
            if fresh:
                answered += 1
                yield UndecodableImage(str(death))
        finally:
            if process.alive:
                with _lock:
                    _idle.append(process)
        process = None


def _take_idle() -> _DecodeProcess | None:
    with _lock:
        return _idle.pop() if _idle else None


def stop_idle_workers() -> None:
    """End the processes that wait for more files; the next file starts new ones."""
    with _lock:
        processes, _idle[:] = list(_idle), []
    for process in processes:
        process.stop(grace_seconds=1)


def serve(descriptor: int) -> None:
    """Decode what is asked for through a socket until its other end closes: the life of one process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    _set_limits()
    gc.freeze()  # what was imported stays, and need not be looked through again and again
    with Connection(descriptor) as channel, suppress(EOFError, OSError):
        while True:
            paths, settings = channel.recv()
            for path in paths:
                # If the other side has died meanwhile, nobody else would end a decoder that hangs.
                signal.setitimer(signal.ITIMER_REAL, 2 * MOST_SECONDS)
                try:
                    answer: _Packed | str = _pack(decode_image(path, settings))
                except UndecodableImage as error:
                    answer = error.reason
                signal.setitimer(signal.ITIMER_REAL, 0)
                channel.send(answer)


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


atexit.register(stop_idle_workers)
os.register_at_fork(after_in_child=_forget_idle_processes)
