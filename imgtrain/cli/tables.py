"""Draw values as rich tables. Text from outside is escaped and never interpreted as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from imgtrain.cli.curves import draw_sparkline
from imgtrain.evaluation.score_names import describe_accuracy, explain_accuracy, format_p, list_scores
from imgtrain.events import EpochEnded, ImageClassified, ModelBuilt, ScheduleBuilt
from imgtrain.text import format_bytes, printable

if TYPE_CHECKING:
    from imgtrain.audit.cost import Budget

__all__ = [
    "draw_budgets",
    "draw_comparison",
    "draw_epochs",
    "draw_export",
    "draw_model",
    "draw_schedule",
    "draw_scores",
    "format_duration",
    "format_logs",
    "format_prediction",
    "plain",
]

# Larger confusion matrices are unreadable on a terminal; metrics.json has them.
_MAX_MATRIX_CLASSES = 20
# Characters of a class name above a column of the confusion matrix.
_MAX_MATRIX_NAME = 10
_MIN_MATRIX_NAME = 3
# Columns that the first column of a table keeps where the terminal is narrow.
_MIN_NAME_COLUMN = 12
# No terminal is wider.
_UNLIMITED = 100_000


def plain(text: str, style: str = "") -> Text:
    """Return text that may contain names from outside, escaped. For all text that isn't in a `Message`."""
    return Text(printable(text), style)


def draw_model(model: ModelBuilt) -> RenderableType:
    """Return the model summary: a table of layers, parameter count and memory."""
    some_frozen = any(parameters and not trainable for *_, parameters, trainable in model.rows)
    numbers = ("Param #", "Trainable") if some_frozen else ("Param #",)
    shape_column = ("Output shape",)
    table = _table(
        "Layer (type)", *shape_column, *numbers, title="Model", right=numbers, optional=shape_column
    )
    for layer, shape, *counts in model.rows:
        table.add_row(layer, shape, *(f"{count:,}" for count in counts[: len(numbers)]))
    others = model.parameters - model.trainable_parameters
    trainable = (
        f"; trainable params: {model.trainable_parameters:,}; non-trainable params: {others:,}"
        if others
        else ""
    )
    line = (
        f"Total params: {model.parameters:,} ({format_bytes(model.weight_bytes)}){trainable}; "
        f"estimated memory for training: {format_bytes(model.training_bytes)}"
    )
    return Group(table, Text(line))


def draw_schedule(schedule: ScheduleBuilt) -> RenderableType:
    """Return the learning rates at the start, at the maximum and at the end, and a sparkline."""
    peak, highest = max(schedule.curve, key=lambda point: point[1])
    place = "" if schedule.example else f" after {peak:.3g} of {schedule.epochs:,} epochs"
    note = "; the number of epochs is planned for training.minutes" if schedule.example else ""
    return Text(
        f"learning rate ({schedule.name}): starts at {schedule.curve[0][1]:.3g}, maximum {highest:.3g}{place}, "
        f"ends at {schedule.curve[-1][1]:.3g}{note}\n"
        f"{draw_sparkline([rate for _, rate in schedule.curve])}"
    )


def draw_budgets(budgets: Sequence[Budget]) -> RenderableType:
    """Return a table of time budgets: epochs with the configured image size, and with that of `target_size: auto`."""
    columns = ("training.minutes", "Epochs", "target_size: auto", "Epochs with auto")
    table = _table(*columns, right=columns, optional=columns[2:])
    for budget in budgets:
        table.add_row(
            f"{budget.minutes:g}",
            _format_passes(budget.epochs),
            "×".join(map(str, budget.auto_size)),
            _format_passes(budget.auto_epochs),
        )
    return table


def _format_passes(passes: float) -> str:
    return f"{passes:.1f}" if passes < 10 else f"{passes:,.0f}"


def draw_epochs(epochs: Sequence[EpochEnded], *, rows: int | None = None) -> RenderableType:
    """Return the table of epochs with the best one marked; with `rows`, only the last `rows` epochs."""
    names = [name for name in epochs[-1].logs if name != "learning_rate"] if epochs else []
    right = ("Epoch", "Time", "Images/s", *names)
    others = [name for name in names if name not in ("loss", "val_loss")]
    others.sort(key=lambda name: name.startswith("val_"))
    table = _table(*right, "", right=right, optional=("Images/s", "Time", *others))
    best = max((number for number, epoch in enumerate(epochs) if epoch.best), default=None)
    shown = list(enumerate(epochs))[-rows if rows else 0 :]
    for number, epoch in shown:
        table.add_row(
            f"{epoch.epoch + 1}/{epoch.epochs}",
            format_duration(epoch.seconds),
            f"{epoch.images_per_second:,.0f}",
            *(f"{epoch.logs[name]:.4f}" for name in names),
            "best" if number == best else "",
            style="bold green" if number == best else None,
        )
    return table


def format_prediction(event: ImageClassified) -> str:
    """Return path, prediction and probability, separated by tabs."""
    cells = [event.path, event.predicted, f"{event.probability:.4f}"]
    if len(event.ranked) > 1:
        cells += [f"{name} {probability:.4f}" for name, probability in event.ranked]
    return "\t".join(map(printable, cells))


def draw_comparison(content: Mapping[str, Any]) -> RenderableType:
    """Return the scores of two runs, the differences with their intervals, and the differences by class."""
    columns = ("A", "B", "B − A", "95 % CI")
    totals = _table("Score", *columns, right=columns, optional=("A", "B", "95 % CI"))
    for key, title in (("accuracy", "Accuracy"), ("macro_f1", "Macro F1")):
        limits = content[f"{key}_difference_ci95"]
        totals.add_row(
            title,
            f"{content['a'][key]:.3f}",
            f"{content['b'][key]:.3f}",
            f"{content[f'{key}_difference']:+.3f}",
            "–" if limits is None else f"[{limits[0]:+.3f}, {limits[1]:+.3f}]",
        )
    columns = ("Support", "Different\npredictions", "Only A\ncorrect", "Only B\ncorrect")
    classes = _table("Class", *columns, right=columns, optional=("Different\npredictions", "Support"))
    for name, counts in content["per_class"].items():
        classes.add_row(plain(name), *(f"{count:,}" for count in counts.values()))
    counts, groups = content["mcnemar"], content["groups"]
    split = "" if content["split"] == "evaluation" else f"{content['split']} "
    line = (
        f"{content['images']:,} {split}images{'' if groups is None else f' in {groups:,} groups'}; "
        f"{counts['only_a_right']:,} classified correctly only by A, {counts['only_b_right']:,} only by B "
        f"({content['test']}: {format_p(content['p_value'])})"
    )
    runs = (plain(f"{name.upper()}: {content[name]['run']}") for name in "ab")
    return Group(*runs, Text(line), totals, classes)


def draw_export(figures: Mapping[str, Any]) -> RenderableType:
    """Return the agreement of an exported model with the Keras model, and size and latency of both."""
    table = _table("", "Keras", "Exported", right=("Keras", "Exported"))
    table.add_row("Size", format_bytes(figures["keras_size_bytes"]), format_bytes(figures["size_bytes"]))
    table.add_row("Accuracy", f"{figures['keras_accuracy']:.4f}", f"{figures['accuracy']:.4f}")
    for size, keras in figures["latency"]["keras"].items():
        exported = figures["latency"]["exported"][size]
        for key, what in (("median_ms", "median"), ("p95_ms", "p95")):
            table.add_row(
                f"Latency, batch {size}, {what}", f"{keras[key]:,.2f} ms", f"{exported[key]:,.2f} ms"
            )
    limits = figures["accuracy_difference_ci95"]
    interval = "" if limits is None else f" (95 % CI {100 * limits[0]:+.2f} to {100 * limits[1]:+.2f})"
    split = "" if figures["split"] == "evaluation" else f"{figures['split']} "
    line = (
        f"On {figures['images']:,} {split}images: {100 * figures['equal_decisions']:.2f} % equal decisions; "
        f"probabilities differ by up to {figures['largest_difference']:.2g}; accuracy by "
        f"{100 * figures['accuracy_difference']:+.2f} percentage points{interval}"
    )
    return Group(Text(line, style="bold"), table)


def draw_cache(content: Mapping[str, Any]) -> RenderableType:
    """Return the cache files, most recently used first, and what they take together.

    Args:
        content: What `imgtrain cache --json` prints.
    """
    total = format_bytes(content["total_bytes"])
    if not content["files"]:
        return plain(f"no cached pixels in {content['directory']}")
    table = _table("Data set", "Images", "Size", "Last used", "", right=("Images", "Size"))
    for file in content["files"]:
        images = "?" if file["images"] is None else f"{file['images']:,}"
        if file["shape"] is not None:
            images += f" × {'×'.join(map(str, file['shape']))}"
        used = datetime.fromisoformat(file["last_used"]).astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(
            Text(printable(file["folder"] or Path(file["path"]).name), overflow="fold"),
            images,
            format_bytes(file["size_bytes"]),
            used,
            "in use" if file["in_use"] else "",
        )
    limit = format_bytes(content["limit_bytes"])
    line = f"{total} in {content['directory']}; training keeps it below {limit}, half of the free disk space"
    return Group(table, plain(line))


def draw_scores(name: str, metrics: Mapping[str, Any]) -> RenderableType:
    """Return the scores of a split: headline, all scores, scores by class, confusion matrix."""
    parts: list[RenderableType] = [
        plain(describe_accuracy(name, metrics), style="bold"),
        Text(explain_accuracy(name, metrics)),
        _draw_overall(metrics),
        _draw_classes(metrics["per_class"]),
        *(plain(f"No CI (–): {note}") for note in metrics.get("interval_notes", ())),
    ]
    if len(metrics["class_names"]) <= _MAX_MATRIX_CLASSES:
        parts.append(_ConfusionMatrix(metrics["class_names"], metrics["confusion_matrix"]))
    return Group(*parts)


def _draw_overall(metrics: Mapping[str, Any]) -> RenderableType:
    """Return the scores over all classes with their intervals, followed by the baselines."""
    table = _table("Score", "Value", "95 % CI", right=("Value", "95 % CI"), optional=("95 % CI",))
    for row in list_scores(metrics):
        style = "dim" if row.is_baseline else None
        table.add_row(row.title, _format_score(row.value), _format_limits(row.limits), style=style)
    return table


def _draw_classes(per_class: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    columns = ("Precision", "Recall", "F1", "F1 95 % CI", "ROC AUC", "Support")
    table = _table(
        "Class", *columns, right=columns, optional=("F1 95 % CI", "ROC AUC", "Recall", "Precision")
    )
    for class_name, scores in per_class.items():
        table.add_row(
            plain(class_name),
            _format_score(scores["precision"]),
            _format_score(scores["recall"]),
            _format_score(scores["f1"]),
            _format_limits(scores["f1_ci95"]),
            _format_score(scores["auc"]),
            f"{scores['support']:,}",
        )
    return table


def format_logs(logs: Mapping[str, float]) -> str:
    """Return metrics in the format of Keras's `verbose=2`: `loss: 0.6931 - accuracy: 0.5000`."""
    return " - ".join(
        f"{name}: {value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{name}: {value:.4e}"
        for name, value in logs.items()
    )


def format_duration(seconds: float) -> str:
    """Return a human-readable duration: `0.8 s`, `42 s`, `3:20 min`, `1:02:03 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{whole:02} h"
    return f"{minutes}:{whole:02} min" if minutes else f"{whole} s"


def _format_score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _format_limits(limits: Sequence[float] | None) -> str:
    return "–" if limits is None else f"[{limits[0]:.3f}, {limits[1]:.3f}]"


def _table(
    *columns: str, title: str | None = None, right: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> Table:
    """Return a table whose numbers, in the columns `right`, are never cut; see `_FittingTable` for `optional`."""
    table = _FittingTable(title=title, box=box.SIMPLE_HEAD, title_justify="left", optional=optional)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    return table


class _FittingTable(Table):
    """A table that omits columns, in the order of `optional`, where the terminal is too narrow for all numbers."""

    def __init__(self, *, optional: tuple[str, ...], **options: Any) -> None:
        super().__init__(**options)
        self._optional = optional

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        every = self.columns
        for omitted in range(len(self._optional) + 1):
            self.columns = [column for column in every if column.header not in self._optional[:omitted]]
            if self._fits(console, options):
                break
        try:
            yield from super().__rich_console__(console, options)
        finally:
            self.columns = every

    def _fits(self, console: Console, options: ConsoleOptions) -> bool:
        """Return whether all columns but the first have room for their longest cell."""
        first = self.columns[0]
        first.max_width = _MIN_NAME_COLUMN
        needed = Measurement.get(console, options.update(width=_UNLIMITED), self).maximum
        first.max_width = None
        return needed <= options.max_width


class _ConfusionMatrix:
    """The confusion matrix, with class names as short as the terminal demands, if it has room for the counts."""

    def __init__(self, class_names: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
        self._names = [printable(name) for name in class_names]
        self._matrix = matrix

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("Confusion matrix (rows: true, columns: predicted)", style="italic")
        digits = max(len(str(count)) for counts in self._matrix for count in counts)
        for longest in range(_MAX_MATRIX_NAME, max(_MIN_MATRIX_NAME, digits) - 1, -1):
            table = self._draw(longest)
            if Measurement.get(console, options.update(width=_UNLIMITED), table).maximum <= options.max_width:
                yield table
                return
        yield Text("too wide for this terminal: see metrics.json or report.html")

    def _draw(self, longest: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("", max_width=max(longest, _MIN_NAME_COLUMN), no_wrap=True)
        for name in self._names:
            table.add_column(_shorten(name, longest), justify="right", no_wrap=True)
        for row, (name, counts) in enumerate(zip(self._names, self._matrix, strict=True)):
            styles = ["green" if row == column else "red" if n else "dim" for column, n in enumerate(counts)]
            cells = [Text(f"{n or '·'}", style) for n, style in zip(counts, styles, strict=True)]
            table.add_row(Text(name, overflow="ellipsis"), *cells)
        return table


def _shorten(name: str, longest: int) -> Text:
    """Return the name, cut to so many columns of the terminal; some characters take two."""
    text = Text(name)
    text.truncate(longest, overflow="ellipsis")
    return text
