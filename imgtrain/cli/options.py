"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AsJson",
    "BatchSize",
    "ConfigPath",
    "MaxModelGib",
    "OtherModelClasses",
    "OtherModelConfig",
    "OtherModelRescale",
    "Overrides",
    "Quiet",
    "Verbose",
]


def _check_form(options: list[str]) -> list[str]:
    """Report `--set training.epochs 3` here, because the parser would report the 3."""
    for option in options:
        if "=" not in option:
            from imgtrain.config.overrides import in_the_right_form

            what = f"{option!r} is not of the form KEY=VALUE; write `{in_the_right_form(option)}`"
            raise typer.BadParameter(what)
    return options


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML configuration.", show_default=False)]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a configuration key: training.epochs=3. Can be repeated.",
        callback=_check_form,
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images per batch.")]
MaxModelGib = Annotated[
    float,
    typer.Option("--max-model-gib", min=0, help="Reject models that need more memory than this, in GiB."),
]
OtherModelConfig = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="For models not made by imgtrain: configuration that defines how images are read.",
        show_default=False,
    ),
]
OtherModelRescale = Annotated[
    str | None,
    typer.Option(
        "--rescale",
        help="For models not made by imgtrain: factor by which the inputs were scaled, such as 1/255.",
        show_default=False,
    ),
]
OtherModelClasses = Annotated[
    str | None,
    typer.Option(
        "--classes",
        help="For models not made by imgtrain: class names in order, separated by commas.  "
        "[default: the sorted folder names]",
        show_default=False,
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Verbose output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only print warnings, errors and the result.")]
