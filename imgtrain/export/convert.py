"""Convert a network and write it, with its metadata inside."""

from __future__ import annotations

import importlib.metadata
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.errors import Problem, RunFileError
from imgtrain.evaluation.eval_inputs import EvalInputs
from imgtrain.export.native_output import without_native_output
from imgtrain.export.operations import check_operations
from imgtrain.export.request import ExportRequest
from imgtrain.export.serving import ServingModule, write_saved_model
from imgtrain.export.to_litert import write_litert
from imgtrain.export.to_onnx import write_onnx
from imgtrain.model.runtime import versions
from imgtrain.run.exported_model import FORMATS
from imgtrain.run.model_metadata import ModelMetadata
from imgtrain.run.run_directory import atomic_folder, atomic_write, now

__all__ = ["convert", "converter_versions", "describe_export", "metadata_with_export", "writing"]


def describe_export(metadata: ModelMetadata | None, inputs: EvalInputs) -> ModelMetadata:
    """Return the metadata of the exported model.

    Args:
        metadata: Of the Keras model; None if imgtrain did not make it.
        inputs: How the images of such a model are read, and what its outputs mean.
    """
    if metadata is not None:
        # The exported network averages itself.
        format_version = 1 if metadata.background is None else 2
        return metadata.model_copy(update={"flip_average": False, "format_version": format_version})
    settings = inputs.settings
    return ModelMetadata.model_validate(
        {
            "class_names": inputs.split.class_names,
            "target_size": (settings.height, settings.width),
            "color_mode": settings.color_mode,
            "class_mode": inputs.class_mode,
            "resize": settings.resize,
            "interpolation": settings.interpolation,
            "background": settings.background,
            "threshold": inputs.threshold,
            "abstain_below": inputs.abstain_below,
            "loss": inputs.loss,
            "group_by": inputs.group_by,
            "data_fingerprint": "unknown",
            "versions": versions(),
            "created": now(),
        }
    )


def convert(
    network: Any,
    path: Path,
    metadata: str,
    request: ExportRequest,
    *,
    flip_average: bool = False,
    calibration: NDArray[np.uint8] | None = None,
) -> None:
    """Convert a model and write it.

    Args:
        network: A Keras model that takes raw pixels.
        path: The file, or the folder of a SavedModel.
        metadata: JSON to store inside.
        request: Format and quantization.
        flip_average: Return the mean probabilities of each image and its mirror image.
        calibration: Raw pixels for `int8`.

    Raises:
        RunFileError: The format doesn't support a layer (names all of them), or the conversion fails.
    """
    title = FORMATS[request.format].title
    with _quiet():
        module = ServingModule(network, flip_average=flip_average)
        problems = check_operations(module, network, request.format)
    if problems:
        raise RunFileError(problems)
    try:
        with _quiet():
            if request.format == "litert":
                write_litert(module, path, metadata, quantize=request.quantize, calibration=calibration)
            elif request.format == "onnx":
                write_onnx(
                    module,
                    path,
                    metadata,
                    quantize=request.quantize,
                    calibration=calibration,
                    input_type=request.input_type,
                )
            else:
                write_saved_model(module, path, metadata)
    except OSError:
        raise
    # The errors of the converters have no common base class.
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        what = f"the model cannot be converted to {title}: {text}"
        raise RunFileError(Problem("", what, "try another --format")) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard the log and the deprecation warnings of the converters."""
    with without_native_output(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def converter_versions(request: ExportRequest) -> dict[str, str]:
    """Return the versions of everything that affects the exported model, by distribution name."""
    packages = (module.replace("_", "-") for module in FORMATS[request.format].modules)
    return {**versions(), **{package: importlib.metadata.version(package) for package in packages}}


@contextmanager
def writing(request: ExportRequest, path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, which replaces it if the block succeeds."""
    write = atomic_folder if request.format == "saved_model" else atomic_write
    with write(path) as aside:
        yield aside


def metadata_with_export(metadata: ModelMetadata, about: dict[str, object]) -> str:
    """Return the metadata as JSON with the key `export`."""
    return json.dumps({**json.loads(metadata.to_json()), "export": about}, indent=2)
