"""Which columns of a CSV file contain paths, labels and splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgtrain.dataset.csv_table import CsvTable
from imgtrain.dataset.layout import format_names, split_of_name
from imgtrain.errors import DataError, Problem, did_you_mean

if TYPE_CHECKING:
    from imgtrain.config.schema import LabelsConfig

__all__ = ["LabelColumns", "choose_columns"]

# Common names, most likely first, in lower case with `_` for spaces and hyphens.
_PATH_NAMES = (
    "path", "filepath", "file_path", "image_path", "img_path", "filename", "file_name", "file", "image_file", "image",
    "img", "image_name", "img_name", "image_id", "img_id", "id_code", "imageid", "id", "name",
)  # fmt: skip
_LABEL_NAMES = (
    "label", "labels", "class", "classname", "class_name", "class_label", "category", "target", "diagnosis", "dx",
    "species", "breed", "variety", "disease", "level", "grade", "tag", "y",
)  # fmt: skip
_SPLIT_NAMES = ("split", "set", "subset", "partition", "dataset", "usage", "fold")
_SAMPLED_ROWS = 200


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The names of the columns; `split` is None without one. `guessed` if one of them was not given."""

    path: str
    label: str
    split: str | None
    guessed: bool

    def __str__(self) -> str:
        split = f", splits from column {self.split!r}" if self.split else ""
        return f"paths from column {self.path!r}, labels from column {self.label!r}{split}"


def choose_columns(
    table: CsvTable, labels: LabelsConfig, *, is_image: Callable[[str], bool], where: str
) -> LabelColumns:
    """Return the given columns, and guess the others by their contents and names.

    Paths are in the column with most names of images; labels in the only other column, or in one with a common name.
    A column with a common name is the split if all its values are names of splits.

    Args:
        table: The CSV file.
        labels: The configuration.
        is_image: Whether a path is that of an image.
        where: The configuration key to show in errors.

    Raises:
        DataError: A given column is missing, or columns cannot be guessed.
    """
    _check_header(table, labels, is_image=is_image, where=where)
    # pandas writes its index as a column without a name.
    free = [name for name in table.header if name and name not in (labels.path, labels.label, labels.split)]
    path = labels.path or _guess_path(table, free, is_image)
    free = [name for name in free if name != path]
    split = labels.split or _guess_split(table, free)
    free = [name for name in free if name != split]
    label = labels.label or _named(free, _LABEL_NAMES) or (free[0] if len(free) == 1 else None)
    if path is None or label is None:
        missing = " and ".join(
            noun for noun, column in (("the paths", path), ("the labels", label)) if column is None
        )
        raise DataError(
            Problem(
                where,
                f"{table.path}: cannot guess which column contains {missing}; the columns are"
                f" {format_names([name for name in table.header if name], 20)}",
                f"name them: `labels: {{file: {table.path.name}, path: {path or 'COLUMN'},"
                f" label: {label or 'COLUMN'}}}`",
            )
        )
    return LabelColumns(path, label, split, guessed=not (labels.path and labels.label))


def _check_header(
    table: CsvTable, labels: LabelsConfig, *, is_image: Callable[[str], bool], where: str
) -> None:
    if not table.rows:
        raise DataError(Problem(where, f"{table.path} contains no rows"))
    problems = []
    if repeated := sorted({name for name in table.header if name and table.header.count(name) > 1}):
        problems.append(Problem(where, f"{table.path} has several columns named {format_names(repeated)}"))
    for key in ("path", "label", "split"):
        name = getattr(labels, key)
        if name is not None and name not in table.header:
            what = f"{table.path} has no column {name!r}; its first line is {','.join(table.header)!r}"
            problems.append(Problem(f"{where}.{key}", what, did_you_mean(name, table.header)))
    unknown = [name for name in table.header if _plain(name) not in (*_PATH_NAMES, *_LABEL_NAMES)]
    if not problems and not (labels.path and labels.label) and any(map(is_image, unknown)):
        what = f"{table.path} has no header: its first line, {','.join(table.header)!r}, names an image"
        problems.append(Problem(where, what, "add a first line with the column names: filename,label"))
    if problems:
        raise DataError(problems)


def _guess_path(table: CsvTable, free: Sequence[str], is_image: Callable[[str], bool]) -> str | None:
    step = max(1, len(table.rows) // _SAMPLED_ROWS)
    # Distinct ones: with the files 0.png and 1.png, a column of labels can also name images.
    counts = {name: sum(map(is_image, set(table.column(name)[::step]))) for name in free}
    best = max(counts.values(), default=0)
    likely = [name for name in free if counts[name] == best]
    return _named(likely, _PATH_NAMES) or (likely[0] if best else None)


def _guess_split(table: CsvTable, free: Sequence[str]) -> str | None:
    name = _named(free, _SPLIT_NAMES)
    if name is None:
        return None
    # A column of this name with other values is reported row by row.
    return name if _plain(name) == "split" or all(map(split_of_name, table.column(name))) else None


def _named(names: Sequence[str], common: Sequence[str]) -> str | None:
    """Return the name that comes first among the common ones; None if there is none."""
    known = [name for name in names if _plain(name) in common]
    return min(known, key=lambda name: common.index(_plain(name)), default=None)


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")
