"""The application and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from imgtrain.cli.cache import cache
from imgtrain.cli.check import check
from imgtrain.cli.compare import compare
from imgtrain.cli.evaluate import evaluate
from imgtrain.cli.export import export
from imgtrain.cli.guard import guarded
from imgtrain.cli.init import init
from imgtrain.cli.predict import predict
from imgtrain.cli.preview_aug import preview_aug
from imgtrain.cli.report import report
from imgtrain.cli.schema import schema
from imgtrain.cli.train import train

__all__ = ["app", "main"]

app = typer.Typer(
    name="imgtrain",
    help="Train image classifiers from class folders and one YAML file.",
    epilog="Getting started: imgtrain init FOLDER, then imgtrain train config.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Rendering the help with rich would take longer than everything else.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (init, check, train, evaluate, predict, compare, export, report, preview_aug, cache, schema):
    app.command(command.__name__.replace("_", "-"))(guarded(command))


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"imgtrain {version('imgtrain')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train image classifiers from class folders and one YAML file."""


def main() -> None:
    """Run the command line."""
    app()
