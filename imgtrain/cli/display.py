"""Show events: live bars and tables on a terminal, plain lines elsewhere, and everything in the run's log."""

from __future__ import annotations

import io
import os
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from imgtrain import events
from imgtrain.cli.notebook import NotebookLive
from imgtrain.cli.tables import (
    draw_cache,
    draw_comparison,
    draw_epochs,
    draw_export,
    draw_model,
    draw_schedule,
    draw_scores,
    format_duration,
    format_logs,
    format_prediction,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from imgtrain.audit.result import AuditReport
    from imgtrain.evaluation.compare import Comparison
    from imgtrain.evaluation.predict_result import PredictResult
    from imgtrain.workflows.evaluate import EvaluateResult
    from imgtrain.workflows.export import ExportResult
    from imgtrain.workflows.find_learning_rate import FoundRate
    from imgtrain.workflows.train import TrainResult

__all__ = ["Display", "is_interactive"]

_LOG_WIDTH = 110
# Lines reserved for the progress bar, the table header and the text above.
_LINES_AROUND_EPOCHS = 8


def is_interactive() -> bool:
    """Return whether someone watches: standard output is a terminal, or the code runs in a notebook."""
    return sys.stdout.isatty() or Console(file=io.StringIO()).is_jupyter


class Display:
    """Shows events while a command runs; a context manager that restores the terminal.

    On a terminal without `NO_COLOR` and in notebooks it shows live progress bars, otherwise one line per task and
    epoch, like Keras's `verbose=2`. `quiet` only shows warnings and results. Warnings go to stderr, everything else to
    stdout. Without a `screen` there is only the run's log.
    """

    def __init__(self, *, verbose: bool = False, quiet: bool = False, screen: bool = True) -> None:
        self.verbose = verbose
        self.quiet = quiet
        self._screen = screen
        # A pipe has no width: use that of the log.
        width = None if sys.stdout.isatty() else _LOG_WIDTH
        plain_lines = "NO_COLOR" in os.environ
        # Without a color system rich also leaves out bold and italic, which `no_color` would keep.
        colors: Literal["auto"] | None = None if plain_lines else "auto"
        self._out = _console(sys.stdout, color_system=colors, width=width, screen=screen)
        self._err = _console(sys.stderr, color_system=colors, soft_wrap=True, screen=screen)
        can_redraw = self._out.is_jupyter or (self._out.is_terminal and not self._out.is_dumb_terminal)
        self._lively = screen and can_redraw and not plain_lines and not quiet
        self._live: Live | NotebookLive | None = None
        self._bars: Progress | None = None
        self._epochs: list[events.EpochEnded] = []
        self._task, self._task_started = "", 0.0
        # The log is kept in memory until the run directory exists.
        self._log_file: TextIO = io.StringIO()
        self._log = self._log_console()

    def __enter__(self) -> Self:
        """Start showing events."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore the terminal and write the final error to the log."""
        self._stop_live()
        if self._epochs and kind is not None:
            self._print(draw_epochs(self._epochs))
        if error is not None:
            self._write_log(Text(f"error: {error}" if str(error) else f"error: {type(error).__name__}"))
        with suppress(OSError):
            self._log_file.close()

    def show(self, event: events.Event) -> None:
        """Show an event; the `emit` of every workflow."""
        match event:
            case events.Message(text=text, severity="warning"):
                self._warn(text)
            case events.Message(text=text, severity="detail") if not self.verbose:
                self._write_log(Text(text))
            case events.Message(text=text):
                self._print(Text(text))
            case events.Progress():
                self._show_progress(event)
            case events.ImageClassified():
                # Not printed by rich, which replaces tabs by spaces: programs parse these lines.
                if self._screen:
                    self._out.file.write(f"{format_prediction(event)}\n")
            case events.RunOpened(log=log, resumed=resumed):
                self._open_log(log, "a" if resumed else "w")
            case events.ModelBuilt() | events.ScheduleBuilt():
                self._print(
                    draw_model(event) if isinstance(event, events.ModelBuilt) else draw_schedule(event)
                )
            case events.EpochStarted():
                self._show_epoch_started(event)
            case events.BatchTrained():
                self._show_batch(event)
            case events.EpochEnded():
                self._show_epoch_ended(event)
            case events.TrainingEnded():
                self._show_training_ended(event)

    def show_result(self, result: TrainResult) -> None:
        """Show the scores of a finished training run."""
        for split, metrics in result.metrics.items():
            self._print(draw_scores(split, metrics), important=True)
        if result.directory is None:
            self._print(
                Text(
                    "dry run: configuration, folders and network are consistent; no image was decoded "
                    "(use `imgtrain check`), nothing was written"
                ),
                important=True,
            )
        else:
            self._print(plain(f"run saved to {result.directory}"), important=True)

    def show_found_rate(self, found: FoundRate) -> None:
        """Show the curve of a learning rate range test, and the line to write into the configuration."""
        from imgtrain.cli.curves import draw_loss_curve

        tested = found.tested
        if len(tested.rates) > 1:
            for line in draw_loss_curve(tested.rates, tested.smoothed, found.suggestion):
                self._print(Text(line), important=True)
        if found.line is None:
            self._warn(
                "no suggestion: the loss did not decrease at any learning rate in these few batches; some networks "
                "start slowly, otherwise check the labels, `rescale` and the layers"
            )
        else:
            self._print(
                Text(
                    f"suggested learning rate: {found.suggestion:g}; in the section `training`:\n  {found.line}"
                ),
                important=True,
            )
        self._print(plain(f"written to {found.directory}"), important=True)

    def show_evaluation(self, result: EvaluateResult) -> None:
        """Show the scores of an evaluated model."""
        self._print(draw_scores(str(result.folder), result.metrics["evaluation"]), important=True)
        if result.directory is not None:
            self._print(plain(f"written to {result.directory}"), important=True)

    def show_predictions(self, result: PredictResult) -> None:
        """Show the number of predictions per class if the predictions were written to a file."""
        if result.output is not None:
            for name, count in result.counts.items():
                self._print(plain(f"{count:>9,}  {name}"))
            self._print(plain(f"written to {result.output}"), important=True)

    def show_report(self, report: AuditReport) -> None:
        """Show the findings of a check; with `verbose`, all files."""
        from imgtrain.cli.audit_report import draw_audit_report

        self._print(draw_audit_report(report, every_file=self.verbose), important=True)

    def show_comparison(self, comparison: Comparison) -> None:
        """Show how two runs differ and whether one is better."""
        self._print(draw_comparison(comparison.content))
        self._print(Text(comparison.sentence, style="bold"), important=True)

    def show_cache(self, content: Mapping[str, Any]) -> None:
        """Show the files of the pixel cache, as `imgtrain cache --json` prints them."""
        self._print(draw_cache(content), important=True)

    def show_export(self, result: ExportResult) -> None:
        """Show how an exported model compares with the Keras model."""
        self._print(draw_export(result.figures), important=True)
        self._print(plain(f"written to {result.path}"), important=True)

    def _show_progress(self, event: events.Progress) -> None:
        if event.done == 0 and event.task != self._task:
            self._task = event.task
            self._task_started = time.perf_counter()
            if self._lively and event.total:
                self._start_bars(event.task, event.total)
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[-1], completed=event.done)
            self._refresh()
        if event.done == event.total:
            self._stop_live()
            self._task = ""
            seconds = time.perf_counter() - self._task_started
            rate = f" ({event.total / seconds:,.0f} {event.unit}/s)" if seconds > 0 and event.total else ""
            self._print(
                Text(f"{event.task}: {event.total:,} {event.unit} in {format_duration(seconds)}{rate}")
            )

    def _show_epoch_started(self, event: events.EpochStarted) -> None:
        if not self._lively:
            return
        if self._live is None:
            self._bars = self._make_bars(TextColumn("{task.fields[logs]}"))
            self._live = self._make_live()
            self._live.start()
        assert self._bars is not None
        for task in self._bars.task_ids:
            self._bars.remove_task(task)
        self._bars.add_task(f"epoch {event.epoch + 1}/{event.epochs}", total=event.images, logs="")
        self._draw_live()

    def _show_batch(self, event: events.BatchTrained) -> None:
        if self._bars is not None:
            task = self._bars.tasks[-1]
            speed = event.images / task.elapsed if task.elapsed else 0.0
            logs = f"{speed:,.0f} images/s  {format_logs(event.logs)}"
            self._bars.update(task.id, completed=event.images, logs=logs)
            self._refresh()

    def _show_epoch_ended(self, event: events.EpochEnded) -> None:
        self._epochs.append(event)
        logs = dict(event.logs)
        if logs["learning_rate"] == self._epochs[0].logs["learning_rate"]:
            del logs["learning_rate"]
        line = (
            f"Epoch {event.epoch + 1}/{event.epochs} - {format_duration(event.seconds)} - "
            f"{event.images_per_second:,.0f} images/s - {format_logs(logs)}{' - best so far' if event.best else ''}"
        )
        if self._lively:
            self._write_log(Text(line))
            self._draw_live()
        else:
            self._print(Text(line))

    def _show_training_ended(self, event: events.TrainingEnded) -> None:
        self._stop_live()
        if self._lively:
            self._out.print(draw_epochs(self._epochs))
        self._epochs = []
        ended = "stopped early after" if event.stopped_early else "trained"
        epochs = f"{event.epochs_run} epoch{'' if event.epochs_run == 1 else 's'}"
        self._print(Text(f"{ended} {epochs}; using the weights of epoch {event.best_epoch + 1}"))

    def _draw_live(self) -> None:
        assert self._live is not None
        assert self._bars is not None
        rows = max(3, self._out.height - _LINES_AROUND_EPOCHS)
        parts = [draw_epochs(self._epochs, rows=rows)] if self._epochs else []
        self._live.update(Group(*parts, self._bars))

    def _start_bars(self, task: str, total: int) -> None:
        self._stop_live()
        self._bars = self._make_bars()
        self._bars.add_task(task, total=total)
        self._live = self._make_live(self._bars)
        self._live.start()

    def _make_live(self, renderable: RenderableType | None = None) -> Live | NotebookLive:
        if self._out.is_jupyter:
            return NotebookLive(renderable, width=self._out.width)
        return Live(renderable, console=self._out, transient=True, refresh_per_second=8)

    def _refresh(self) -> None:
        """Redraw in a notebook; on a terminal, rich does so in a thread."""
        if isinstance(self._live, NotebookLive):
            self._live.refresh()

    def _make_bars(self, *more: TextColumn) -> Progress:
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            *more,
            console=self._out,
        )

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._live, self._bars = None, None

    def _warn(self, text: str) -> None:
        line = Text(f"warning: {text}")
        self._err.print(line, style="yellow")
        self._write_log(line)

    def _print(self, what: RenderableType, *, important: bool = False) -> None:
        """Print to stdout and the log; with `--quiet`, only important text goes to stdout."""
        if important or not self.quiet:
            self._out.print(what, soft_wrap=isinstance(what, Text))
        self._write_log(what)

    def _write_log(self, what: RenderableType) -> None:
        # If the disk is full, the run itself reports it for files that matter.
        with suppress(OSError):
            self._log.print(what, soft_wrap=isinstance(what, Text))

    def _open_log(self, path: os.PathLike[str], mode: Literal["a", "w"]) -> None:
        assert isinstance(self._log_file, io.StringIO)
        earlier = self._log_file.getvalue()
        self._log_file = open(path, mode, encoding="utf-8", errors="surrogateescape", buffering=1)  # noqa: SIM115, PTH123
        with suppress(OSError):
            self._log_file.write(earlier)
        self._log = self._log_console()

    def _log_console(self) -> Console:
        return _console(self._log_file, color_system=None, width=_LOG_WIDTH)


def _console(
    file: TextIO,
    *,
    color_system: Literal["auto"] | None,
    width: int | None = None,
    soft_wrap: bool = False,
    screen: bool | None = None,
) -> Console:
    """Return a console that prints text as it is: names from outside may look like rich's markup.

    Args:
        file: Where to print.
        color_system: As for `rich.console.Console`.
        width: In characters; None for that of the terminal.
        soft_wrap: Whether long lines are left to the terminal.
        screen: Whether to print; None for a file that is not the screen, even in a notebook.
    """
    return Console(
        file=file,
        quiet=screen is False,
        force_jupyter=False if screen is None else None,
        color_system=color_system,
        width=width,
        soft_wrap=soft_wrap,
        markup=False,
        highlight=False,
    )
