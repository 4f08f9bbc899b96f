"""`imgtrain preview-aug`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtrain.cli.options import ConfigPath, Overrides, Quiet, Verbose

__all__ = ["preview_aug"]


def preview_aug(
    config: ConfigPath,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="PNG file to write; with --each, the folder.  [default: preview-aug.png or preview-aug]",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=100, help="Augmented versions of each image.")
    ] = 8,
    images: Annotated[int, typer.Option("--images", "-m", min=1, max=1000, help="Number of images.")] = 6,
    each: Annotated[
        bool, typer.Option("--each", help="Write separate files instead of one contact sheet.")
    ] = False,
    overrides: Overrides = [],  # noqa: B006  (typer copies it)
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Draw augmented training images, exactly as used in training.

    Example: imgtrain preview-aug config.yaml --output sheet.png
    """
    from imgtrain.cli.display import Display
    from imgtrain.config import load_config
    from imgtrain.events import Message
    from imgtrain.workflows.preview import write_preview

    loaded = load_config(config, overrides)
    with Display(verbose=verbose, quiet=quiet) as display:
        written = write_preview(
            loaded, output=output, count=count, images=images, each=each, emit=display.show
        )
        display.show(Message(f"wrote {written}"))
