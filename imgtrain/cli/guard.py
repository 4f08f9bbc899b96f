"""Convert errors and signals to a message on stderr and the documented exit status."""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, TypeVar

import typer

from imgtrain.errors import ImgtrainError, InterruptedRunError, Problem, RunFileError

__all__ = ["guarded", "print_error"]

# System errors that are not bugs, and what to do about them.
_SYSTEM = {
    errno.EAGAIN: "close other programs, or allow more processes with `ulimit -u`",
    errno.EDQUOT: "free some space",
    errno.EMFILE: "allow more open files with `ulimit -n`",
    errno.ENFILE: "close other programs: the system has run out of file handles",
    errno.ENOMEM: "close other programs, or use a smaller data.batch_size",
    errno.ENOSPC: "free some space",
    errno.EROFS: "choose another location with --output",
}

Command = TypeVar("Command", bound=Callable[..., None])


def guarded(command: Command) -> Command:
    """Return the command with user errors converted to a message and an exit status instead of a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        # Handle SIGTERM like Ctrl-C.
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            command(*args, **kwargs)
        except ImgtrainError as error:
            print_error(error)
            raise typer.Exit(error.exit_status) from None
        except KeyboardInterrupt:
            print_error(InterruptedRunError("interrupted"))
            raise typer.Exit(InterruptedRunError.exit_status) from None
        except BrokenPipeError:
            # The reader of our output, such as `head`, has exited.
            sys.stderr.close()
            raise typer.Exit(0) from None
        except OSError as error:
            if error.errno not in _SYSTEM:
                raise
            print_error(_to_run_file_error(error))
            raise typer.Exit(RunFileError.exit_status) from None

    return run  # type: ignore[return-value]


def _to_run_file_error(error: OSError) -> ImgtrainError:
    """Return the error for a system resource that is exhausted."""
    assert error.errno is not None
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return RunFileError(Problem(where, error.strerror or str(error), _SYSTEM[error.errno]))


def print_error(error: ImgtrainError) -> None:
    """Print all problems to stderr."""
    sys.stderr.write(f"error: {error}\n")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
