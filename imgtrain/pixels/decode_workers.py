"""Decode files in worker processes, so that a decoder that crashes, hangs or exhausts memory only ends its process.

Image decoders are C libraries that process untrusted files; a crash in a thread would end the whole run. There is one
worker process per decoding thread, started on demand. They import neither TensorFlow nor the caller's `__main__`, and
decode many files. They protect against accidents, but are not a sandbox: they run with the user's permissions.
"""

from __future__ import annotations

import atexit
import gc
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from imgtrain.errors import Problem, RunFileError
from imgtrain.pixels.decode import DecodedImage, DecodeSettings, UndecodableImage, decode_image
from imgtrain.pixels.image_stats import IMAGE_STATS
from imgtrain.pixels.worker_channel import open_channel, start_worker
from imgtrain.run.system import INHERITS_DESCRIPTORS, cancel_exit, exit_after, limit_process

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
"""Time limit for decoding a file, plus one second per MiB."""

MOST_SECONDS = 60.0
"""Maximum time limit for decoding a file, whatever its size."""

MOST_SECONDS_TO_START = 300.0
"""Time limit for starting a process, which doesn't count towards the time limit of a file."""

STOPPED = "its decoder was stopped after"
"""Start of the reason for files that timed out."""

MOST_BYTES = 3 << 30
"""Memory limit for decoding a file; enough for rotating and converting the largest permitted image."""

# Keep freed memory for the next image: allocating new pages takes as long as decoding into them.
_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

# Use the caller's import path: the package may be installed, linked, or in the current folder.
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from imgtrain.pixels.decode_workers import serve; serve(sys.argv[1])"
)
_INHERIT = INHERITS_DESCRIPTORS


# Pixels, width, height, digest, stats: bytes and numbers are transferred several times as fast as arrays.
_Packed = tuple[bytes, int, int, bytes, bytes]


def _pack(image: DecodedImage) -> _Packed:
    return image.pixels.tobytes(), image.width, image.height, image.digest, image.stats.tobytes()


def _unpack(packed: _Packed, settings: DecodeSettings) -> DecodedImage:
    pixels, width, height, digest, stats = packed
    return DecodedImage(
        pixels=np.frombuffer(pixels, np.uint8).reshape(settings.shape),
        width=width,
        height=height,
        digest=digest,
        stats=np.frombuffer(stats, IMAGE_STATS)[0],
    )


class _NoAnswer(Exception):  # noqa: N818 (never leaves this module)
    """The process ended while decoding a file, or was stopped because it took too long."""


class _DecodeProcess:
    """A worker process, which decodes one file at a time."""

    def __init__(self) -> None:
        try:
            self._process, self._channel = start_worker(
                _START, environment=_ENVIRONMENT, seconds=MOST_SECONDS_TO_START, inherit=_INHERIT
            )
        except TimeoutError:
            raise _cannot_start(_TOO_LATE.format(MOST_SECONDS_TO_START)) from None
        except EOFError as error:
            raise _cannot_start(_describe_end(error.args[0])) from None
        self._wait = _waiting_for(self._channel)
        self._started = False

    def decode(
        self, paths: Sequence[str], settings: DecodeSettings
    ) -> Generator[DecodedImage | UndecodableImage]:
        """Send all files in one request, so that the process is never idle, and yield the responses in order.

        The process is stopped if the iterator is closed early, because remaining responses would be mistaken for
        those of the next files.

        Raises:
            _NoAnswer: The process ended while decoding the first file without a response.
            RunFileError: The process could not be started.
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
            raise _NoAnswer(f"its decoder {_describe_end(self._process.returncode)}") from None
        finally:
            if left:
                self.stop()

    def _wait_for_start(self) -> None:
        """Wait until the process is ready, which may take longer than any file on a busy machine."""
        if self._started:
            return
        try:
            if not self._wait(MOST_SECONDS_TO_START):
                raise _cannot_start(_TOO_LATE.format(MOST_SECONDS_TO_START))
            self._channel.recv()
            self._started = True
        except (EOFError, OSError):
            self.stop(grace_seconds=1)
            raise _cannot_start(_describe_end(self._process.returncode)) from None
        finally:
            if not self._started:
                self.stop()

    def _wait_for_answer(self, path: str) -> None:
        seconds = min(USUAL_SECONDS, MOST_SECONDS)
        if self._wait(seconds):
            return
        with suppress(OSError):
            longer = min(USUAL_SECONDS + os.stat(path).st_size / 2**20, MOST_SECONDS)  # noqa: PTH116
            if self._wait(longer - seconds):
                return
            seconds = longer
        raise _NoAnswer(f"{STOPPED} {seconds:.0f} seconds")

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return not self._channel.closed

    def stop(self, grace_seconds: float = 0) -> None:
        """Stop the process; it exits by itself when its channel is closed, unless it hangs."""
        if not self._channel.closed:
            self._channel.close()
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            # A process that waits for a failed disk cannot be killed.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)


_TOO_LATE = "did not start within {:.0f} seconds"


def _waiting_for(channel: Connection) -> Callable[[float], bool]:
    """Return a function that waits some seconds for a response, and returns whether there is one."""
    if not hasattr(select, "poll"):
        return channel.poll
    # Connection.poll creates a selector for each call, which takes as long as the rest of a response.
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    return lambda seconds: bool(poll.poll(seconds * 1000))


def _describe_end(status: int | None) -> str:
    """Return how a process ended, by its exit status; negative for a signal."""
    if status is None or status >= 0:
        return f"ended (status {status})"
    name = signal.Signals(-status).name if -status in list(signal.Signals) else f"signal {-status}"
    because = ", possibly out of memory" if name == "SIGKILL" else ""
    return f"crashed ({name}{because})"


def _cannot_start(why: str) -> RunFileError:
    hint = "close other programs to free memory; `python -c 'import imgtrain.pixels.decode_workers'` must succeed"
    return RunFileError(Problem("", f"a decoding process {why}", hint))


_idle: list[_DecodeProcess] = []
_lock = threading.Lock()


def decode_in_worker(file: Path | str, settings: DecodeSettings) -> DecodedImage:
    """Decode like `decode_image`, in a worker process; thread-safe.

    Args:
        file: A path.
        settings: Size and color mode.

    Raises:
        UndecodableImage: The file cannot be decoded, or decoding it crashes, takes too long (`USUAL_SECONDS`) or
            uses more than `MOST_BYTES`, twice.
        RunFileError: No process can be started.
    """
    (outcome,) = decode_each_in_worker([file], settings)
    if isinstance(outcome, UndecodableImage):
        raise outcome
    return outcome


def decode_each_in_worker(
    files: Iterable[Path | str], settings: DecodeSettings
) -> Generator[DecodedImage | UndecodableImage]:
    """Decode several files like `decode_in_worker`, in one worker process; thread-safe.

    This is faster than separate requests, because the process continues while its responses are read. A file is only
    reported if it fails twice, the second time alone in a new process: the first time, another file may have corrupted
    the process, or other programs may have slowed it down.

    Args:
        files: Paths.
        settings: Size and color mode.

    Yields:
        For each file, in order, the image, or why there is none.

    Raises:
        RunFileError: No process can be started.
    """
    # The process may have another working directory.
    paths = [os.path.abspath(file) for file in files]  # noqa: PTH100
    answered, alone = 0, False
    while answered < len(paths):
        process = (None if alone else _take_idle()) or _DecodeProcess()
        requested = paths[answered:][: 1 if alone else None]
        try:
            with closing(process.decode(requested, settings)) as outcomes:
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
    """Stop the idle processes; new ones are started on demand."""
    with _lock:
        processes, _idle[:] = list(_idle), []
    for process in processes:
        process.stop(grace_seconds=1)


def serve(given: str) -> None:
    """Run a worker process: decode files requested through a channel until its other end is closed.

    Args:
        given: As for `open_channel`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    limit_process(MOST_BYTES)
    gc.freeze()  # imported objects never become garbage
    with open_channel(given) as channel, suppress(EOFError, OSError):
        channel.send("ready")
        while True:
            paths, settings = channel.recv()
            for path in paths:
                # Ends a hanging decoder if the parent process has died.
                exit_after(2 * MOST_SECONDS)
                try:
                    answer: _Packed | str = _pack(decode_image(path, settings))
                except UndecodableImage as error:
                    answer = error.reason
                cancel_exit()
                channel.send(answer)


def _forget_idle_processes() -> None:
    """Forget the parent's processes after a fork, because they cannot be shared."""
    global _lock  # noqa: PLW0603 (another thread may have held it)
    _lock = threading.Lock()
    _idle.clear()


atexit.register(stop_idle_workers)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_idle_processes)
