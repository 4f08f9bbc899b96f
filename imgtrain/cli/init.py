"""`imgtrain init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtrain.cli.options import Quiet, Verbose

__all__ = ["init"]


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Class folders, or train/val/test folders of them.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The configuration to write.")] = Path(
        "config.yaml"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Look at a folder of images and write a commented configuration that trains at once.

    Example: imgtrain init photos --output photos.yaml
    """
    from imgtrain.cli.display import Display
    from imgtrain.dataset.propose import propose_config
    from imgtrain.errors import ConfigError, Problem
    from imgtrain.events import Message
    from imgtrain.run.run_directory import write_text

    if output.exists() and not overwrite:
        raise ConfigError(
            Problem(str(output), "exists already", "use --overwrite to replace it, or another --output")
        )
    if not output.parent.is_dir():
        raise ConfigError(Problem(str(output), f"there is no folder {output.parent}"))
    text = propose_config(folder, relative_to=output.parent)
    write_text(output, text)
    if verbose:
        typer.echo(text)
    with Display(verbose=verbose, quiet=quiet) as display:
        display.show(Message(f"wrote {output}; next: imgtrain train {output}"))
