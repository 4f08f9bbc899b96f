"""Networks whose variables have shapes but no memory, so that an absurd size is found before it takes any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imgtrain.model.runtime import keras

__all__ = ["abstract_build", "allocate_on_exit"]


@contextmanager
def allocate_on_exit() -> Iterator[None]:
    """Defer the memory of all variables to the end of the block; after an error they never get any."""
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
def abstract_build() -> Iterator[None]:
    """Give no memory at all to the variables made in the block; nothing of them can be used after it."""
    with suppress(_Left), allocate_on_exit():
        yield
        raise _Left


class _Left(Exception):  # noqa: N818
    """Leaves the scope before it allocates."""
