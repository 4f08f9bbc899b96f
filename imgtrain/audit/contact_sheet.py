"""A contact sheet of the findings: duplicates side by side, and bad files with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from imgtrain.audit.findings import Finding, Item
from imgtrain.pixels.decode import DecodeSettings, UndecodableImage
from imgtrain.pixels.decode_workers import decode_in_worker
from imgtrain.pixels.fonts import Font, fit_text, load_font

__all__ = ["draw_contact_sheet"]

_SHOWN = (
    "leak",
    "near-leak",
    "label-conflict",
    "near-label-conflict",
    "undecodable",
    "decompression-bomb",
    "duplicate",
    "near-duplicate",
    "animated",
    "odd-shape",
)
"""The findings to draw, in this order."""

_MOST_LINES_EACH = 12
_COLUMNS = 4
_CELL = 192
_GAP, _LINE = 10, 24
_PAPER, _INK, _FAINT, _BAD = "white", "#1a1a1a", "#707070", "#b00020"


def draw_contact_sheet(findings: Sequence[Finding], root: Path) -> Image.Image | None:
    """Draw one line for each group of duplicates, and lines of single files.

    Args:
        findings: The findings.
        root: The folder that their paths are relative to.

    Returns:
        An RGB image; None if there is nothing to draw.
    """
    lines = [
        line for code in _SHOWN for finding in findings if finding.code == code for line in _lines(finding)
    ]
    if not lines:
        return None
    font = load_font()
    step_x, step_y = _CELL + _GAP, 2 * _LINE + _CELL + 2 * _GAP
    sheet = Image.new("RGB", (_GAP + _COLUMNS * step_x, _GAP + len(lines) * step_y), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for line, (title, cells) in enumerate(lines):
        top = _GAP + line * step_y
        pen.text((_GAP, top), fit_text(title, sheet.width - 2 * _GAP, font), _INK, font)
        for column, path in enumerate(cells):
            left = _GAP + column * step_x
            _draw_cell(sheet, pen, (left, top + _LINE), root / path, font)
            pen.text((left, top + _LINE + _CELL + 2), fit_text(path, _CELL, font), _FAINT, font)
    return sheet


def _lines(finding: Finding) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (title, paths) of the lines of a finding."""
    if all(len(item.paths) == 1 for item in finding.items):
        singles = finding.items[: _MOST_LINES_EACH * _COLUMNS]
        for start in range(0, len(singles), _COLUMNS):
            part = singles[start : start + _COLUMNS]
            yield f"{finding.code}: {finding.what}", tuple(item.paths[0] for item in part)
        return
    for item in finding.items[:_MOST_LINES_EACH]:
        yield _title(finding, item), item.paths[:_COLUMNS]


def _title(finding: Finding, item: Item) -> str:
    more = len(item.paths) - _COLUMNS
    return f"{finding.code}: {item.detail}" + (f" (and {more:,} more)" if more > 0 else "")


def _draw_cell(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, at: tuple[int, int], file: Path, font: Font
) -> None:
    left, top = at
    try:
        pixels = decode_in_worker(file, DecodeSettings(_CELL, _CELL, resize="pad")).pixels
    except UndecodableImage as error:
        pen.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), outline=_BAD)
        words = error.reason.split(" ")
        for line in range(6):
            text = " ".join(words[3 * line : 3 * line + 3])
            pen.text((left + 6, top + 6 + line * _LINE), fit_text(text, _CELL - 12, font), _BAD, font)
        return
    sheet.paste(Image.fromarray(pixels), (left, top))
