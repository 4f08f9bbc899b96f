"""The CSV file that labels the images, and optionally assigns them to splits (`data.labels`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imgtrain.dataset.csv_table import CsvTable, RowProblems, read_csv_table
from imgtrain.dataset.find_files import FileFinder
from imgtrain.dataset.label_columns import LabelColumns, choose_columns
from imgtrain.dataset.layout import count, format_names, split_of_name
from imgtrain.dataset.listed_images import ListedImage, ListedSplits, gather_images
from imgtrain.errors import DataError, Problem, did_you_mean

if TYPE_CHECKING:
    from imgtrain.config.schema import LabelsConfig

__all__ = ["LabelledFiles", "index_labelled_files", "read_labels"]


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """The images that a CSV file labels.

    Attributes:
        images: One per file, in the order of the rows.
        columns: The columns used.
        unlabelled: Absolute paths of the images without a row.
        missing: The paths of rows without a file; empty unless they are skipped.
        repeated: Number of rows that repeat an earlier one.
    """

    images: tuple[ListedImage, ...]
    columns: LabelColumns
    unlabelled: tuple[str, ...]
    missing: tuple[str, ...]
    repeated: int


def index_labelled_files(
    labels: LabelsConfig,
    *,
    folders: Mapping[str, Path],
    class_names: Sequence[str] | None,
    follow_links: bool,
    skip_missing: bool,
    where: str,
    hint: str = "",
    notes: list[str],
) -> ListedSplits:
    """Return the labelled images as one folder, with the indices of each split.

    Args:
        labels: The configuration of the CSV file.
        folders: The configured folders, absolute, by split; without a column of splits, the images of a folder
            belong to its split.
        class_names: In label order; None uses the sorted classes of the training images.
        follow_links: Whether to follow symbolic links to folders.
        skip_missing: Whether rows without a file are ignored.
        where: The configuration key to show in errors.
        hint: To show if the CSV file cannot be read.
        notes: How the file was read is added, to show.

    Raises:
        DataError: With all invalid rows and their lines.
    """
    problems = RowProblems(labels.file)
    found = read_labels(
        labels,
        folders=folders,
        follow_links=follow_links,
        skip_missing=skip_missing,
        where=where,
        hint=hint,
        problems=problems,
    )
    name = labels.file.name
    if not found.images:
        problems.raise_all()
        raise DataError(Problem(where, f"none of the files in {labels.file} exist"))
    if found.columns.guessed:
        notes.append(f"{name}: {found.columns}; name the columns in data.labels if this is wrong")
    if found.repeated:
        notes.append(f"{name}: {count(found.repeated, 'row')} repeated; each image is used once")
    if found.missing:
        rows = count(len(found.missing), "row")
        notes.append(f"{name}: {rows} without a file skipped: {format_names(found.missing)}")
    return gather_images(
        found.images,
        folders=list(folders.values()),
        class_names=class_names,
        problems=problems,
        ignored=dict.fromkeys(found.unlabelled, f"has no row in {name}"),
    )


def read_labels(
    labels: LabelsConfig,
    *,
    folders: Mapping[str, Path],
    follow_links: bool = False,
    skip_missing: bool = False,
    where: str,
    hint: str = "",
    problems: RowProblems,
) -> LabelledFiles:
    """Read the rows and find their files; the problems of rows are added to `problems`.

    Raises:
        DataError: The CSV file or a subfolder cannot be read, or has other columns.
    """
    table = read_csv_table(labels.file, where=where, hint=hint)
    finder = FileFinder(list(folders.values()), labels.file.parent, follow_links=follow_links)
    if finder.unreadable:
        raise DataError(Problem(path, f"cannot be read: {why}") for path, why in finder.unreadable.items())
    columns = choose_columns(table, labels, is_image=lambda text: bool(finder.find(text)), where=where)
    images: dict[str, ListedImage] = {}
    missing: list[str] = []
    repeated = 0
    for image in _read_rows(table, columns, folders, finder, problems, missing if skip_missing else None):
        first = images.setdefault(image.file, image)
        if (first.class_name, first.split) != (image.class_name, image.split):
            here, there = (image.class_name, first.class_name)
            if here == there:
                here, there = (image.split, first.split)
            what = f"{image.given} is {here!r}, but {there!r} in line {first.line}"
            problems.add(image.line, what, "keep one of the rows: an image has one label and one split")
        elif first is not image:
            repeated += 1
    unlabelled = tuple(path for path in finder.files if path not in images)
    return LabelledFiles(tuple(images.values()), columns, unlabelled, tuple(missing), repeated)


def _read_rows(
    table: CsvTable,
    columns: LabelColumns,
    folders: Mapping[str, Path],
    finder: FileFinder,
    problems: RowProblems,
    missing: list[str] | None,
) -> list[ListedImage]:
    """Return the valid rows; rows without a file are problems, or added to `missing` if it is given."""
    position = {name: index for index, name in enumerate(table.header)}
    images = []
    for row in table.rows:
        if len(row.values) > len(table.header):
            problems.add(row.line, "must have one value per column; got " + ",".join(row.values))
            continue
        given, label = row.values[position[columns.path]], row.values[position[columns.label]]
        split = split_of_name(text := row.values[position[columns.split]]) if columns.split else None
        if columns.split and split is None:
            hint = (
                did_you_mean(text, ["train", "validation", "test"]) or "or name another column in data.labels"
            )
            what = f"{columns.split} must be train, validation or test; got {text!r}"
            problems.add(row.line, what, hint)
        if not label:
            problems.add(row.line, f"has no label in column {columns.label!r}")
        if not given:
            problems.add(row.line, f"has no path in column {columns.path!r}")
            continue
        found = finder.find(given)
        if len(found) > 1 and split is not None and split in folders:
            found = [file for file in found if _is_inside(file.path, folders[split])] or found
        if len(found) > 1:
            names = format_names([file.path for file in found])
            hint = "write more of the path, relative to the CSV file"
            problems.add(row.line, f"{given} matches {count(len(found), 'file')}: {names}", hint)
        elif not found and missing is not None:
            missing.append(given)
        elif not found:
            what = f"file {given} not found below {_named_folders(folders)} or next to the CSV file"
            problems.add(row.line, what, finder.suggest(given))
        elif label and (split or not columns.split):
            ((path, size, mtime_ns),) = found
            split = split or _split_of_file(path, folders)
            images.append(ListedImage(row.line, given, path, size, mtime_ns, split, label))
    return images


def _named_folders(folders: Mapping[str, Path]) -> str:
    return ", ".join(f"data.{split}" for split in folders)


def _split_of_file(path: str, folders: Mapping[str, Path]) -> str:
    """Return the split of the deepest folder that contains the file; `train` for a file outside of them."""
    inside = [split for split, folder in folders.items() if _is_inside(path, folder)]
    return max(inside, key=lambda split: len(str(folders[split])), default="train")


def _is_inside(path: str, folder: Path) -> bool:
    return path.startswith(f"{folder}{os.sep}")
