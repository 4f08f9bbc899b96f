"""Variables with a shape but no memory, so that an oversized network is found before it is allocated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imgtrain.model.runtime import keras

__all__ = ["allocated_at_the_end", "never_allocated"]


@contextmanager
def allocated_at_the_end() -> Iterator[None]:
    """Allocate the variables made in the block when it ends; never, if it ends with an error."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    except BaseException:
        # Keras keeps a global list of deferred variables, which the next symbolic call would allocate.
        policy = keras.config.dtype_policy()
        keras.utils.clear_session(free_memory=False)
        keras.config.set_dtype_policy(policy)
        raise
    # Leaving a scope of this kind allocates what was deferred.
    with keras.StatelessScope():
        pass


@contextmanager
def never_allocated() -> Iterator[None]:
    """Don't allocate the variables made in the block; afterwards they have shapes, and no values."""
    with suppress(_Left), allocated_at_the_end():
        yield
        raise _Left


class _Left(Exception):  # noqa: N818
    """Leaves the scope before it allocates."""
