"""Run an exported model in its own runtime, after checking that it is safe to load."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.errors import Problem, RunFileError
from imgtrain.export.native_output import without_native_output
from imgtrain.export.untrusted import check_onnx, check_saved_model, check_size
from imgtrain.run.defaults import MAX_MODEL_GIB
from imgtrain.run.exported_model import FORMATS, check_installed
from imgtrain.run.machine import available_cores
from imgtrain.run.model_metadata import ModelFile, ModelMetadata

__all__ = ["ExportedModel", "load_exported"]

_INPUT, _OUTPUT = "images", "probabilities"
# LiteRT allocates the outputs of all layers for the whole batch, and is not faster with larger ones.
_LITERT_BATCH = 32
_Infer = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class ExportedModel:
    """A loaded model: a function from raw pixels to outputs.

    Attributes:
        metadata: What its outputs mean.
        infer: (b, height, width, channels), 0–255 → (b, units) float32.
    """

    metadata: ModelMetadata
    infer: _Infer

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs (b, units) for raw pixels (b, height, width, channels)."""
        return self.infer(np.asarray(images))


def load_exported(file: ModelFile, *, max_gib: float = MAX_MODEL_GIB) -> ExportedModel:
    """Load a model made by `imgtrain export` into its runtime.

    Args:
        file: Result of `find_model`, with an export format and metadata.
        max_gib: Maximum size of the model.

    Raises:
        ConfigError: The runtime is not installed.
        RunFileError: The file is corrupt or rejected, or its metadata doesn't match its network.
    """
    assert file.export_format is not None
    assert file.metadata is not None
    check_installed(file.export_format)
    check_size(file.path, int(max_gib * 2**30))
    load = {"litert": _load_litert, "onnx": _load_onnx, "saved_model": _load_saved_model}[file.export_format]
    try:
        with without_native_output(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            infer = load(file.path)
            # Runtimes detect some defects only now, and shapes could differ from the metadata.
            outputs = infer(np.zeros((1, *file.metadata.image_shape), np.uint8))
    except RunFileError:
        raise
    # The errors of the runtimes for corrupt files have no common base class.
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        what = f"cannot be loaded as a {FORMATS[file.export_format].title} model: {text}"
        raise RunFileError(Problem(file.path, what, "export it again with `imgtrain export`")) from error
    if outputs.shape != (1, file.metadata.units):
        what = (
            f"its metadata describes {file.metadata.units} outputs, but its network has {outputs.shape[-1]}"
        )
        raise RunFileError(Problem(file.path, what))
    return ExportedModel(file.metadata, infer)


def _load_litert(path: Path) -> _Infer:
    from ai_edge_litert.interpreter import Interpreter

    # Without resolvers for other than LiteRT's own operations.
    interpreter = Interpreter(model_path=os.fspath(path), num_threads=available_cores())
    runners = {
        dtype: interpreter.get_signature_runner(signature)
        for dtype, signature in ((np.uint8, "uint8"), (np.float32, "serving_default"))
    }

    def infer(images: NDArray[Any]) -> NDArray[np.float32]:
        dtype = np.uint8 if images.dtype == np.uint8 else np.float32
        run = runners[dtype]
        parts = [
            # A copy, because the output is overwritten by the next call.
            np.array(
                run(**{_INPUT: images[start : start + _LITERT_BATCH].astype(dtype, copy=False)})[_OUTPUT]
            )
            for start in range(0, len(images), _LITERT_BATCH)
        ]
        return np.concatenate(parts)

    return infer


def _load_onnx(path: Path) -> _Infer:
    import onnxruntime

    content = path.read_bytes()
    check_onnx(content, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    dtype = np.uint8 if given.type == "tensor(uint8)" else np.float32

    def infer(images: NDArray[Any]) -> NDArray[np.float32]:
        outputs = session.run([_OUTPUT], {given.name: images.astype(dtype, copy=False)})
        return np.asarray(outputs[0])

    return infer


def _load_saved_model(path: Path) -> _Infer:
    from imgtrain.model.runtime import tf

    check_saved_model(path)
    loaded = tf.saved_model.load(os.fspath(path))
    function = loaded.signatures["uint8"], loaded.signatures["serving_default"]

    def infer(images: NDArray[Any]) -> NDArray[np.float32]:
        run = function[0] if images.dtype == np.uint8 else function[1]
        dtype = np.uint8 if images.dtype == np.uint8 else np.float32
        outputs: NDArray[np.float32] = run(**{_INPUT: tf.constant(images.astype(dtype, copy=False))})[
            _OUTPUT
        ].numpy()
        return outputs

    # Keeps the variables alive, which the functions only refer to.
    infer.loaded = loaded  # type: ignore[attr-defined]
    return infer
