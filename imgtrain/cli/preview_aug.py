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
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            "-m",
            min=1,
            help="Number of images.  [default: 6; all with --each and --class or --data]",
            show_default=False,
        ),
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Write separate files instead of one contact sheet.")
    ] = False,
    class_name: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Only use images of this class.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder of class folders, or of images of one class, to use instead of the training images.",
            show_default=False,
        ),
    ] = None,
    originals: Annotated[
        bool, typer.Option("--originals/--no-originals", help="With --each, write the originals, too.")
    ] = True,
    overrides: Overrides = [],  # noqa: B006  (typer copies it)
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Draw augmented training images, exactly as used in training.

    Example: imgtrain preview-aug config.yaml --output sheet.png
    Example: imgtrain preview-aug config.yaml --class no_tumor --each --no-originals --output augmented/no_tumor
    """
    from imgtrain.cli.display import Display
    from imgtrain.config import load_config
    from imgtrain.events import Message
    from imgtrain.workflows.preview import write_preview

    loaded = load_config(config, overrides)
    with Display(verbose=verbose, quiet=quiet) as display:
        written = write_preview(
            loaded,
            output=output,
            count=count,
            images=images,
            each=each,
            class_name=class_name,
            folder=data,
            originals=originals,
            emit=display.show,
        )
        display.show(Message(f"wrote {written}"))
