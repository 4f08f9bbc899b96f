"""`imgtrain export`: write a model for another runtime, once its predictions agree there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from imgtrain.errors import ImgtrainError
from imgtrain.evaluation.eval_inputs import EvalOptions
from imgtrain.events import Emit, Message, ignore
from imgtrain.export.request import ExportRequest, InputType, Quantization
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE, MAX_EXPORT_LOSS, MAX_MODEL_GIB
from imgtrain.run.exported_model import ExportFormat
from imgtrain.run.model_metadata import ModelFile, find_model
from imgtrain.run.run_directory import RunDirectory, now, read_json, write_json

__all__ = ["ExportResult", "export_model"]


@dataclass(frozen=True, slots=True, eq=False)
class ExportResult:
    """An exported model.

    Attributes:
        path: The file, or the folder of a SavedModel.
        sidecar: A JSON file with the metadata and the figures.
        figures: Agreement with the Keras model, size and latency.
    """

    path: Path
    sidecar: Path
    figures: Mapping[str, Any]


def export_model(
    model: Path | str,
    *,
    format: ExportFormat,
    output: Path | str | None = None,
    quantize: Quantization = "none",
    data: Path | str | None = None,
    max_loss: float = MAX_EXPORT_LOSS,
    input_type: InputType = "float32",
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    config: Path | str | None = None,
    rescale: str | float | None = None,
    classes: tuple[str, ...] | None = None,
    overwrite: bool = False,
    emit: Emit = ignore,
) -> ExportResult:
    """Convert a model, run the result in its own runtime, and keep it if it agrees with the Keras model.

    Args:
        model: A `.keras` or `.h5` file, or a run directory.
        format: Format of the exported model.
        output: The file, or the folder of a SavedModel; default: next to the model.
        quantize: `none`; `float16` or `dynamic` (int8) for the weights; `int8` for weights and activations.
        data: Images to compare both models on, one subfolder per class; default: the test images of the run, or
            else its validation images.
        max_loss: With quantization: the loss of accuracy, in percentage points, that its 95 % interval may reach.
        input_type: ONNX: type of the images.
        batch_size: Number of images per batch in the comparison.
        max_model_gib: Maximum memory requirement of the model in GiB, checked before it is loaded.
        config: For models not saved by imgtrain: the configuration that defines how images are read.
        rescale: For models not saved by imgtrain: the scaling factor of the inputs.
        classes: For models not saved by imgtrain: class names in label order.
        overwrite: Replace an existing output.
        emit: Called with progress events.

    Raises:
        ConfigError: The format is not available, or the images are unknown.
        DataError: The images are invalid, or the exported model doesn't agree with the Keras model.
        RunFileError: The model cannot be loaded or converted, or the output exists or cannot be written.
    """
    request = ExportRequest(format, quantize, input_type)
    request.check()
    file = find_model(model)
    path = request.destination(file.path, None if output is None else Path(output), overwrite=overwrite)

    # TensorFlow is imported from here on.
    from imgtrain.evaluation.predict import predictor, views
    from imgtrain.evaluation.predict_folder import EvalModel, predict_images
    from imgtrain.export.convert import (
        convert,
        converter_versions,
        describe_export,
        metadata_with_export,
        writing,
    )
    from imgtrain.export.inputs import load_export_inputs
    from imgtrain.export.latency import measure_latency
    from imgtrain.export.parity import check_parity, compare_predictions
    from imgtrain.export.runtimes import load_exported

    options = EvalOptions(
        model=str(file.path),
        folder=None if data is None else Path(data),
        config=None if config is None else Path(config),
        rescale=rescale,
        classes=classes,
    )
    loaded = load_export_inputs(file, options, calibrate=quantize == "int8", max_gib=max_model_gib, emit=emit)
    keras_model, part = loaded.model, loaded.part
    metadata = describe_export(file.metadata, keras_model.inputs)
    about = {
        **request.describe(),
        "model_sha256": file.sha256(),
        "versions": converter_versions(request),
        "created": now(),
    }

    with writing(request, path) as aside:
        emit(Message(f"converting to {path.name}"))
        convert(
            keras_model.network,
            aside,
            metadata_with_export(metadata, about),
            request,
            flip_average=keras_model.inputs.flip_average,
            calibration=loaded.calibration,
        )
        exported = load_exported(ModelFile(aside, metadata, format), max_gib=max_model_gib)
        predictions = [
            predict_images(EvalModel(network, inputs), part, batch_size=batch_size, task=task, emit=emit)
            for network, inputs, task in (
                (keras_model.network, keras_model.inputs, "evaluating the Keras model"),
                (exported, replace(keras_model.inputs, flip_average=False), "evaluating the exported model"),
            )
        ]
        parity = compare_predictions(*predictions, split=loaded.split)
        check_parity(parity, quantize=quantize, max_loss=max_loss)
        keras_predictor = predictor(
            keras_model.network, mirrored=views(flip_average=keras_model.inputs.flip_average)
        )
        latencies = measure_latency([keras_predictor, exported], part.pixels.read(part.split.indices[:32]))
        figures = {
            **about,
            "max_loss": None if quantize == "none" else max_loss,
            **asdict(parity),
            "size_bytes": _size(aside),
            "keras_size_bytes": _size(file.path),
            "latency": dict(zip(("keras", "exported"), latencies, strict=True)),
        }
    sidecar = path.with_name(f"{path.name}.json")
    write_json(sidecar, {**json.loads(metadata.to_json()), "export": figures})
    _record(file.path, path, figures, emit)
    return ExportResult(path, sidecar, figures)


def _record(model: Path, path: Path, figures: Mapping[str, Any], emit: Emit) -> None:
    """Add the figures to `export.json` and to the report, if the model is that of a run."""
    run = RunDirectory(model.parent)
    if not run.run.exists():
        return
    earlier = read_json(run.exports) if run.exports.exists() else {}
    name = path.name if path.parent.absolute() == run.path else str(path.absolute())
    write_json(run.exports, {**earlier, name: figures})
    from imgtrain.workflows.report import write_report

    try:
        write_report(run.path, emit=emit)
    except ImgtrainError as error:
        what = f"the report does not show the exported model: {error.problems[0].what}"
        emit(Message(f"{what}; the model is saved", "warning"))


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
