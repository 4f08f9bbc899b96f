"""`imgtrain compare`."""

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

__all__ = ["compare"]


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A run directory; with --data also a model file.")],
    b: Annotated[
        Path, typer.Argument(metavar="B", help="The run directory or model file to compare with A.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder with one subfolder per class to compare the models on.  "
            "[default: the test images of both runs, or else their validation images]",
            show_default=False,
        ),
    ] = None,
    batch_size: BatchSize = INFERENCE_BATCH_SIZE,
    max_model_gib: MaxModelGib = MAX_MODEL_GIB,
    config: OtherModelConfig = None,
    rescale: OtherModelRescale = None,
    classes: OtherModelClasses = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Test whether B is significantly better than A.

    Example: imgtrain compare runs/small runs/large
    Example: imgtrain compare old.h5 runs/new --data new-photos --rescale 1/255
    """
    from imgtrain.cli.display import Display
    from imgtrain.workflows.compare import compare as compare_models

    with Display(verbose=verbose, quiet=quiet or as_json) as display:
        comparison = compare_models(
            a,
            b,
            data=data,
            batch_size=batch_size,
            max_model_gib=max_model_gib,
            config=config,
            rescale=rescale,
            classes=None if classes is None else tuple(classes.split(",")),
            emit=display.show,
        )
        if as_json:
            typer.echo(json.dumps(comparison.content, indent=2))
        else:
            display.show_comparison(comparison)
