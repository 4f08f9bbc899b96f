"""Every error that a user can cause, each with the exit status that the command ends with.

An error is a list of problems, because a person wants to mend all of them at once. A problem says where,
what is wrong, and what to do; `ImgtrainError.__str__` is the block that the command prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

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
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; file names and other text from outside are escaped here, once.

    Attributes:
        where: The place, such as `configs/cats.yaml:14: training.epochs` or a path. May be empty.
        what: What is wrong, what was given and what is allowed, as one sentence without a final stop.
        hint: What to do about it, as one sentence without a final stop. May be empty.
    """

    where: str
    what: str
    hint: str = ""

    def __post_init__(self) -> None:
        for name in ("where", "what", "hint"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n    {self.hint}" if self.hint else text


class ImgtrainError(Exception):
    """A problem that the user can mend; never shown with a traceback.

    Attributes:
        problems: All that was found, in the order in which it should be shown; never empty.
        exit_status: What the command's process ends with.
    """

    exit_status = 1

    def __init__(self, problems: Problem | str | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem("", problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class ConfigError(ImgtrainError):
    """The command line or the configuration is wrong."""

    exit_status = 2


class DataError(ImgtrainError):
    """The images or their folders are wrong."""

    exit_status = 3


class RunFileError(ImgtrainError):
    """A run directory, model or cache file is missing, damaged or in the way."""

    exit_status = 4


class DivergedError(ImgtrainError):
    """The loss became NaN or infinite."""

    exit_status = 5


class InterruptedRunError(ImgtrainError):
    """The user or the system asked the run to stop."""

    exit_status = 130


def did_you_mean(given: str, allowed: Sequence[str]) -> str:
    """Return `did you mean 'x'?` for the nearest of the allowed names, or an empty string."""
    lowered = {name.lower(): name for name in allowed}
    close = get_close_matches(given.lower(), list(lowered), n=1, cutoff=0.6)
    return f"did you mean {lowered[close[0]]!r}?" if close else ""
