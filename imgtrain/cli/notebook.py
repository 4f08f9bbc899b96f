"""Live output in notebooks: one cell output that is replaced, as `rich.live.Live` does on terminals.

Rich's own needs ipywidgets and prints from a thread; this one needs neither.
"""

from __future__ import annotations

import io
import time
from importlib import import_module
from typing import Any

from rich.console import Console, RenderableType

__all__ = ["NotebookLive"]

_SECONDS_BETWEEN_UPDATES = 0.25
_HTML = '<pre style="white-space:pre;overflow-x:auto;line-height:normal;font-family:monospace">{code}</pre>'


class NotebookLive:
    """Shows a renderable in a cell until it is stopped; drawn at most four times per second.

    What ends sooner than that is not shown, because a removed output leaves an empty line.
    """

    def __init__(self, renderable: RenderableType | None = None, *, width: int) -> None:
        """Initialize without showing anything.

        Args:
            renderable: What is shown first.
            width: In characters.
        """
        self._renderable = renderable
        self._width = width
        self._cell: Any = None
        self._drawn = 0.0

    def start(self) -> None:
        """Begin; the output is created by the first `refresh`."""
        self._drawn = time.monotonic()

    def update(self, renderable: RenderableType) -> None:
        """Show another renderable from now on."""
        self._renderable = renderable
        self.refresh()

    def refresh(self) -> None:
        """Draw the renderable again, unless it was drawn just now."""
        if time.monotonic() - self._drawn < _SECONDS_BETWEEN_UPDATES:
            return
        ipython: Any = import_module("IPython.display")
        shown = ipython.HTML(self._render())
        if self._cell is None:
            self._cell = ipython.display(shown, display_id=True)
        else:
            self._cell.update(shown)
        self._drawn = time.monotonic()

    def stop(self) -> None:
        """Remove what was shown."""
        if self._cell is not None:
            ipython: Any = import_module("IPython.display")
            self._cell.update(ipython.HTML(""))
            self._cell = None

    def _render(self) -> str:
        """Return the renderable as HTML."""
        console = Console(
            record=True, file=io.StringIO(), width=self._width, color_system="truecolor", force_jupyter=False,
            markup=False, highlight=False,
        )  # fmt: skip
        console.print(self._renderable or "")
        return console.export_html(inline_styles=True, code_format=_HTML)
