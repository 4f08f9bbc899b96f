"""Find the data set in a folder or behind a CSV file: class folders, nested folders, a CSV file or file names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgtrain.config.load import parse_config
from imgtrain.config.schema import Config, LabelsConfig
from imgtrain.dataset.csv_table import read_csv_table
from imgtrain.dataset.find_files import FileFinder
from imgtrain.dataset.folder_tree import FolderTree
from imgtrain.dataset.label_columns import choose_columns
from imgtrain.dataset.layout import (
    count,
    find_class_roots,
    find_folder_problem,
    format_names,
    split_of_name,
)
from imgtrain.dataset.split import Splits, split_data
from imgtrain.dataset.walk import list_folder, list_tree
from imgtrain.errors import DataError, ImgtrainError, Problem

__all__ = ["Layout", "find_layout", "is_label_file"]

_SAMPLED_ROWS = 200
_MOST_BASES = 20
# `cat.0.jpg`, `american_bulldog_12.jpg`, `cat (3).jpg`; then `0001_cat.jpg`.
_NAME_PATTERNS = (
    r"([^/]*[^\W\d_][^/]*?)[-_. ]*\(?\d+\)?\.\w+$",
    r"(?:^|/)\d+[-_. ]+([^\W\d_][^/]*?)\.\w+$",
)
_FEWEST_IMAGES_PER_LABEL = 2
_MOST_LABELS_SPELLED_OUT = 10


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A data set that was found.

    Attributes:
        data: The keys of the section `data` that describe it; paths are absolute.
        config: The configuration with these keys.
        splits: Its images.
        remarks: Other ways to read it, as comments for a configuration.
    """

    data: Mapping[str, Any]
    config: Config
    splits: Splits
    remarks: tuple[str, ...] = ()


def is_label_file(path: Path) -> bool:
    """Return whether this is the name of a file that can contain labels."""
    return path.suffix.lower() in {".csv", ".tsv"} and path.is_file()


def find_layout(source: Path) -> Layout:
    """Return the data set in a folder, or the one that a CSV file labels.

    Folders named like training folders come first, then class folders, then nested class folders, then a CSV file in or
    beside a folder of images, then labels in their names.

    Args:
        source: Absolute.

    Raises:
        DataError: None was found, or several.
    """
    if is_label_file(source):
        return _open(_data_of_label_file(source, _bases(source.parent)))
    if reason := find_folder_problem(source):
        raise DataError(Problem("", *reason))
    tree = FolderTree(source)
    root = _choose_root(source, tree)
    data: dict[str, Any] = {"train": root}
    remarks: list[str] = []
    images = _folder_of_images(root, tree)
    if images is not None and (found := _open_flat(source, images, tree)):
        return found
    if tree.is_nested(root):
        data["nested"] = "leaf"
        names = [folder.name for folder in tree.children(root)]
        remarks.append(f"nested: true  # instead, the classes are the first folders: {format_names(names)}")
    elif tree.is_mixed(root):
        data["nested"] = True
        remarks.append("nested: leaf  # instead, every deepest folder is a class")
    data |= _siblings(source, root, tree)
    remarks += [
        f"{file.name} also labels images: `imgtrain init {os.path.relpath(file)}` uses it instead of the folders"
        for file in _label_files(source, root)
    ]
    return _open(data, remarks)


def _open(data: Mapping[str, Any], remarks: Sequence[str] = ()) -> Layout:
    try:
        config = parse_config({"data": data})
        splits = split_data(config)
    except ImgtrainError as error:
        # Errors cannot name configuration keys yet.
        raise DataError(
            Problem("" if problem.where.startswith("data.") else problem.where, problem.what, problem.hint)
            for problem in error.problems
        ) from None
    return Layout(data, config, splits, tuple(remarks))


def _choose_root(source: Path, tree: FolderTree) -> Path:
    """Return the folder to train on."""
    named = [
        folder
        for folder in tree.listings
        if split_of_name(folder.name) == "train" and tree.images_below(folder)
    ]
    if named:
        depth = min(len(folder.parts) for folder in named)
        candidates = [folder for folder in named if len(folder.parts) == depth]
        if len(candidates) > 1:
            raise _several(source, [_describe_root(folder, tree) for folder in candidates])
        return tree.descend(candidates[0])
    root = tree.descend(source)
    roots = find_class_roots(source, tree.listings)
    if tree.is_nested(root) and root not in [found.path for found in roots]:
        others = [found for found in roots if found.split is None] or roots
        depth = min((len(found.path.parts) for found in others), default=0)
        others = [found for found in others if len(found.path.parts) == depth]
        if tree.has_repeated_leaves(root) and len(others) > 1:
            raise _several(source, [str(found) for found in others])
    return root


def _describe_root(folder: Path, tree: FolderTree) -> str:
    found = next((found for found in find_class_roots(folder, tree.listings) if found.path == folder), None)
    return str(found or f"{folder} ({count(tree.images_below(folder), 'image')})")


def _several(source: Path, listed: Sequence[str]) -> DataError:
    what = f"{source} contains several possible training folders: {'; '.join(listed[:5])}"
    return DataError(Problem("", what, "give one of them"))


def _siblings(source: Path, root: Path, tree: FolderTree) -> dict[str, Path]:
    """Return the validation and test folders beside the training folder, by split."""
    named = next((folder for folder in (root, *root.parents) if split_of_name(folder.name) == "train"), root)
    found: dict[str, Path] = {}
    if named != source and named.is_relative_to(source):
        for folder in tree.children(named.parent):
            split = split_of_name(folder.name)
            if split in ("validation", "test"):
                found.setdefault(split, tree.descend(folder))
    return found


def _folder_of_images(root: Path, tree: FolderTree) -> Path | None:
    """Return the folder whose images may have labels elsewhere: the root, or its only subfolder."""
    if tree.is_flat(root):
        return root
    children = tree.children(root)
    only = len(children) == 1 and not tree.listings[root].images
    return children[0] if only and tree.is_flat(children[0]) else None


def _open_flat(source: Path, root: Path, tree: FolderTree) -> Layout | None:
    """Return the data set of a folder of images whose labels are in a CSV file or in their names; None without."""
    siblings = _siblings(source, root, tree)
    files = _label_files(source, root)
    if len(files) > 1:
        names = format_names([str(file) for file in files])
        what = f"{root} contains no class folders, and several CSV files label its images: {names}"
        raise DataError(Problem("", what, f"give one of them: imgtrain init {files[0]}"))
    if files:
        return _open(_data_of_label_file(files[0], [root], siblings))
    paths = [image.path for image in tree.listings[root].images]
    for pattern in _NAME_PATTERNS:
        if labels := _labels_in_names(pattern, paths):
            data: dict[str, Any] = {"train": root, "label_pattern": _spell_out(pattern, labels, paths)}
            try:
                return _open(data | siblings)
            except DataError:
                return _open(data)  # test images often have no labels in their names
    return None


def _labels_in_names(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the labels if nearly all names contain one of a few that differ in more than a number; else none."""
    labels = Counter(match[1] for name in names if (match := re.search(pattern, name)))
    few = len(labels) * _FEWEST_IMAGES_PER_LABEL <= len(names)
    words = {re.sub(r"[\d\W_]+", "", label).lower() for label in labels}
    good = len(words) == len(labels) >= 2 and few and labels.total() >= 0.95 * len(names)
    return sorted(labels) if good else []


def _spell_out(pattern: str, labels: Sequence[str], names: Sequence[str]) -> str:
    r"""Return a readable expression such as `(cat|dog)\.\d+` if it finds the same labels, otherwise the pattern."""
    if len(labels) <= _MOST_LABELS_SPELLED_OUT:
        words = "|".join(map(re.escape, labels))
        found = [match and match[1] for match in (re.search(pattern, name) for name in names)]
        for separator in ("", r"\.", "_", "-", " ", r"[-_. ]*"):
            spelled = rf"({words}){separator}\d+"
            if found == [match and match[1] for match in (re.search(spelled, name) for name in names)]:
                return spelled
    return pattern


def _bases(folder: Path) -> list[Path]:
    """Return the folders with images in and below the folder of a CSV file, in which it may name files."""
    tree = list_tree(folder)
    with_images = [path for path, listing in tree.items() if listing.images]
    return list(dict.fromkeys([folder, *with_images]))[:_MOST_BASES]


def _label_files(source: Path, root: Path) -> list[Path]:
    """Return the CSV files in and beside the folders that label most of the images that they name."""
    places = [source, root, *([root.parent] if root != source or _has_images(root) else [])]
    found = []
    for place in dict.fromkeys(places):
        with suppress(OSError):
            files = [place / name for name in list_folder(place).strays]
            found += [file for file in files if is_label_file(file) and _labels_images(file, root)]
    return found


def _has_images(folder: Path) -> bool:
    return bool(list_folder(folder).images)


def _labels_images(file: Path, root: Path) -> bool:
    try:
        table = read_csv_table(file, where="")
        finder = FileFinder([root], file.parent)
        columns = choose_columns(
            table, LabelsConfig(file=file), is_image=lambda text: bool(finder.find(text)), where=""
        )
    except DataError:
        return False
    rows = table.rows[:: max(1, len(table.rows) // _SAMPLED_ROWS)]
    path, label = table.header.index(columns.path), table.header.index(columns.label)
    named = sum(bool(finder.find(row.values[path])) for row in rows)
    labels = {row.values[label] for row in table.rows}
    return 2 * named >= len(rows) and 2 <= len(labels) <= max(2, len(table.rows) // 2)


def _data_of_label_file(
    file: Path, bases: Sequence[Path], siblings: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Return the keys for a CSV file whose images are in one of some folders."""
    table = read_csv_table(file, where="")
    finder = FileFinder([file.parent, *bases], file.parent)
    columns = choose_columns(
        table, LabelsConfig(file=file), is_image=lambda text: bool(finder.find(text)), where=""
    )
    labels: dict[str, Any] = {"file": file, "path": columns.path, "label": columns.label}
    if columns.split is not None:
        labels["split"] = columns.split
    position = table.header.index(columns.path)
    sample = [row.values[position] for row in table.rows[:: max(1, len(table.rows) // _SAMPLED_ROWS)]]
    base = max(
        bases, key=lambda base: (_count_found(file, base, sample), split_of_name(base.name) == "train")
    )
    chosen = FileFinder([base], file.parent)
    images = [image.path for given in sample for image in chosen.find(given)[:1]]
    if images:
        # Not the folder of the CSV file, if all of its paths begin with the same folder.
        common = Path(os.path.commonpath([os.path.dirname(path) for path in images]))  # noqa: PTH120
        base = common if common.is_relative_to(base) else base
    data: dict[str, Any] = {"train": base, "labels": labels}
    if columns.split is None and siblings:
        labelled = [found[0].path for given in sample if len(found := finder.find(given)) == 1]
        data |= {
            split: folder
            for split, folder in siblings.items()
            if any(path.startswith(f"{folder}{os.sep}") for path in labelled)
        }
    return data


def _count_found(file: Path, base: Path, sample: Sequence[str]) -> int:
    finder = FileFinder([base], file.parent)
    return sum(len(finder.find(given)) == 1 for given in sample)
