"""`imgtrain export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from imgtrain.cli.options import (
    AsJson,
    BatchSize,
    MaxModelGib,
    OtherModelClasses,
    OtherModelConfig,
    OtherModelRescale,
    Quiet,
    Verbose,
)
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE, MAX_EXPORT_LOSS, MAX_MODEL_GIB

__all__ = ["export"]


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .keras or .h5 file, or a run directory.")],
    format_name: Annotated[
        Literal["litert", "onnx", "saved_model"],
        typer.Option("--format", help="Format of the exported model."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A .tflite or .onnx file, or the folder of a SavedModel.  [default: next to the model]",
            show_default=False,
        ),
    ] = None,
    quantize: Annotated[
        Literal["none", "float16", "dynamic", "int8"],
        typer.Option("--quantize", help="Store weights as float16 or int8 (dynamic), or compute in int8."),
    ] = "none",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Images to compare the exported model with the Keras model on, one subfolder per class.  "
            "[default: the test images of the run, or else its validation images]",
            show_default=False,
        ),
    ] = None,
    max_loss: Annotated[
        float,
        typer.Option(
            "--max-loss",
            min=0,
            max=100,
            metavar="POINTS",
            help="With --quantize: reject the model if the 95 % CI of its accuracy loss extends beyond this.",
        ),
    ] = MAX_EXPORT_LOSS,
    input_type: Annotated[
        Literal["float32", "uint8"],
        typer.Option("--input-type", help="ONNX only: dtype of the images; the other formats accept both."),
    ] = "float32",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the exported model if it exists.")
    ] = False,
    batch_size: BatchSize = INFERENCE_BATCH_SIZE,
    max_model_gib: MaxModelGib = MAX_MODEL_GIB,
    config: OtherModelConfig = None,
    rescale: OtherModelRescale = None,
    classes: OtherModelClasses = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Export a model to LiteRT, ONNX or SavedModel, and verify its predictions.

    Example: imgtrain export runs/sample --format onnx
    Example: imgtrain export runs/sample --format litert --quantize int8
    """
    from imgtrain.cli.display import Display
    from imgtrain.workflows.export import export_model

    with Display(verbose=verbose, quiet=quiet or as_json) as display:
        result = export_model(
            model,
            format=format_name,
            output=output,
            quantize=quantize,
            data=data,
            max_loss=max_loss,
            input_type=input_type,
            batch_size=batch_size,
            max_model_gib=max_model_gib,
            config=config,
            rescale=rescale,
            classes=None if classes is None else tuple(classes.split(",")),
            overwrite=overwrite,
            emit=display.show,
        )
        if as_json:
            typer.echo(json.dumps({"path": str(result.path), **result.figures}, indent=2))
        else:
            display.show_export(result)
