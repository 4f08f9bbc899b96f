"""`imgtrain predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtrain.cli.options import BatchSize, MaxModelGib, Quiet, Verbose
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE, MAX_MODEL_GIB

__all__ = ["predict"]


def predict(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A model saved or exported by imgtrain, or a run directory."),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Files, folders or glob patterns; - reads a list of files from stdin."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A .csv, .json or .jsonl file.  [default: print to the terminal]",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            "-k",
            min=1,
            help="Number of most probable classes to write.  [default: 1 on the terminal, all in a file]",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue an interrupted prediction; start a new one if there is none."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output file if it exists.")
    ] = False,
    batch_size: BatchSize = INFERENCE_BATCH_SIZE,
    max_model_gib: MaxModelGib = MAX_MODEL_GIB,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Classify images.

    Example: imgtrain predict runs/sample new-photos --output predictions.csv
    """
    from imgtrain.cli.display import Display
    from imgtrain.dataset.named_files import split_list
    from imgtrain.errors import DataError, Problem
    from imgtrain.workflows.predict import predict as predict_files

    names = [
        name
        for path in paths
        for name in (split_list(typer.get_binary_stream("stdin").read()) if path == "-" else [path])
    ]
    with Display(verbose=verbose, quiet=quiet) as display:
        result = predict_files(
            model,
            names,
            output=output,
            top=top,
            batch_size=batch_size,
            max_model_gib=max_model_gib,
            resume=resume,
            overwrite=overwrite,
            emit=display.show,
        )
        display.show_predictions(result)
        if result.unreadable:
            count = f"{len(result.unreadable):,} of {len(result.unreadable) + result.answered:,} files"
            others = "; the others were classified" if result.answered else ""
            raise DataError(Problem("", f"{count} could not be read{others}"))
