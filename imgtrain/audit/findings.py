"""The findings of a check, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["SEVERITIES", "Finding", "Item", "Severity"]

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Most severe first. An error makes scores wrong or stops `train`; a warning may; a note is for information."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file, or several that belong together, such as duplicates.

    Attributes:
        paths: Relative to the report's root, with POSIX separators.
        detail: Details about these files; can be empty.
    """

    paths: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding with all affected files.

    Attributes:
        code: Stable identifier, such as `leak`; docs/check.md lists all of them.
        severity: `error`, `warning` or `note`.
        what: Description with numbers, as one sentence without a final period.
        harm: The impact on training or scores.
        remedy: How to fix it.
        items: The affected files; empty if the finding is not about files.
    """

    code: str
    severity: Severity
    what: str
    harm: str
    remedy: str
    items: tuple[Item, ...] = ()
