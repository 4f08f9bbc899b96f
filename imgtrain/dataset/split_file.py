"""The CSV file that assigns images to splits."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imgtrain.dataset.csv_table import CsvRow, CsvTable, RowProblems, read_csv_table
from imgtrain.dataset.listed_images import ListedImage, ListedSplits, gather_images
from imgtrain.errors import DataError, Problem, did_you_mean

__all__ = ["ClassSource", "parse_split", "read_split_file"]

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class ClassSource:
    """Where the classes of images come from that a split file lists without a class.

    Attributes:
        name: For errors, such as `its folder`.
        classes_of: Returns the class of each of some files, given by absolute path; None if it has none.
    """

    name: str
    classes_of: Callable[[Sequence[str]], Sequence[str | None]]


def read_split_file(
    path: Path,
    *,
    folders: Sequence[Path],
    class_names: Sequence[str] | None,
    class_source: ClassSource,
    where: str,
    hint: str = "",
) -> ListedSplits:
    """Read the columns `path`, `split` and optionally `class`.

    Relative paths are resolved against the first of `folders`, the training folder, and then against the folder of
    the CSV file.

    Args:
        path: The CSV file, UTF-8.
        folders: The training folder and the other configured folders.
        class_names: In label order; None uses the sorted classes of the training rows.
        class_source: The classes of images without one in the column `class`.
        where: The configuration key to show in errors.
        hint: To show if the file cannot be read.

    Raises:
        DataError: With all invalid rows and their lines.
    """
    table = read_csv_table(path, where=where)
    if not {"path", "split"} <= set(table.header):
        what = f"{path} must have the columns path, split and optionally class; its first line is"
        raise DataError(Problem(where, f"{what} {','.join(table.header)!r}"))
    problems = RowProblems(path)
    images = _without_duplicates(_read_rows(table, folders, problems), problems)
    images = _with_classes(images, class_source, problems)
    if not images:
        problems.raise_all()
        raise DataError(Problem(where, f"{path} contains no rows"))
    return gather_images(images, folders=folders, class_names=class_names, problems=problems)


def parse_split(text: str) -> str | None:
    """Return `train`, `validation` or `test` for the name of a split in a CSV file, otherwise None."""
    return _SPLITS.get(text.lower())


def _read_rows(table: CsvTable, folders: Sequence[Path], problems: RowProblems) -> list[ListedImage]:
    """Return the valid rows, with an empty class if it is not given; adds the problems of the others."""
    places = {name: table.header.index(name) for name in ("path", "split", "class") if name in table.header}
    images = []
    for row in table.rows:
        given, split, class_name = (
            row.values[places[name]] if name in places else "" for name in ("path", "split", "class")
        )
        if len(row.values) > len(table.header) or not given or not split:
            problems.add(row.line, "must have one value per column; got " + _shown(row))
            continue
        name = parse_split(split)
        if name is None:
            hint = did_you_mean(split, ["train", "validation", "test"])
            problems.add(row.line, f"split must be train, validation or test; got {split!r}", hint)
        found = _look_up(given, (folders[0], table.path.parent))
        if found is None:
            problems.add(row.line, f"file {given} not found below data.train or next to the CSV file")
        elif name is not None:
            file, status = found
            images.append(
                ListedImage(row.line, given, file, status.st_size, status.st_mtime_ns, name, class_name)
            )
    return images


def _shown(row: CsvRow) -> str:
    return ",".join(row.values).rstrip(",")


def _without_duplicates(images: Sequence[ListedImage], problems: RowProblems) -> list[ListedImage]:
    first: dict[str, ListedImage] = {}
    for image in images:
        if image.file in first:
            earlier = first[image.file].line
            problems.add(image.line, f"duplicate path {image.given}, first in line {earlier}")
        else:
            first[image.file] = image
    return list(first.values())


def _with_classes(
    images: Sequence[ListedImage], source: ClassSource, problems: RowProblems
) -> list[ListedImage]:
    without = [image.file for image in images if not image.class_name]
    inferred = dict(zip(without, source.classes_of(without) if without else (), strict=True))
    complete = []
    for image in images:
        class_name = image.class_name or inferred[image.file]
        if class_name:
            complete.append(replace(image, class_name=class_name))
        else:
            what = f"cannot infer the class of {image.given} from {source.name}"
            problems.add(image.line, what, "add the column `class`")
    return complete


def _look_up(given: str, bases: Sequence[Path]) -> tuple[str, os.stat_result] | None:
    for base in bases:
        file = os.path.abspath(os.path.join(base, given))  # noqa: PTH100, PTH118 (once per image)
        try:
            if os.path.isfile(file):  # noqa: PTH113
                return file, os.stat(file)  # noqa: PTH116
        except (OSError, ValueError):
            continue
    return None
