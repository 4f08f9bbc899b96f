"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ConfigPath", "MaxModelGib", "Overrides", "Quiet", "Verbose"]

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML configuration.", show_default=False)]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a configuration key: training.epochs=3. Can be repeated.",
        show_default=False,
    ),
]
MaxModelGib = Annotated[
    float,
    typer.Option("--max-model-gib", min=0, help="Reject models that need more memory than this, in GiB."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Verbose output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only print warnings, errors and the result.")]
