"""`imgtrain check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from imgtrain.cli.options import AsJson, Overrides, Quiet, Verbose

__all__ = ["check"]


def check(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG_OR_FOLDER",
            help="A configuration, or a folder that contains class folders or train/val/test folders of them.",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE.png",
            help="Write an image of duplicates and bad files.",
            show_default=False,
        ),
    ] = None,
    fix_split: Annotated[
        Path | None,
        typer.Option(
            "--fix-split",
            metavar="OUT.csv",
            help="Write a split without leaks for data.split_file. No files are moved.",
            show_default=False,
        ),
    ] = None,
    timing: Annotated[
        bool,
        typer.Option(
            "--timing/--no-timing",
            help="With a configuration: time a few training steps with TensorFlow, which takes a few seconds.",
        ),
    ] = True,
    overrides: Overrides = [],  # noqa: B006  (typer copies it)
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Find problems in data and configuration.

    Reports bad files, leaks between splits, label conflicts, duplicates, shortcuts, and the estimated cost of training.
    The exit status is 3 if there are errors, 2 if only the configuration has errors.

    Example: imgtrain check photos --sheet findings.png
    """
    from imgtrain.audit.result import describe_report
    from imgtrain.cli.display import Display
    from imgtrain.workflows.check import check as audit

    with Display(verbose=verbose, quiet=quiet or as_json) as display:
        report = audit(source, overrides, fix_split=fix_split, sheet=sheet, timing=timing, emit=display.show)
        if as_json:
            typer.echo(json.dumps(describe_report(report), indent=2))
        else:
            display.show_report(report)
    if report.exit_status:
        raise typer.Exit(report.exit_status)
