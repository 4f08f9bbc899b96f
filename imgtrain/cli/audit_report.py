"""Draw the findings of a check, most severe first, each with its impact and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from imgtrain.audit.cost import Cost
from imgtrain.audit.findings import Finding
from imgtrain.audit.result import AuditReport
from imgtrain.cli.tables import draw_budgets, format_duration, plain
from imgtrain.text import format_bytes

__all__ = ["draw_audit_report"]

_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold blue"}
_MOST_ITEMS = 3
_MOST_PATHS = 4


def draw_audit_report(report: AuditReport, *, every_file: bool = False) -> RenderableType:
    """Return the findings by severity, with the first files of each, or all with `every_file`."""
    parts: list[RenderableType] = [_headline(report)]
    for finding in report.findings:
        parts += [Text(), *_draw_finding(finding, every_file=every_file)]
    if report.cost is not None:
        parts += [Text(), _draw_cost(report.cost)]
        parts += [draw_budgets(report.cost.budgets)] if report.cost.budgets else []
    parts += [Text(), _draw_counts(report)]
    return Group(*parts)


def _headline(report: AuditReport) -> Text:
    images = ", ".join(f"{name} {number:,}" for name, number in report.images.items()) or "none"
    return plain(f"{report.source}: {len(report.class_names)} classes; images: {images}", style="bold")


def _draw_finding(finding: Finding, *, every_file: bool) -> Iterator[RenderableType]:
    head = Text()
    head.append(f"{finding.severity} ", _STYLES[finding.severity])
    head.append(f"{finding.code}: ", "bold")
    head.append_text(plain(finding.what))
    yield head
    yield Padding(plain(f"impact: {finding.harm}"), (0, 0, 0, 4))
    yield Padding(plain(f"fix: {finding.remedy}", "green"), (0, 0, 0, 4))
    shown = finding.items if every_file else finding.items[:_MOST_ITEMS]
    for item in shown:
        paths = item.paths if every_file else item.paths[:_MOST_PATHS]
        text = "  =  ".join(paths)
        if len(item.paths) > len(paths):
            text += f"  =  {len(item.paths) - len(paths):,} more"
        detail = f"  ({item.detail})" if item.detail else ""
        yield Padding(plain(text + detail, "dim"), (0, 0, 0, 4))
    if more := len(finding.items) - len(shown):
        yield Padding(
            Text(f"and {more:,} more (use --verbose or --json to list all)", style="dim"), (0, 0, 0, 4)
        )


def _draw_cost(cost: Cost) -> Text:
    epoch = "time per epoch not measured"
    if cost.epoch_seconds is not None:
        epoch = (
            f"about {format_duration(cost.epoch_seconds)} per epoch of {cost.images:,} images "
            f"({cost.train_images_per_second:,.0f} images/s)"
        )
    unknown = f" (without {', '.join(cost.unknown_layers)})" if cost.unknown_layers else ""
    return plain(
        f"estimated cost: {epoch}; {cost.parameters:,} parameters, {format_bytes(cost.memory_bytes)} of memory"
        f"{unknown}, {format_bytes(cost.cache_bytes)} of cache; decoding {cost.decode_images_per_second:,.0f} "
        f"and augmenting {cost.augment_images_per_second:,.0f} images/s"
    )


def _draw_counts(report: AuditReport) -> Text:
    if not report.findings:
        return Text("no problems found", style="bold green")
    text = Text()
    for severity, number in report.counts.items():
        text.append(
            f"{number} {severity}{'' if number == 1 else 's'}  ", _STYLES[severity] if number else "dim"
        )
    return text
