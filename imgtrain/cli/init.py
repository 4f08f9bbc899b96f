"""`imgtrain init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtrain.cli.options import Quiet, Verbose

__all__ = ["init"]


def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of class folders, of train/val/test folders, or of images labeled by a CSV file or by their "
            "file names; or the CSV file.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Configuration file to write.")] = Path(
        "config.yaml"
    ),
    minutes: Annotated[float, typer.Option(min=0.01, help="Time budget for training, in minutes.")] = 3,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Use this pretrained network of keras.applications, such as ResNet50.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write a configuration for a folder of images.

    Inspects the folder and writes a commented configuration that is ready to train. Labels are taken from
    class folders; if there are none, from a CSV file in or beside the folder, or from file names such as cat.0.jpg.

    Example: imgtrain init photos --output photos.yaml
    """
    from imgtrain.cli.display import Display
    from imgtrain.config import load_config
    from imgtrain.dataset.imbalance import describe_imbalance
    from imgtrain.dataset.propose import propose_config
    from imgtrain.dataset.split import split_data
    from imgtrain.errors import ConfigError, Problem
    from imgtrain.events import Message
    from imgtrain.run.run_directory import write_text

    if output.exists() and not overwrite:
        raise ConfigError(
            Problem(output, "already exists", "use --overwrite to replace it, or choose another --output")
        )
    if not output.parent.is_dir():
        raise ConfigError(Problem(output, f"the folder {output.parent} does not exist"))
    text = propose_config(folder, relative_to=output.parent, minutes=minutes, backbone=backbone)
    write_text(output, text)
    if verbose:
        typer.echo(text)
    train = split_data(load_config(output)).train
    imbalance = describe_imbalance(train.class_names, train.counts())
    with Display(verbose=verbose, quiet=quiet) as display:
        if imbalance:
            display.show(Message(imbalance, "warning"))
        display.show(Message(f"wrote {output}; next: imgtrain train {output}"))
