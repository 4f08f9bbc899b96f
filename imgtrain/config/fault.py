"""What is wrong inside a value, before anyone knows in which file and line the value stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Fault", "FaultyValueError", "KeyPath"]

KeyPath = tuple[str | int, ...]
"""The keys and list positions that lead to a value: `("model", "layers", 0, "Dense")`."""


class Fault(NamedTuple):
    """One thing that is wrong inside a value.

    Attributes:
        path: Where, from the value on; empty for the value itself.
        what: What is wrong, as in `imgtrain.errors.Problem`.
        hint: What to do about it, as in `imgtrain.errors.Problem`.
    """

    path: KeyPath
    what: str
    hint: str = ""


class FaultyValueError(ValueError):
    """A value with one or more faults; pydantic carries it to where the file and line are known."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(
            "; ".join(f"{fault.what} ({fault.hint})" if fault.hint else fault.what for fault in self.faults)
        )

    def below(self, *path: str | int) -> FaultyValueError:
        """Return the same faults as seen from a value that holds this one at `path`."""
        return FaultyValueError(fault._replace(path=(*path, *fault.path)) for fault in self.faults)
