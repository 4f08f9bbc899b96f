"""Infer from class names which augmentations preserve the label."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["are_characters", "sided_class", "why_no_flip"]

_CHARACTER = re.compile(r"\d{1,2}|[a-z]", re.IGNORECASE)
_CHARACTER_NAMES = frozenset(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
)
_SIDED = re.compile(r"(^|[^a-z])(left|right|clockwise|arrow|east|west)([^a-z]|$)", re.IGNORECASE)


def why_no_flip(class_names: Sequence[str]) -> str:
    """Return why flips would change the label, judging by the class names; empty if they wouldn't."""
    if sided := sided_class(class_names):
        return f"a flipped {sided} would have another label"
    if are_characters(class_names):
        return "flipped digits, letters and numbered signs are invalid"
    return ""


def sided_class(class_names: Sequence[str]) -> str:
    """Return the first class name with a direction, such as `turn_left`; empty if there is none."""
    return next((name for name in class_names if _SIDED.search(name.replace("_", " "))), "")


def are_characters(class_names: Sequence[str]) -> bool:
    """Return whether most class names look like digits, letters or numbered signs."""
    characters = [
        name for name in class_names if _CHARACTER.fullmatch(name) or name.lower() in _CHARACTER_NAMES
    ]
    return 2 * len(characters) > len(class_names)
