"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ConfigPath", "MaxModelGib", "Overrides", "Quiet", "Verbose"]

ConfigPath = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The YAML configuration.", show_default=False)
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key, with dots and a YAML value: training.epochs=3. May be repeated.",
        show_default=False,
    ),
]
MaxModelGib = Annotated[
    float,
    typer.Option(
        "--max-model-gib", min=0, help="The most memory that a model may claim before it is loaded, in GiB."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but warnings, errors and the result.")
]
