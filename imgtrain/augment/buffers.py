"""Memory for batches that is used again once nobody refers to it.

A fresh array of some megabytes costs a page fault for every four kilobytes when it is first written, which is
as much time as the copy itself.
"""

from __future__ import annotations

import weakref
from math import prod

import numpy as np
from numpy.typing import NDArray

__all__ = ["Buffers"]

# TensorFlow takes memory as it is if it begins at a multiple of this, and copies it otherwise.
_ALIGNMENT = 64


class Buffers:
    """Hands out arrays, and uses the memory of those that are gone for later ones; from any thread.

    Whoever holds an array, a view of it, or a tensor that shares its memory, keeps it: nothing has to be given
    back, and no batch changes after it was handed out.
    """

    def __init__(self, *, most_spare: int) -> None:
        """Start without memory.

        Args:
            most_spare: How many memories are kept for later arrays; those of further arrays are freed.
        """
        self._most_spare = most_spare
        # Its methods are atomic. A lock could deadlock: arrays may die at any point, also inside `take`.
        self._spare: list[NDArray[np.uint8]] = []

    def take(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return a C-contiguous uint8 array of this shape with anything in it."""
        size = prod(shape)
        memory = self._take_spare(size + _ALIGNMENT)
        start = -memory.ctypes.data % _ALIGNMENT
        # NumPy makes `lease` the base of all views, because its own base, the memoryview, is not an array: it lives as
        # long as any of them.
        lease = np.frombuffer(memory.data[start : start + size], np.uint8)
        weakref.finalize(lease, self._give_back, memory).atexit = False
        return lease.reshape(shape)

    def clear(self) -> None:
        """Free the memory that no array uses."""
        self._spare.clear()

    def _take_spare(self, size: int) -> NDArray[np.uint8]:
        try:
            memory = self._spare.pop()
        except IndexError:
            return np.empty(size, np.uint8)
        return memory if len(memory) >= size else np.empty(size, np.uint8)

    def _give_back(self, memory: NDArray[np.uint8]) -> None:
        if len(self._spare) < self._most_spare:
            self._spare.append(memory)
