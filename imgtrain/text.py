"""Format text: escape file and class names, which can contain any character; readable sizes and times."""

from __future__ import annotations

import unicodedata

__all__ = ["format_bytes", "format_minutes", "from_cell", "printable", "to_cell"]

# Control, format (bidirectional overrides among them), surrogate, private and unassigned characters, and the
# separators that end a line.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# First characters of cells that spreadsheets interpret as formulas.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# Joins the parts of an emoji; harmless between two symbols.
_ZERO_WIDTH_JOINER = "\u200d"
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def printable(text: str) -> str:
    r"""Return the text with all characters escaped that could move the cursor, color or hide text.

    Bytes of file names that are not valid UTF-8 (Python's surrogate escapes) become `\xNN`.
    """
    return "".join(map(_printable_character, text))


def to_cell(text: str) -> str:
    """Return the text as a CSV cell that spreadsheets don't interpret as a formula, such as `=HYPERLINK(…).jpg`."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def from_cell(cell: str) -> str:
    """Return the original text of a cell made by `to_cell`."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def format_bytes(count: int) -> str:
    """Return a size in the largest binary unit that leaves a number of at least 1: `1023 bytes`, `8.0 GiB`."""
    power = min((max(count, 1).bit_length() - 1) // 10, len(_UNITS))
    return f"{count / 1024**power:,.1f} {_UNITS[power - 1]}" if power else f"{count} bytes"


def format_minutes(minutes: float) -> str:
    """Return `1 minute` or `2.5 minutes`."""
    return f"{minutes:g} {'minute' if minutes == 1 else 'minutes'}"


def _printable_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character != _ZERO_WIDTH_JOINER and unicodedata.category(character) in _HIDDEN:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
