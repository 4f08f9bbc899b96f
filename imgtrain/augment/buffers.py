"""Memory for batches that is used again as soon as nobody looks at it.

A fresh array of some megabytes costs a page fault for every four kilobytes when it is first written, which is
as much time as the copy itself.
"""

from __future__ import annotations

import sys
import threading
from math import prod

import numpy as np
from numpy.typing import NDArray

__all__ = ["Buffers"]

# References to memory that nobody uses: the list, the loop variable and the argument of getrefcount. Python 3.14 counts
# borrowed variables in another way; the tests tell.
_UNUSED = 3
# TensorFlow takes memory as it is if it begins at a multiple of this, and copies it otherwise.
_ALIGNMENT = 64


class Buffers:
    """Hands out arrays; the memory of one that is not referred to any more goes into a later one.

    Whoever holds an array, or a view of it, keeps its memory: nothing has to be given back. From any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._memories: list[NDArray[np.uint8]] = []

    def take(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return a C-contiguous uint8 array of this shape with anything in it."""
        size = prod(shape)
        with self._lock:
            # Under the lock until there is a view, which marks the memory as used.
            memory = self._unused(size)
            start = -memory.ctypes.data % _ALIGNMENT
            return memory[start : start + size].reshape(shape)

    def _unused(self, size: int) -> NDArray[np.uint8]:
        needed = size + _ALIGNMENT
        for memory in self._memories:
            if len(memory) >= needed and sys.getrefcount(memory) == _UNUSED:
                return memory
        self._memories.append(np.empty(needed, np.uint8))
        return self._memories[-1]
