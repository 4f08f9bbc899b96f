"""Build networks without allocating their variables, so that oversized networks are found early."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imgtrain.model.runtime import keras

__all__ = ["allocated_at_the_end", "forget_layer_names", "never_allocated"]


@contextmanager
def allocated_at_the_end() -> Iterator[None]:
    """Allocate the variables created in the block at its end, unless it ends with an error."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    except BaseException:
        # Keras keeps a global list of deferred variables, which the next symbolic call would allocate.
        _clear_session()
        raise
    # Leaving such a scope allocates deferred variables.
    with keras.StatelessScope():
        pass


@contextmanager
def never_allocated() -> Iterator[None]:
    """Never allocate the variables created in the block; they have shapes, but no values."""
    with suppress(_Left), allocated_at_the_end():
        yield
        raise _Left


def forget_layer_names() -> None:
    """Restart the numbers that Keras appends to the names of layers without a given name."""
    _clear_session()


def _clear_session() -> None:
    """Reset Keras's global state, except the dtype policy."""
    policy = keras.config.dtype_policy()
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy(policy)


class _Left(Exception):  # noqa: N818
    """Leaves the scope before variables are allocated."""
