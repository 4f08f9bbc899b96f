"""The errors that users can cause, each with the exit status of the command.

An error is a list of problems, so that users can fix all of them at once. A problem consists of a location, a
description, and a hint how to fix it; `ImgtrainError.__str__` is the text that the command prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from imgtrain.text import printable

__all__ = [
    "ConfigError",
    "DataError",
    "DivergedError",
    "ImgtrainError",
    "InterruptedRunError",
    "Problem",
    "RunFileError",
    "did_you_mean",
    "join_hints",
    "missing_here",
    "nearest_name",
]


@dataclass(frozen=True, slots=True, init=False)
class Problem:
    """One problem; file names and other text from outside are escaped here.

    Attributes:
        where: The location, such as `configs/cats.yaml:14: training.epochs` or a path. Can be empty.
        what: What is wrong, what was given and what is allowed, as one sentence without a final period.
        hint: How to fix it, as one sentence without a final period. Can be empty.
    """

    where: str
    what: str
    hint: str

    def __init__(self, where: str | Path, what: str, hint: str = "") -> None:
        for name, text in (("where", where), ("what", what), ("hint", hint)):
            object.__setattr__(self, name, printable(str(text)))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n    {self.hint}" if self.hint else text


class ImgtrainError(Exception):
    """An error that the user can fix; never shown with a traceback.

    Attributes:
        problems: All problems, in the order in which they are shown; never empty.
        exit_status: Exit status of the command.
    """

    exit_status = 1

    def __init__(self, problems: Problem | str | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem("", problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class ConfigError(ImgtrainError):
    """The command line or the configuration is invalid."""

    exit_status = 2


class DataError(ImgtrainError):
    """The images or their folders are invalid."""

    exit_status = 3


class RunFileError(ImgtrainError):
    """A run directory, model or cache file is missing, corrupt or already exists."""

    exit_status = 4


class DivergedError(ImgtrainError):
    """The loss became NaN or infinite."""

    exit_status = 5


class InterruptedRunError(ImgtrainError):
    """The run was interrupted by the user or the system."""

    exit_status = 130


def did_you_mean(given: str, allowed: Sequence[str]) -> str:
    """Return `did you mean 'x'?` for the closest allowed name, or an empty string."""
    near = nearest_name(given, allowed)
    return f"did you mean {near!r}?" if near else ""


def nearest_name(given: str, allowed: Sequence[str], *, similarity: float = 0.6) -> str:
    """Return the closest allowed name, or an empty string if none has at least this similarity (0 to 1)."""
    lowered = {name.lower(): name for name in allowed}
    close = get_close_matches(given.lower(), list(lowered), n=1, cutoff=similarity)
    return lowered[close[0]] if close else ""


def join_hints(first: str, second: str) -> str:
    """Return two hints as one."""
    return f"{first}{' ' if first.endswith('?') else '; '}{second}" if first and second else first or second


def missing_here(path: Path) -> str:
    """Return a hint for a file of the command line that does not exist: where it was looked for."""
    return "" if path.is_absolute() else f"{str(path)!r} is relative to the current directory, {Path.cwd()}"
