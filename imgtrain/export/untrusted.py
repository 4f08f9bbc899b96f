"""Reject exported models that do more than compute, before a runtime loads them.

ONNX files can read other files for their weights. A SavedModel is a program: TensorFlow executes its graph, which can
contain operations that read and write files or run Python. A LiteRT file is restricted to LiteRT's own operations,
because no others are registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from imgtrain.errors import Problem, RunFileError
from imgtrain.text import format_bytes

__all__ = ["check_onnx", "check_saved_model", "check_size"]

# The domain of the operations that ONNX itself defines, in both spellings.
_ONNX_DOMAINS = ("", "ai.onnx")
# Operations with a state that a Keras network needs: weights, loops and calls.
_ALLOWED_STATEFUL = frozenset(
    {
        "AssignVariableOp",
        "DisableCopyOnRead",
        "If",
        "Placeholder",
        "ReadVariableOp",
        "StatefulPartitionedCall",
        "VarHandleOp",
        "VarIsInitializedOp",
        "While",
    }
)
# Read and write any file. A SavedModel has functions for its checkpoint that contain them, which must not be called.
_CHECKPOINT = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"})
# Runs Python, although it is not marked as stateful.
_STATELESS_CODE = frozenset({"PyFuncStateless"})


def check_size(path: Path, most_bytes: int) -> None:
    """Raise RunFileError if a file, or all files of a folder, take more bytes."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    if (size := sum(file.stat().st_size for file in files)) > most_bytes:
        what = (
            f"is rejected: it takes {format_bytes(size)}, more than the limit of {format_bytes(most_bytes)}"
        )
        raise RunFileError(Problem(path, what, "if the model is actually that large, raise --max-model-gib"))


def check_onnx(content: bytes, path: Path) -> None:
    """Raise RunFileError for a model that reads other files, or whose operations are not those of ONNX.

    Args:
        content: The file.
        path: Its name, for errors.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise RunFileError(Problem(path, f"is a corrupt ONNX file: {error}")) from None
    reasons: list[str] = []
    nodes, tensors = _parts(model)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        reasons.append("it stores weights in another file")
    reasons += [
        f"it contains the operation {node.domain}.{node.op_type}, which ONNX does not define"
        for node in nodes
        if node.domain not in _ONNX_DOMAINS
    ]
    _reject(path, reasons)


def _parts(model: Any) -> tuple[list[Any], list[Any]]:
    """Return the nodes and tensors of an ONNX model, also of loops, branches and functions."""
    nodes: list[Any] = []
    tensors: list[Any] = []
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        tensors += getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            tensors += [sparse.values, sparse.indices]
        for node in graph.node:
            nodes.append(node)
            for attribute in node.attribute:
                waiting += [attribute.g, *attribute.graphs]
                tensors += [attribute.t, *attribute.tensors]
    return nodes, tensors


def check_saved_model(path: Path) -> None:
    """Raise RunFileError for a SavedModel with operations that touch files, run Python, or keep another state."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except (DecodeError, OSError) as error:
        raise RunFileError(Problem(path, f"is a corrupt SavedModel: {error}")) from None
    # Others are loaded in the way of TensorFlow 1, which executes more of the file.
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].HasField("object_graph_def"):
        raise RunFileError(Problem(path, "is rejected: it was not written by TensorFlow 2"))
    kinds = dict.fromkeys(_refused_operations(saved.meta_graphs[0]))
    _reject(path, [f"it contains the operation {kind}, which is not pure computation" for kind in kinds])


def _refused_operations(meta_graph: Any) -> Iterator[str]:
    functions = {
        function.signature.name: function.node_def for function in meta_graph.graph_def.library.function
    }
    callable_names = {*meta_graph.object_graph_def.concrete_functions}
    for nodes in functions.values():
        callable_names |= _called(nodes)
    # The graph itself is only executed by TensorFlow 1.
    for name, nodes in [("", meta_graph.graph_def.node), *functions.items()]:
        for node in nodes:
            if node.op in functions or node.op in _ALLOWED_STATEFUL:
                continue
            if node.op in _CHECKPOINT and name not in callable_names:
                continue
            if node.op in _STATELESS_CODE or node.op in _CHECKPOINT or _is_stateful(node.op):
                yield node.op


def _called(nodes: Iterable[Any]) -> set[str]:
    """Return the functions that nodes call, by the operation's name or by an attribute."""
    values = [value for node in nodes for value in node.attr.values()]
    of_lists = (function.name for value in values for function in value.list.func)
    return {*(node.op for node in nodes), *(value.func.name for value in values), *of_lists}


def _is_stateful(kind: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(kind)
    return definition is None or bool(definition.is_stateful)


def _reject(path: Path, reasons: Iterable[str]) -> None:
    if problems := [Problem(path, f"is rejected: {reason}") for reason in dict.fromkeys(reasons)]:
        raise RunFileError(problems)
