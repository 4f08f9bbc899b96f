"""`imgtrain evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

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
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE, MAX_MODEL_GIB

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A .keras or .h5 file, an exported model, or a run directory."),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder with one subfolder per class.  [default: the test folder of the training run]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for metrics.json, predictions.csv and report.html.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier evaluation in the output folder.")
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
    """Evaluate a saved model.

    Example: imgtrain evaluate runs/sample --data new-photos --output scores
    """
    from imgtrain.cli.display import Display
    from imgtrain.workflows.evaluate import evaluate as evaluate_model

    with Display(verbose=verbose, quiet=quiet or as_json) as display:
        result = evaluate_model(
            model,
            data=data,
            output=output,
            batch_size=batch_size,
            max_model_gib=max_model_gib,
            config=config,
            rescale=rescale,
            classes=None if classes is None else tuple(classes.split(",")),
            overwrite=overwrite,
            emit=display.show,
        )
        if as_json:
            typer.echo(json.dumps(result.metrics, indent=2))
        else:
            display.show_evaluation(result)
