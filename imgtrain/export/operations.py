"""Operations that a format doesn't support, found in the traced network before it is converted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from imgtrain.errors import Problem
from imgtrain.export.serving import ServingModule
from imgtrain.run.exported_model import ExportFormat

__all__ = ["check_operations"]

_POOLING_3D = "LiteRT has no 3D pooling; GlobalAveragePooling3D and GlobalMaxPooling3D are supported"
_RECURRENT = "LiteRT supports recurrent layers only for a fixed batch size"
# TensorFlow operations without a LiteRT counterpart. `tests/export/test_every_layer.py` finds what is missing here.
_UNSUPPORTED: dict[ExportFormat, dict[str, str]] = {
    "litert": {
        "AvgPool3D": _POOLING_3D,
        "MaxPool3D": _POOLING_3D,
        "TensorListReserve": _RECURRENT,
    },
    "onnx": {},
    "saved_model": {},
}


def check_operations(module: ServingModule, network: Any, name: ExportFormat) -> list[Problem]:
    """Return a problem for each layer that a format doesn't support.

    Args:
        module: The traced network.
        network: The Keras model, for the names of its layers.
        name: The format.
    """
    unsupported = _UNSUPPORTED[name]
    graph = module.float_function.get_concrete_function().graph
    names = {layer.name for layer in network._flatten_layers()}
    layers = {
        _layer(operation.name, names): operation.type
        for operation in _operations(graph)
        if operation.type in unsupported
    }
    hint = "use --format onnx or --format saved_model"
    return [Problem(f"layer {layer}", unsupported[kind], hint) for layer, kind in layers.items()]


def _operations(graph: Any) -> Iterator[Any]:
    """Yield the operations of a graph and of the functions that it calls, such as the bodies of loops."""
    waiting = [graph]
    while waiting:
        graph = waiting.pop()
        yield from graph.get_operations()
        waiting.extend(function.graph for function in graph._functions.values() if hasattr(function, "graph"))


def _layer(operation: str, names: set[str]) -> str:
    """Return the layer of an operation: `network_1/pool_1/AvgPool3D` belongs to `pool`, numbered by its calls."""
    for part in reversed(operation.split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in names:
                return name
    return operation
