"""The CSV file that assigns images to splits."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.index import ImageFolder, make_image_folder
from imgtrain.dataset.layout import format_names, split_of_name
from imgtrain.dataset.walk import FoundFile
from imgtrain.errors import DataError, Problem, did_you_mean

__all__ = ["group_path", "read_split_file"]

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# A problem of one row often affects all rows.
_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    file: str
    size: int
    mtime_ns: int
    split: str
    class_name: str


def read_split_file(
    path: Path, *, folders: Sequence[Path], class_names: Sequence[str] | None, where: str, hint: str = ""
) -> tuple[ImageFolder, Mapping[str, NDArray[np.intp]]]:
    """Read the columns `path`, `split` and optionally `class`.

    Relative paths are resolved against the first of `folders`, the training folder, and then against the folder of
    the CSV file. Without the column `class`, the class is the first folder of the path below the one of `folders`
    that contains it, or below the CSV file's folder.

    Args:
        path: The CSV file, UTF-8.
        folders: The training folder and the other configured folders.
        class_names: In label order; None uses the sorted classes of the training rows.
        where: The configuration key to show in errors.
        hint: To show if the file cannot be read.

    Returns:
        All images as one folder, and the sorted image indices of each split, without empty splits.

    Raises:
        DataError: With all invalid rows and their lines.
    """
    problems: list[Problem] = []
    rows = _read_rows(path, folders, where, hint, problems)
    if class_names is None:
        class_names = sorted({row.class_name for row in rows if row.split == "train"})
    labels = {name: label for label, name in enumerate(class_names)}
    problems += [
        _problem(
            path,
            row.line,
            f"{row.class_name!r} is not one of the classes",
            f"{did_you_mean(row.class_name, class_names)} The classes are {format_names(class_names, 20)}",
        )
        for row in rows
        if row.class_name not in labels
    ]
    if len(problems) > _MOST_PROBLEMS:
        more = len(problems) - _MOST_PROBLEMS
        problems[_MOST_PROBLEMS:] = [Problem(path, f"and {more:,} more invalid rows")]
    if problems:
        raise DataError(problems)
    if not rows:
        raise DataError(Problem(where, f"{path} contains no rows"))
    root = _common_root([row.file for row in rows], folders)
    found = sorted(
        (labels[row.class_name], FoundFile(_relative(row.file, root), row.size, row.mtime_ns), row.split)
        for row in rows
    )
    folder = make_image_folder(root, class_names, [(label, file) for label, file, _ in found], {})
    group_paths = (group_path(str(folder.file(index)), folders, root) for index in range(len(folder)))
    folder = replace(folder, group_paths=tuple(group_paths))
    splits = np.array([split for _, _, split in found])
    by_split = {name: np.flatnonzero(splits == name) for name in ("train", "validation", "test")}
    return folder, {name: indices for name, indices in by_split.items() if len(indices)}


def group_path(file: str, folders: Sequence[Path], root: Path) -> str:
    """Return where `data.group_by` is searched: the path relative to the deepest of the folders that it lies in.

    Args:
        file: An image, absolute.
        folders: Those of the configuration, absolute.
        root: The folder that all images of the split file lie in, absolute.
    """
    return next(_below(file, [*folders, root]))


def _problem(path: Path, line: int, what: str, hint: str = "") -> Problem:
    return Problem(f"{path}:{line}", what, hint.strip())


def _read_rows(
    path: Path, folders: Sequence[Path], where: str, hint: str, problems: list[Problem]
) -> list[_Row]:
    rows: list[_Row] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            if not {"path", "split"} <= set(header):
                raise DataError(
                    Problem(
                        where,
                        f"{path} must have the columns path, split and optionally class; its first line is"
                        f" {','.join(header)!r}",
                    )
                )
            reader.fieldnames = header
            lines_of: dict[str, int] = {}
            for record in reader:
                row = _read_row(record, path, reader.line_num, folders, problems)
                if row is None:
                    continue
                if row.file in lines_of:
                    first = lines_of[row.file]
                    problems.append(
                        _problem(path, row.line, f"duplicate path {record['path']}, first in line {first}")
                    )
                    continue
                lines_of[row.file] = row.line
                rows.append(row)
    except OSError as error:
        raise DataError(Problem(where, f"{path} cannot be read: {error.strerror}", hint)) from None
    except UnicodeDecodeError:
        raise DataError(Problem(where, f"{path} is not UTF-8 text", "save it as UTF-8")) from None
    except csv.Error as error:
        raise DataError(Problem(where, f"{path} is not a CSV file: {error}")) from None
    return rows


def _read_row(
    record: Mapping[str | None, str | list[str] | None],
    path: Path,
    line: int,
    folders: Sequence[Path],
    problems: list[Problem],
) -> _Row | None:
    """Return the row; None if it is invalid, after adding its problems."""
    values = {name: value.strip() for name, value in record.items() if name and isinstance(value, str)}
    given, split, class_name = values.get("path"), values.get("split"), values.get("class")
    if None in record or not given or not split:
        problems.append(
            _problem(path, line, "must have one value per column; got " + ",".join(values.values()))
        )
        return None
    found = _look_up(given, path, folders)
    if split.lower() not in _SPLITS:
        hint = did_you_mean(split, ["train", "validation", "test"])
        problems.append(_problem(path, line, f"split must be train, validation or test; got {split!r}", hint))
    if found is None:
        problems.append(
            _problem(path, line, f"file {given} not found below data.train or next to the CSV file")
        )
    if found is None or split.lower() not in _SPLITS:
        return None
    file, status = found
    if not class_name:
        class_name = _class_by_folder(file, [*folders, path.parent])
        if class_name is None or split_of_name(class_name):
            problems.append(
                _problem(
                    path, line, f"cannot infer the class of {given} from its folder", "add the column `class`"
                )
            )
            return None
    return _Row(line, file, status.st_size, status.st_mtime_ns, _SPLITS[split.lower()], class_name)


def _look_up(given: str, path: Path, folders: Sequence[Path]) -> tuple[str, os.stat_result] | None:
    for base in (folders[0], path.parent):
        file = os.path.abspath(os.path.join(base, given))  # noqa: PTH100, PTH118 (once per image)
        try:
            if os.path.isfile(file):  # noqa: PTH113
                return file, os.stat(file)  # noqa: PTH116
        except (OSError, ValueError):
            continue
    return None


def _class_by_folder(file: str, folders: Sequence[Path]) -> str | None:
    return next((below.split("/", 1)[0] for below in _below(file, folders) if "/" in below), None)


def _below(file: str, folders: Sequence[Path]) -> Iterator[str]:
    """Yield the path relative to each of the folders that contain the file, deepest first."""
    # The CSV file is often in a parent of the others.
    for folder in sorted(folders, key=lambda folder: -len(str(folder))):
        below = _relative(file, folder)
        if not below.startswith("../"):
            yield below


def _relative(file: str, root: Path) -> str:
    return os.path.relpath(file, root).replace(os.sep, "/")


def _common_root(files: Sequence[str], folders: Sequence[Path]) -> Path:
    common = os.path.commonpath([os.path.dirname(file) for file in files])  # noqa: PTH120
    train = str(folders[0])
    return Path(train) if os.path.commonpath([common, train]) == train else Path(common)
