"""Where all random numbers of the batches come from: counter-based generators, one for each purpose and pass.

A Philox generator is a function of a key and a counter. The key is (seed, pass), and the highest of the
counter's four words names the purpose, so that the streams never meet however much is drawn from one of them.
"""

from __future__ import annotations

from enum import IntEnum

from numpy.random import Generator, Philox

__all__ = ["PHILOX_BLOCK", "Stream", "make_generator"]

PHILOX_BLOCK = 4
"""Numbers of 64 bits for each step of the counter; `Philox.advance` counts in these steps."""


class Stream(IntEnum):
    """What the numbers are for. A value, once used, keeps its meaning: runs are repeated by it."""

    ORDER = 0
    AUGMENTATION = 1
    COPIES = 2
    PREVIEW = 3


def make_generator(stream: Stream, *, seed: int, epoch: int) -> Generator:
    """Return the generator of one purpose in one epoch, at its beginning.

    Args:
        stream: What the numbers are for.
        seed: From 0 to 2**64 - 1.
        epoch: From 0.
    """
    return Generator(Philox(key=[seed, epoch], counter=[0, 0, 0, stream]))
