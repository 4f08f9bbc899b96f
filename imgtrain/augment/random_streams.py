"""The random numbers of batches: counter-based generators, one for each purpose and pass.

A Philox generator is a function of a key and a counter. The key is (seed, pass), and the highest of the counter's four
words identifies the purpose, so streams never overlap.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

__all__ = ["Stream", "draw_uniforms", "make_generator"]

# Numbers of 64 bits for each step of the counter; `Philox.advance` counts in these steps.
_PHILOX_BLOCK = 4


class Stream(IntEnum):
    """The purpose of the numbers. Values must never change, because they make runs reproducible."""

    ORDER = 0
    AUGMENTATION = 1
    COPIES = 2
    PREVIEW = 3
    APPEARANCE = 4
    RANDAUGMENT = 5
    NOISE = 6
    MIXING = 7


def make_generator(stream: Stream, *, seed: int, epoch: int) -> Generator:
    """Return the generator for one purpose and epoch.

    Args:
        stream: The purpose of the numbers.
        seed: From 0 to 2**64 - 1.
        epoch: From 0.
    """
    return Generator(Philox(key=[seed, epoch], counter=[0, 0, 0, stream]))


def draw_uniforms(
    stream: Stream, *, seed: int, epoch: int, stream_indices: NDArray[np.intp], count: int
) -> NDArray[np.float64]:
    """Return the uniform numbers in [0, 1) of some stream indices.

    Args:
        stream: The purpose of the numbers.
        seed: From 0 to 2**64 - 1.
        epoch: From 0.
        stream_indices: ≥ 0, in any order, shape (k,).
        count: Numbers per index, a multiple of 4; constant for each stream.

    Returns:
        Shape (count, k).
    """
    blocks = count // _PHILOX_BLOCK
    generator = make_generator(stream, seed=seed, epoch=epoch)
    philox: Any = generator.bit_generator
    uniforms = np.empty((len(stream_indices), count))
    next_index = 0
    for numbers, stream_index in zip(uniforms, stream_indices.tolist(), strict=True):
        # Jumping is cheap, forward and (modulo the counter's period) backward.
        philox.advance((stream_index - next_index) * blocks)
        generator.random(out=numbers)
        next_index = stream_index + 1
    return uniforms.T
