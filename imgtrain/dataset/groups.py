"""Which images belong together: patients, videos or plants, named in the paths as `data.group_by` says."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["assign_groups", "match_groups"]


def match_groups(paths: Sequence[str], expression: str) -> list[str | None]:
    """Return the text that the expression's group finds in each path; None where it does not match."""
    pattern = re.compile(expression)
    return [match[1] if (match := pattern.search(path)) else None for path in paths]


def assign_groups(paths: Sequence[str], expression: str | None) -> NDArray[np.intp] | None:
    """Return (n,) the group of each image, as integers from 0; None without an expression.

    An image that the expression does not match is a group of its own.
    """
    if expression is None:
        return None
    groups = enumerate(match_groups(paths, expression))
    keys = [f"image {index}" if text is None else f"group {text}" for index, text in groups]
    return np.unique(np.array(keys, object), return_inverse=True)[1].astype(np.intp)
