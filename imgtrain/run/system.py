"""What operating systems do differently: limits and timers of a process, and reading, writing and flushing files.

This module and `run.machine` are the only ones that use what not every system has; on the others, a stated fallback
takes its place. Windows has neither limits nor `preadv`, macOS doesn't enforce limits of memory.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = [
    "INHERITS_DESCRIPTORS",
    "RENAMES_OPEN_FILES",
    "cancel_exit",
    "exit_after",
    "flush_to_disk",
    "is_in_use",
    "limit_process",
    "mark_in_use",
    "open_binary",
    "read_at",
    "remove_unused",
    "reserve_space",
    "write_at",
]

_WINDOWS = os.name == "nt"

INHERITS_DESCRIPTORS = not _WINDOWS
"""Whether `subprocess.Popen` can pass an open socket to the new process."""

RENAMES_OPEN_FILES = not _WINDOWS
"""Whether a file can be renamed or removed while it is open."""

# Only for systems that cannot read and write at an offset.
_seeking = threading.Lock()


def limit_process(more_bytes: int) -> None:
    """Limit the memory that this process may allocate from now on, and disable core dumps.

    Without effect where the system doesn't enforce it, on macOS and Windows: there, an image that needs too much memory
    is only stopped by the limit of its pixels, and by its time limit.
    """
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + more_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
    )


def exit_after(seconds: float) -> None:
    """End this process after some seconds, whatever it does then; `cancel_exit` prevents it."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
    else:
        # A thread of the interpreter that needs no lock; it takes about 50 times as long to start as a timer.
        faulthandler.dump_traceback_later(seconds, exit=True, file=_nowhere())


def cancel_exit() -> None:
    """Cancel `exit_after`."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    else:
        faulthandler.cancel_dump_traceback_later()


@cache
def _nowhere() -> IO[str]:
    return Path(os.devnull).open("w", encoding="utf-8")


def open_binary(path: Path | str, flags: int) -> int:
    """Open a file as `os.open`, without translating line ends, and return its descriptor."""
    return os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)


def read_at(descriptor: int, buffer: memoryview[Any], offset: int) -> int:
    """Read from an offset into a buffer of bytes, and return how many were read; thread-safe."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], offset)
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        content = os.read(descriptor, min(buffer.nbytes, 1 << 30))
    buffer[: len(content)] = content
    return len(content)


def write_at(descriptor: int, buffer: memoryview[Any], offset: int) -> int:
    """Write a buffer of bytes at an offset, and return how many were written; thread-safe."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, buffer, offset)
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, buffer)


def reserve_space(descriptor: int, size: int) -> bool:
    """Allocate the space of a file, if system and file system can.

    Returns:
        Whether it is allocated.

    Raises:
        OSError: There is not enough space.
    """
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        import errno

        if error.errno in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            return False
        raise
    return True


def flush_to_disk(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk.

    Windows has no such operation for folders, whose entries are in the journal of the file system.
    """
    if _WINDOWS and path.is_dir():
        return
    # Windows only flushes files that are open for writing.
    descriptor = os.open(path, os.O_RDWR if _WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mark_in_use(descriptor: int) -> None:
    """Lock an open file against `remove_unused`, until it is closed.

    Windows needs no lock: it doesn't remove open files. Without effect on file systems without locks.
    """
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)


def is_in_use(path: Path) -> bool:
    """Return whether a process has marked the file as in use; False on Windows."""
    return _with_exclusive_lock(path, lambda: None) is False


def remove_unused(path: Path) -> bool:
    """Remove a file, and return whether it was removed: not if it is in use, or cannot be locked or removed."""
    return _with_exclusive_lock(path, path.unlink) is True


def _with_exclusive_lock(path: Path, act: Callable[[], None]) -> bool | None:
    """Act on a file unless a process uses it. Returns True if done, False if it is in use, None on an error."""
    try:
        if fcntl is None:
            act()
            return True
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            act()
        finally:
            os.close(descriptor)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
