"""Groups of images, such as patients, videos or plants, extracted from paths with `data.group_by`."""

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
_SECONDS_PER_PATH = 1e-4  # a hundred times the time of an ordinary expression

# The flags restrict imports to the standard library and suppress all other output.
_SEARCH = [sys.executable, "-I", "-S", "-W", "ignore", "-c", """
import json, re, sys
request = json.load(sys.stdin)
try:
    pattern = re.compile(request["expression"])
    if pattern.groups != 1:
        raise ValueError(f"must have exactly one group in parentheses, has {pattern.groups}")
    found = [match[1] if (match := pattern.search(path)) else None for path in request["paths"]]
    print(json.dumps({"found": found}))
except (re.error, ValueError, RecursionError, OverflowError, MemoryError) as error:
    print(json.dumps({"problem": str(error) or type(error).__name__}))
"""]  # fmt: skip


def match_groups(paths: Sequence[str], expression: str, *, key: str = "data.group_by") -> list[str | None]:
    """Return the text matched by the expression's group in each path; None if it doesn't match.

    The search runs in a separate process with a time limit: an expression such as `(a+)+$` can take practically
    forever, and it may come from an untrusted model file. Python cannot interrupt a search in its own process.

    Args:
        paths: Relative paths.
        expression: A regular expression with one group.
        key: The configuration key to show in errors.

    Raises:
        ConfigError: It is not a regular expression with one group, or the search takes too long.
    """
    request = json.dumps({"expression": expression, "paths": list(paths)})
    seconds = _SECONDS + _SECONDS_PER_PATH * len(paths)
    try:
        done = subprocess.run(
            _SEARCH, input=request, capture_output=True, text=True, timeout=seconds, check=True
        )
        answer = json.loads(done.stdout)
        problem = answer.get("problem", "")
    except subprocess.TimeoutExpired:
        problem = f"searching {len(paths):,} paths takes longer than {seconds:.0f} seconds"
    except subprocess.CalledProcessError as error:
        problem = f"the search ended with status {error.returncode}"
    if problem:
        hint = r"use a simple expression, such as `(patient\d+)`, without repetitions inside repetitions"
        raise ConfigError(Problem(key, f"cannot use {expression!r}: {problem}", hint))
    return answer["found"]  # type: ignore[no-any-return]


def assign_groups(paths: Sequence[str], expression: str | None) -> NDArray[np.intp] | None:
    """Return (n,) group of each image as integers from 0; None without an expression.

    Images that the expression doesn't match form groups of one image.

    Raises:
        ConfigError: As in `match_groups`.
    """
    if expression is None:
        return None
    groups = enumerate(match_groups(paths, expression))
    keys = [f"image {index}" if text is None else f"group {text}" for index, text in groups]
    return np.unique(np.array(keys, object), return_inverse=True)[1].astype(np.intp)


def join_groups(first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return (n,) the finest grouping that is coarser than both `first` and `second`, each (n,).

    Each group is identified by the smallest of its groups in `first`, so the result is `first` if `second` doesn't
    merge any of them.
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
