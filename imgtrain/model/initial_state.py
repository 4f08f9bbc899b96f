"""Store the initial state of an optimizer in a model file in almost no space.

Keras builds the optimizer of a loaded `.keras` file, and warns if the number of optimizer variables differs. All
variables are initially constant, and HDF5 stores an array that is never written as its shape and fill value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from imgtrain.model.runtime import keras

__all__ = ["saving_initial_state"]


class _Constant(NamedTuple):
    """A constant initial value of a variable."""

    shape: tuple[int, ...]
    dtype: str
    value: float


@contextmanager
def saving_initial_state(model: keras.Model) -> Iterator[None]:
    """Make `model.save` write the initial state of the optimizer to a `.keras` file.

    Args:
        model: Compiled with an optimizer that isn't built.
    """
    optimizer, state = model.optimizer, _initial_state(model)

    def save_own_variables(store: Any) -> None:
        group = store.h5_file.require_group("optimizer/vars")
        for index, variable in enumerate(state):
            group.create_dataset(str(index), variable.shape, variable.dtype, fillvalue=variable.value)

    optimizer.save_own_variables = save_own_variables
    try:
        yield
    finally:
        del optimizer.save_own_variables


def _initial_state(model: keras.Model) -> list[_Constant]:
    """Return the initial values of the variables that the optimizer will have after building, in order."""
    optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    add_variable, shapes = optimizer.add_variable, {}

    def add_scalar(shape: Any, **options: Any) -> keras.Variable:
        scalar = add_variable((), **options)
        shapes[id(scalar)] = tuple(shape)
        return scalar

    # The optimizer itself would allocate all variables.
    optimizer.add_variable = add_scalar
    optimizer.build(model.trainable_variables)
    return [
        _Constant(shapes.get(id(variable), ()), variable.dtype, variable.numpy().item())
        for variable in optimizer.variables
    ]
