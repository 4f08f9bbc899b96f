"""Text from outside, made safe to show: file names and class names may hold anything a file system allows."""

from __future__ import annotations

import unicodedata

__all__ = ["from_cell", "printable", "to_cell"]

# Control, format (bidirectional overrides among them), surrogate, private and unassigned characters, and the
# separators that end a line.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# What a spreadsheet takes for a formula when it stands first in a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# Joins the parts of one emoji; harmless where it stands between two symbols.
_ZERO_WIDTH_JOINER = "\u200d"


def printable(text: str) -> str:
    r"""Return the text with every character that could move the cursor, colour or hide text escaped.

    Bytes of a file name that are no UTF-8 (Python's surrogate escapes) become `\xNN`.
    """
    return "".join(map(_printable_character, text))


def to_cell(text: str) -> str:
    """Return the text as a cell of CSV that no spreadsheet computes: a file may be called `=HYPERLINK(…).jpg`."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def from_cell(cell: str) -> str:
    """Return the text that `to_cell` made the cell of."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def _printable_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character != _ZERO_WIDTH_JOINER and unicodedata.category(character) in _HIDDEN:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
