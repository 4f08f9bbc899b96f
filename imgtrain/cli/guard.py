"""What becomes of errors and signals: one block on stderr, and the exit status that the interface promises."""

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

# What is no bug wherever it happens, and what to do about it.
_SYSTEM = {
    errno.EAGAIN: "close other programs, or allow more processes with `ulimit -u`",
    errno.EDQUOT: "free some space",
    errno.EMFILE: "allow more open files with `ulimit -n`",
    errno.ENFILE: "close other programs: the whole system has no file handle left",
    errno.ENOMEM: "close other programs, or use a smaller data.batch_size",
    errno.ENOSPC: "free some space",
    errno.EROFS: "choose another place with --output",
}

Command = TypeVar("Command", bound=Callable[..., None])


def guarded(command: Command) -> Command:
    """Return the command with every user's mistake turned into a message and an exit status, not a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        # A stop asked for by the system is handled like the user's own.
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
            # The reader of our output, such as `head`, has gone: there is nobody to tell.
            sys.stderr.close()
            raise typer.Exit(0) from None
        except OSError as error:
            if error.errno not in _SYSTEM:
                raise
            print_error(_as_told_by_the_system(error))
            raise typer.Exit(RunFileError.exit_status) from None

    return run  # type: ignore[return-value]


def _as_told_by_the_system(error: OSError) -> ImgtrainError:
    """Return the error of a system that has run out of something, wherever it was hit."""
    assert error.errno is not None
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return RunFileError(Problem(where, error.strerror or str(error), _SYSTEM[error.errno]))


def print_error(error: ImgtrainError) -> None:
    """Print all problems as one block on stderr."""
    sys.stderr.write(f"error: {error}\n")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
