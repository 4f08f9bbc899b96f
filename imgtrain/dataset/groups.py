"""Which images belong together, such as those of one patient, video or plant: named by `data.group_by`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["assign_groups", "join_groups", "match_groups"]


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


def join_groups(first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return (n,) the smallest groups that neither `first` nor `second`, each (n,), divides.

    Each is named by the smallest of its groups in `first`: where `second` joins nothing, it is `first`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, left = np.unique(first, return_inverse=True)
    right = len(names) + np.unique(second, return_inverse=True)[1]
    nodes = int(right.max(initial=-1)) + 1
    links = coo_array((np.ones(len(left), bool), (left, right)), shape=(nodes, nodes))
    _, components = connected_components(links, directed=False)
    smallest = np.full(nodes, len(names))
    np.minimum.at(smallest, components[: len(names)], np.arange(len(names)))
    joined: NDArray[np.intp] = names[smallest[components[left]]].astype(np.intp)
    return joined
