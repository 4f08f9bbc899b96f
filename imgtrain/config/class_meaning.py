"""Infer from class names which augmentations preserve the label."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["are_characters", "color_class", "find_flip_problem", "sided_class"]

_CHARACTER = re.compile(r"\d{1,2}|[a-z]", re.IGNORECASE)
_CHARACTER_NAMES = frozenset(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
)
_SIDED = re.compile(r"(^|[^a-z])(left|right|clockwise|arrow|east|west)([^a-z]|$)", re.IGNORECASE)

_COLORED = re.compile(
    r"(^|[^a-z])(red|orange|yellow|green|blue|purple|violet|pink|brown|black|white|golden?|(un|over)?ripe)([^a-z]|$)",
    re.IGNORECASE,
)


def find_flip_problem(class_names: Sequence[str]) -> str:
    """Return why flips would change the label, judging by the class names; empty if they wouldn't."""
    if sided := sided_class(class_names):
        return f"a flipped {sided} would have another label"
    if are_characters(class_names):
        return "flipped digits, letters and numbered signs are invalid"
    return ""


def sided_class(class_names: Sequence[str]) -> str:
    """Return the first class name with a direction, such as `turn_left`; empty if there is none."""
    return next((name for name in class_names if _SIDED.search(name.replace("_", " "))), "")


def color_class(class_names: Sequence[str]) -> str:
    """Return the first of several class names with a color, such as `apple_red` or `unripe`; else an empty string.

    A single one, such as a red fox among other animals, is not told from the others by its color alone.
    """
    colored = [name for name in class_names if _COLORED.search(name.replace("_", " "))]
    return colored[0] if len(colored) > 1 else ""


def are_characters(class_names: Sequence[str]) -> bool:
    """Return whether most class names look like digits, letters or numbered signs."""
    characters = [
        name for name in class_names if _CHARACTER.fullmatch(name) or name.lower() in _CHARACTER_NAMES
    ]
    return 2 * len(characters) > len(class_names)
