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

from imgtrain.errors import Problem, RunFileError
from imgtrain.pixels.decode import DecodedImage, DecodeSettings, UndecodableImage, decode_image
from imgtrain.pixels.image_stats import IMAGE_STATS

__all__ = [
    "MOST_BYTES",
    "MOST_SECONDS",
    "MOST_SECONDS_TO_START",
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

MOST_SECONDS_TO_START = 300.0
"""A process that has not started by then is given up; starting is not counted as decoding."""

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


class _NoAnswer(Exception):  # noqa: N818 (never leaves this module)
    """The process ended in the middle of a file, or was ended because it took too long; the text says which."""


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
        self._started = False

    def decode(
        self, paths: Sequence[str], settings: DecodeSettings
    ) -> Generator[DecodedImage | UndecodableImage]:
        """Ask for all files at once, so that the process never waits, and yield the answers in their order.

        The process is gone if the iterator is closed early: answers that are left would be taken for those of the
        next files.

        Raises:
            _NoAnswer: The process is gone. It was at the file that has no answer.
            RunFileError: It could not even start.
        """
        self._wait_for_start()
        left = len(paths)
        try:
            self._channel.send((paths, settings))
            for path in paths:
                self._wait_for_answer(path)
                answer = self._channel.recv()
                left -= 1
                yield UndecodableImage(answer) if isinstance(answer, str) else _unpack(answer, settings)
        except (EOFError, OSError):
            self.stop(grace_seconds=1)
            raise _NoAnswer(f"its decoder {self._how_it_ended()}") from None
        finally:
            if left:
                self.stop()

    def _wait_for_start(self) -> None:
        """Wait until the process says that it is ready: on a busy machine that may take longer than any file."""
        if self._started:
            return
        try:
            if not self._poll.poll(MOST_SECONDS_TO_START * 1000):
                raise _cannot_start(f"has not started after {MOST_SECONDS_TO_START:.0f} seconds")
            self._channel.recv()
            self._started = True
        except (EOFError, OSError):
            self.stop(grace_seconds=1)
            raise _cannot_start(self._how_it_ended()) from None
        finally:
            if not self._started:
                self.stop()

    def _wait_for_answer(self, path: str) -> None:
        seconds = min(USUAL_SECONDS, MOST_SECONDS)
        if self._poll.poll(seconds * 1000):
            return
        with suppress(OSError):
            longer = min(USUAL_SECONDS + os.stat(path).st_size / 2**20, MOST_SECONDS)  # noqa: PTH116
            if self._poll.poll((longer - seconds) * 1000):
                return
            seconds = longer
        raise _NoAnswer(f"{STOPPED} {seconds:.0f} seconds")

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

    def _how_it_ended(self) -> str:
        status = self._process.returncode
        if status is None or status >= 0:
            return f"ended (status {status})"
        name = signal.Signals(-status).name if -status in list(signal.Signals) else f"signal {-status}"
        because = ", perhaps out of memory" if -status == signal.SIGKILL else ""
        return f"crashed ({name}{because})"


def _cannot_start(why: str) -> RunFileError:
    hint = "close other programs if memory is short; `python -c 'import imgtrain.pixels.decode_workers'` must work"
    return RunFileError(Problem("", f"a process that decodes images {why} before its first image", hint))


_idle: list[_DecodeProcess] = []
_lock = threading.Lock()


def decode_in_worker(file: Path | str, settings: DecodeSettings) -> DecodedImage:
    """Decode as `decode_image` does, in a process that may die of it; from any number of threads.

    Args:
        file: A path.
        settings: What the picture is brought to.

    Raises:
        UndecodableImage: Whatever is wrong with the file; also if decoding it crashes, takes too long
            (`USUAL_SECONDS`) or more than `MOST_BYTES`, twice.
        RunFileError: No process can be started.
    """
    (outcome,) = decode_each_in_worker([file], settings)
    if isinstance(outcome, UndecodableImage):
        raise outcome
    return outcome


def decode_each_in_worker(
    files: Iterable[Path | str], settings: DecodeSettings
) -> Generator[DecodedImage | UndecodableImage]:
    """Decode as `decode_in_worker` does, one file after the other, in one process; from any number of threads.

    This is faster than to ask for each alone, because the process goes on while its answer is read. A file is
    given up only if it fails twice, the second time alone in a fresh process: the first time, another file may have
    damaged the process, or other programs have slowed it down.

    Args:
        files: Paths.
        settings: What each picture is brought to.

    Yields:
        For each file, in order, the picture, or why there is none.

    Raises:
        RunFileError: No process can be started.
    """
    # The process may have been started in another folder.
    paths = [os.path.abspath(file) for file in files]  # noqa: PTH100
    answered, alone = 0, False
    while answered < len(paths):
        process = (None if alone else _take_idle()) or _DecodeProcess()
        asked = paths[answered:][: 1 if alone else None]
        try:
            with closing(process.decode(asked, settings)) as outcomes:
                for outcome in outcomes:
                    answered += 1
                    yield outcome
            alone = False
        except _NoAnswer as failure:
            if alone:
                answered += 1
                yield UndecodableImage(str(failure))
            alone = not alone
        finally:
            if process.alive:
                with _lock:
                    _idle.append(process)


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
        channel.send("ready")
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
