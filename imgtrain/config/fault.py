"""Errors inside a value, before its file and line are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Fault", "FaultyValueError", "KeyPath"]

KeyPath = tuple[str | int, ...]
"""The keys and list indices of a value: `("model", "layers", 0, "Dense")`."""


class Fault(NamedTuple):
    """One error inside a value.

    Attributes:
        path: Path of the error relative to the value; empty for the value itself.
        what: As in `imgtrain.errors.Problem`.
        hint: As in `imgtrain.errors.Problem`.
        meant: Path of the key that was probably meant, if the key is the error.
    """

    path: KeyPath
    what: str
    hint: str = ""
    meant: KeyPath = ()


class FaultyValueError(ValueError):
    """A value with one or more faults; passes through pydantic to where the file and line are known."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(
            "; ".join(f"{fault.what} ({fault.hint})" if fault.hint else fault.what for fault in self.faults)
        )

    def below(self, *path: str | int) -> FaultyValueError:
        """Return the same faults, relative to a value that contains this one at `path`."""
        return FaultyValueError(fault._replace(path=(*path, *fault.path)) for fault in self.faults)
