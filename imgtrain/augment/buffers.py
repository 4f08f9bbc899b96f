"""Reusable memory for batches.

Writing to a new array of several megabytes causes a page fault every four kilobytes, which takes as long as the copy
itself.
"""

from __future__ import annotations

import weakref
from math import prod

import numpy as np
from numpy.typing import NDArray

__all__ = ["Buffers"]

# TensorFlow uses memory without copying if its address is a multiple of this.
_ALIGNMENT = 64


class Buffers:
    """Allocates arrays, and reuses their memory once they are garbage-collected; thread-safe.

    The memory is in use as long as there are references to the array, to views of it, or to tensors that share its
    memory, so arrays need not be returned, and batches never change.
    """

    def __init__(self, *, most_spare: int) -> None:
        """Create an empty pool.

        Args:
            most_spare: Maximum number of unused blocks to keep; others are freed.
        """
        self._most_spare = most_spare
        # Its methods are atomic. A lock could deadlock: arrays can be collected at any time, even inside `take`.
        self._spare: list[NDArray[np.uint8]] = []

    def take(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return an uninitialized, C-contiguous uint8 array."""
        size = prod(shape)
        memory = self._take_spare(size + _ALIGNMENT)
        start = -memory.ctypes.data % _ALIGNMENT
        # NumPy makes `lease` the base of all views, because its own base, the memoryview, is not an array; so it
        # lives as long as any of them.
        lease = np.frombuffer(memory.data[start : start + size], np.uint8)
        weakref.finalize(lease, self._give_back, memory).atexit = False
        return lease.reshape(shape)

    def clear(self) -> None:
        """Free all unused blocks."""
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
