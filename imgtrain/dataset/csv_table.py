"""Read a CSV file with a header, as spreadsheets and pandas write it, keeping the line number of every row."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from imgtrain.errors import DataError, Problem

__all__ = ["CsvRow", "CsvTable", "RowProblems", "read_csv_table"]

# Spreadsheets write semicolons where the comma is the decimal separator.
_DELIMITERS = (",", ";", "\t")
# A problem of one row often affects all rows.
_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row: its line number from 1, and its values without surrounding spaces.

    Missing values are empty, so there are at least as many values as columns.
    """

    line: int
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV file.

    Attributes:
        path: The file.
        header: The column names.
        rows: Without empty lines.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[CsvRow, ...]

    def column(self, name: str) -> list[str]:
        """Return the values of a column."""
        position = self.header.index(name)
        return [row.values[position] for row in self.rows]


class RowProblems:
    """Collects the problems of a file's rows, to raise all of them together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[int, Problem]] = []

    def add(self, line: int, what: str, hint: str = "") -> None:
        """Add a problem of a line."""
        self._found.append((line, Problem(f"{self._path}:{line}", what, hint.strip())))

    def raise_all(self) -> None:
        """Raise the first problems in the order of their lines, and how many more there are.

        Raises:
            DataError: There are problems.
        """
        problems = [problem for _, problem in sorted(self._found, key=lambda found: found[0])]
        if len(problems) > _MOST_PROBLEMS:
            more = len(problems) - _MOST_PROBLEMS
            problems[_MOST_PROBLEMS:] = [Problem(self._path, f"and {more:,} more invalid rows")]
        if problems:
            raise DataError(problems)


def read_csv_table(path: Path, *, where: str, hint: str = "") -> CsvTable:
    """Read a CSV file: UTF-8, with a header, separated by commas, semicolons or tabs.

    Args:
        path: The file.
        where: The configuration key to show in errors.
        hint: To show if the file cannot be read.

    Raises:
        DataError: It cannot be read, is not UTF-8, or is not a CSV file.
    """
    text = _read_text(path, where, hint)
    delimiter = _find_delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows: list[CsvRow] = []
    header: tuple[str, ...] = ()
    try:
        for cells in reader:
            if not any(cells):
                continue
            values = tuple(cell.strip() for cell in cells)
            if not header:
                header = values
            else:
                rows.append(CsvRow(reader.line_num, values + ("",) * (len(header) - len(values))))
    except csv.Error as error:
        raise DataError(Problem(where, f"{path} is not a CSV file: {error}")) from None
    return CsvTable(path, header, tuple(rows))


def _read_text(path: Path, where: str, hint: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(Problem(where, f"{path} cannot be read: {error.strerror}", hint)) from None
    try:
        # utf-8-sig, because spreadsheets write a byte order mark.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"{path} is not UTF-8 text: byte 0x{content[error.start]:02x} in line {line:,}"
        raise DataError(Problem(where, what, "save it as UTF-8")) from None


def _find_delimiter(text: str) -> str:
    header = text.split("\n", 1)[0]
    return max(_DELIMITERS, key=header.count)
