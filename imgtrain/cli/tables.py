"""Values drawn as rich tables; pure functions. Text from outside is shown escaped, and never read as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from imgtrain.events import EpochEnded, ImageClassified, ModelBuilt
from imgtrain.text import printable

__all__ = [
    "draw_comparison",
    "draw_epochs",
    "draw_model",
    "draw_scores",
    "plain",
    "say_answer",
    "say_bytes",
    "say_duration",
    "say_logs",
]

# A wider confusion matrix is no longer read as a picture; the files hold it whole.
_WIDEST_MATRIX = 20
_BAR_WIDTH = 12
_OVERALL = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "auc": "area under ROC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
    "expected_calibration_error": "calibration error",
}
_BASELINES = {
    "majority_class": "the most frequent class",
    "thumbnail_logistic_regression": "8×8 thumbnails, regression",
}


def plain(text: str, style: str = "") -> Text:
    """Return text that may hold names from outside, escaped; the door for all that no `Message` brings."""
    return Text(printable(text), style)


def draw_model(model: ModelBuilt) -> RenderableType:
    """Return the network as a table of layers, with parameter count and memory."""
    table = _table("layer", "output shape", "parameters", title="network", right=("parameters",))
    for layer, shape, parameters in model.rows:
        table.add_row(layer, shape, f"{parameters:,}")
    trainable = (
        "" if model.trainable_parameters == model.parameters else f" ({model.trainable_parameters:,} trained)"
    )
    line = (
        f"{model.parameters:,} parameters{trainable}, {say_bytes(model.weight_bytes)} of weights; "
        f"about {say_bytes(model.training_bytes)} while training"
    )
    return Group(table, Text(line))


def draw_epochs(epochs: Sequence[EpochEnded], *, rows: int | None = None) -> RenderableType:
    """Return the table of epochs, the best one marked; with `rows`, only the last so many."""
    names = [name for name in epochs[-1].logs if name != "learning_rate"] if epochs else []
    table = _table("epoch", "time", "images/s", *names, "", right=("epoch", "time", "images/s", *names))
    best = max((number for number, epoch in enumerate(epochs) if epoch.best), default=None)
    shown = list(enumerate(epochs))[-rows if rows else 0 :]
    for number, epoch in shown:
        table.add_row(
            f"{epoch.epoch + 1}/{epoch.epochs}",
            say_duration(epoch.seconds),
            f"{epoch.images_per_second:,.0f}",
            *(f"{epoch.logs[name]:.4f}" for name in names),
            "best" if number == best else "",
            style="bold green" if number == best else None,
        )
    return table


def say_answer(event: ImageClassified) -> str:
    """Return a line of what a model says of a file: path, answer, probability, separated by tabs."""
    cells = [event.path, event.answer, f"{event.probability:.4f}"]
    if len(event.ranked) > 1:
        cells += [f"{name} {probability:.4f}" for name, probability in event.ranked]
    return "\t".join(map(printable, cells))


def draw_comparison(content: Mapping[str, Any]) -> RenderableType:
    """Return what two runs have right, the differences with their intervals, and where they differ."""
    totals = _table("", "A", "B", "B − A", "95 % interval", right=("A", "B", "B − A", "95 % interval"))
    for key, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1")):
        low, high = content[f"{key}_difference_ci95"]
        totals.add_row(
            title,
            f"{content['a'][key]:.3f}",
            f"{content['b'][key]:.3f}",
            f"{content[f'{key}_difference']:+.3f}",
            f"{low:+.3f} to {high:+.3f}",
        )
    columns = ("images", "different answers", "only A right", "only B right")
    classes = _table("class", *columns, right=columns)
    for name, counts in content["per_class"].items():
        classes.add_row(plain(name), *(f"{count:,}" for count in counts.values()))
    test = content["mcnemar"]
    line = (
        f"{content['images']:,} test images; only A has "
        f"{test['only_a_right']:,} of them right, only B {test['only_b_right']:,} (McNemar's exact test: "
        f"p = {test['p_value']:.3g})"
    )
    runs = (plain(f"{name.upper()}: {content[name]['run']}") for name in "ab")
    return Group(*runs, Text(line), totals, classes)


def draw_scores(name: str, metrics: Mapping[str, Any]) -> RenderableType:
    """Return the scores of a split: the headline, what it is to be seen beside, the classes, the confusions."""
    low, high = metrics.get("accuracy_grouped_ci95") or metrics["accuracy_ci95"]
    headline = plain(
        f"{name}: {metrics['accuracy']:.1%} of {metrics['images']:,} images right "
        f"(95 % interval {low:.1%} to {high:.1%}), macro F1 {metrics['macro_f1']:.3f}, loss {metrics['loss']:.4f}",
        style="bold",
    )
    parts: list[RenderableType] = [
        headline,
        _draw_overall(metrics),
        _draw_classes(metrics["per_class"]),
    ]
    if len(metrics["class_names"]) <= _WIDEST_MATRIX:
        parts.append(_draw_confusion(metrics["class_names"], metrics["confusion_matrix"]))
    return Group(*parts)


def _draw_overall(metrics: Mapping[str, Any]) -> RenderableType:
    """Return each score of all classes together with its interval, and the baselines below."""
    table = _table("score", "value", "95 % interval", right=("value", "95 % interval"))
    for key, title in _OVERALL.items():
        if metrics.get(key) is not None:
            low, high = metrics[f"{key}_ci95"]
            table.add_row(title, f"{metrics[key]:.3f}", f"{low:.3f} to {high:.3f}")
    for k, share in metrics["top_k"].items():
        low, high = metrics["top_k_ci95"][k]
        table.add_row(f"right within the first {k}", f"{share:.3f}", f"{low:.3f} to {high:.3f}")
    if abstention := metrics.get("abstention"):
        table.add_row(f"answered (from {abstention['below']:.3f} on)", f"{abstention['answered']:.3f}", "")
        if abstention["accuracy_of_answered"] is not None:
            low, high = abstention["accuracy_of_answered_ci95"]
            right = abstention["accuracy_of_answered"]
            table.add_row("accuracy of the answers", f"{right:.3f}", f"{low:.3f} to {high:.3f}")
    for key, baseline in metrics["baselines"].items():
        low, high = baseline["accuracy_ci95"]
        table.add_row(
            f"accuracy of {_BASELINES.get(key, key)}",
            f"{baseline['accuracy']:.3f}",
            f"{low:.3f} to {high:.3f}",
            style="dim",
        )
    return table


def _draw_classes(per_class: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    right = ("precision", "recall", "F1", "± F1", "AUC", "images")
    table = _table("class", "precision", "recall", "F1", "± F1", "AUC", "images", "", right=right)
    for class_name, scores in per_class.items():
        limits, area = scores["f1_ci95"], scores["auc"]
        table.add_row(
            plain(class_name),
            f"{scores['precision']:.3f}",
            f"{scores['recall']:.3f}",
            f"{scores['f1']:.3f}",
            f"{(limits[1] - limits[0]) / 2:.3f}" if limits else "",
            "" if area is None else f"{area:.3f}",
            f"{scores['support']:,}",
            Text("█" * round(scores["f1"] * _BAR_WIDTH), style="blue"),
        )
    return table


def _draw_confusion(class_names: Sequence[str], matrix: Sequence[Sequence[int]]) -> RenderableType:
    shown = [printable(name) for name in class_names]
    short = [name if len(name) <= 10 else f"{name[:9]}…" for name in shown]
    table = Table(title="true (rows) × predicted (columns)", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("")
    for name in short:
        table.add_column(Text(name), justify="right")
    for row, (name, counts) in enumerate(zip(shown, matrix, strict=True)):
        cells = [
            Text(str(count) if count else "·", style="green" if row == column else "red" if count else "dim")
            for column, count in enumerate(counts)
        ]
        table.add_row(Text(name), *cells)
    return table


def say_logs(logs: Mapping[str, float]) -> str:
    """Return metrics as Keras's `verbose=2` writes them: `loss: 0.6931 - accuracy: 0.5000`."""
    return " - ".join(
        f"{name}: {value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{name}: {value:.4e}"
        for name, value in logs.items()
    )


def say_duration(seconds: float) -> str:
    """Return a duration as people read it: `0.8 s`, `42 s`, `3:20 min`, `1:02:03 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{whole:02} h"
    return f"{minutes}:{whole:02} min" if minutes else f"{whole} s"


def say_bytes(count: int) -> str:
    """Return a size as people read it: `512 B`, `1.5 MiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _table(*columns: str, title: str | None = None, right: tuple[str, ...] = ()) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    return table
