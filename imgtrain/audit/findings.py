"""What a check finds: a frozen value that says what, where, why it matters and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["SEVERITIES", "Finding", "Item", "Severity"]

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first. An error makes scores wrong or stops `train`; a warning may; a note is good to know."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file, or several that belong together, such as a picture and its copies.

    Attributes:
        paths: Relative to the report's root, with POSIX separators.
        detail: What is said of just these; may be empty.
    """

    paths: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, with every file that shows it.

    Attributes:
        code: Its stable name, such as `leak`; all of them stand in docs/check.md.
        severity: `error`, `warning` or `note`.
        what: One sentence with the numbers, without a final stop.
        harm: What it does to training or to the scores.
        remedy: What to do about it.
        items: The files; empty where it is about no file.
    """

    code: str
    severity: Severity
    what: str
    harm: str
    remedy: str
    items: tuple[Item, ...] = ()
