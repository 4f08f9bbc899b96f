"""`imgtrain report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtrain.cli.options import Quiet, Verbose

__all__ = ["report"]


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a completed run.")],
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Regenerate report.html of a run.

    Example: imgtrain report runs/sample
    """
    from imgtrain.cli.display import Display
    from imgtrain.events import Message
    from imgtrain.workflows.report import write_report

    with Display(verbose=verbose, quiet=quiet) as display:
        written = write_report(run, emit=display.show)
        display.show(Message(f"wrote {written}"))
