"""`imgtrain compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from imgtrain.cli.options import Quiet, Verbose

__all__ = ["compare"]


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run directory.")],
    run_b: Annotated[
        Path, typer.Argument(metavar="RUN_B", help="Another run directory, tested on the same images.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the comparison as JSON and nothing else.")
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Test whether one run is significantly better than another.

    Example: imgtrain compare runs/small runs/large
    """
    from imgtrain.cli.display import Display
    from imgtrain.evaluation.compare import compare_runs

    comparison = compare_runs(run_a, run_b)
    if as_json:
        typer.echo(json.dumps(comparison.content, indent=2))
    else:
        with Display(verbose=verbose, quiet=quiet) as display:
            display.show_comparison(comparison)
