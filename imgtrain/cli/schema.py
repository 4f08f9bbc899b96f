"""`imgtrain schema`."""

from __future__ import annotations

import json

import typer

from imgtrain.cli.options import Quiet, Verbose

__all__ = ["schema"]


def schema(verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Print the JSON Schema of configurations, for editors.

    Example: imgtrain schema > imgtrain.schema.json
    """
    from imgtrain.config.reference import render_schema

    typer.echo(json.dumps(render_schema(), indent=2))
