"""Which images belong together, such as those of one patient, video or plant: named by `data.group_by`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imgtrain.errors import ConfigError, Problem

__all__ = ["assign_groups", "join_groups", "match_groups"]

_SECONDS = 10.0
_SECONDS_PER_PATH = 1e-4  # a hundred times what an ordinary expression takes

# Flags: nothing is imported but the standard library, and nothing is printed but the answer.
_SEARCH = [sys.executable, "-I", "-S", "-W", "ignore", "-c", """
import json, re, sys
asked = json.load(sys.stdin)
try:
    pattern = re.compile(asked["expression"])
    if pattern.groups != 1:
        raise ValueError(f"must have exactly one group in parentheses, has {pattern.groups}")
    found = [match[1] if (match := pattern.search(path)) else None for path in asked["paths"]]
    print(json.dumps({"found": found}))
except (re.error, ValueError, RecursionError, OverflowError, MemoryError) as error:
    print(json.dumps({"problem": str(error) or type(error).__name__}))
"""]  # fmt: skip


def match_groups(paths: Sequence[str], expression: str) -> list[str | None]:
    """Return the text that the expression's group finds in each path; None where it does not match.

    The search runs in a process with a time limit: an expression such as `(a+)+$` can take longer than any run, and it
    may come from the file of an untrusted model. Python cannot stop a search in its own process.

    Raises:
        ConfigError: It is not a regular expression with one group, or it takes too long.
    """
    asked = json.dumps({"expression": expression, "paths": list(paths)})
    seconds = _SECONDS + _SECONDS_PER_PATH * len(paths)
    try:
        done = subprocess.run(
            _SEARCH, input=asked, capture_output=True, text=True, timeout=seconds, check=True
        )
        answer = json.loads(done.stdout)
        problem = answer.get("problem", "")
    except subprocess.TimeoutExpired:
        problem = f"searching {len(paths):,} paths takes longer than {seconds:.0f} seconds"
    except subprocess.CalledProcessError as error:
        problem = f"the search ended with status {error.returncode}"
    if problem:
        hint = r"use a simple expression, such as `(patient\d+)`, without repetitions inside repetitions"
        raise ConfigError(Problem("data.group_by", f"cannot use {expression!r}: {problem}", hint))
    return answer["found"]  # type: ignore[no-any-return]


def assign_groups(paths: Sequence[str], expression: str | None) -> NDArray[np.intp] | None:
    """Return (n,) the group of each image, as integers from 0; None without an expression.

    An image that the expression does not match is a group of its own.

    Raises:
        ConfigError: As `match_groups`.
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
