"""Assign images to training, validation and test, by folders, `validation_split`, `labels` or `split_file`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.csv_table import RowProblems
from imgtrain.dataset.groups import assign_groups, match_groups
from imgtrain.dataset.imbalance import describe_imbalance
from imgtrain.dataset.index import (
    FOLDER_LINK,
    NESTED_IMAGE,
    ImageFolder,
    Nested,
    index_folder,
    read_only,
)
from imgtrain.dataset.label_pattern import index_by_pattern, match_labels
from imgtrain.dataset.labels_file import index_labelled_files, read_labels
from imgtrain.dataset.layout import (
    count,
    describe_only_class,
    find_folder_problem,
    format_names,
    split_of_name,
)
from imgtrain.dataset.listed_images import ListedSplits, group_path, paths_below
from imgtrain.dataset.split_file import ClassSource, read_split_file
from imgtrain.dataset.walk import NOT_AN_IMAGE
from imgtrain.errors import DataError, Problem, join_hints
from imgtrain.text import printable

if TYPE_CHECKING:
    from imgtrain.config.schema import Config

__all__ = [
    "Holdout",
    "Split",
    "Splits",
    "find_group_paths",
    "format_class_names",
    "split_data",
    "warn_about_ignored_files",
]

_HOW_TO_USE = {
    NESTED_IMAGE: "; set `data.nested: true` to use them",
    FOLDER_LINK: "; set `data.follow_links: true` to use them",
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Split:
    """The images of one split.

    Attributes:
        name: `train`, `validation` or `test`.
        folder: The folder of the images; splits can share a folder.
        indices: (n,) sorted, read-only indices of the images in `folder`.
    """

    name: str
    folder: ImageFolder
    indices: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        return printable(f"<Split {self.name}: {count(len(self), 'image')} in {self.folder.root}>")

    @property
    def labels(self) -> NDArray[np.int32]:
        """(n,) indices in `class_names`."""
        return self.folder.labels[self.indices]

    @property
    def paths(self) -> tuple[str, ...]:
        """Relative to the folder's root, with POSIX separators."""
        return tuple(self.folder.paths[index] for index in self.indices)

    @property
    def group_paths(self) -> tuple[str, ...]:
        """The paths in which `data.group_by` is searched: relative to the configured folder of each image."""
        return tuple(self.folder.group_paths[index] for index in self.indices)

    @property
    def class_names(self) -> tuple[str, ...]:
        """In label order; the same in every split."""
        return self.folder.class_names

    def counts(self) -> NDArray[np.int64]:
        """Return the number of images of each class, in label order, shape (classes,)."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)

    def without(self, indices: Iterable[int] | NDArray[np.integer]) -> Split:
        """Return the split without the images with these indices in `folder`; unknown indices are ignored."""
        gone = np.fromiter((int(index) for index in indices), np.intp)
        return Split(self.name, self.folder, read_only(np.setdiff1d(self.indices, gone)))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Holdout:
    """How to draw validation images from the training images.

    Attributes:
        share: Fraction of every class, 0 < fraction < 1.
        seed: Random seed; the draw only depends on it and the images.
        groups: (n,) group of each training image; groups are not split. None without groups.
        where: The configuration key to show in errors.
    """

    share: float
    seed: int
    groups: NDArray[np.intp] | None
    where: str

    def __repr__(self) -> str:
        return f"<Holdout: {self.share:.0%} of every class, seed {self.seed}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Splits:
    """The splits, all with the same classes in the same order.

    Attributes:
        train: The training images; never empty. All images of `data.train` until validation images are drawn.
        validation: None without a folder, `validation_split` or split file, and until it is drawn.
        test: None without a folder or split file.
        holdout: How `draw_validation` draws the validation images, which needs decoded pixels; kept afterwards.
            None without `validation_split`.
        warnings: Warnings to show.
        notes: How the file of `data.labels` was read, to show.
    """

    train: Split
    validation: Split | None
    test: Split | None
    holdout: Holdout | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Splits: {self.describe()}>"

    def describe(self) -> str:
        """Return the classes and the number of images of each split, on one line."""
        sizes = ", ".join(f"{split.name} {count(len(split), 'image')}" for split in self)
        if self.holdout is not None and self.validation is None:
            sizes += f" ({self.holdout.share:.0%} of them will be validation images)"
        return printable(f"{format_class_names(self.class_names)}; {sizes}")

    @property
    def validated(self) -> bool:
        """Whether there are validation images, or will be after drawing them."""
        return self.validation is not None or self.holdout is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """In label order."""
        return self.train.class_names

    def __iter__(self) -> Iterator[Split]:
        """Iterate over the existing splits: train, validation, test."""
        return (split for split in (self.train, self.validation, self.test) if split is not None)

    @property
    def folders(self) -> tuple[ImageFolder, ...]:
        """The folders of the images without duplicates; splits can share a folder."""
        return tuple(dict.fromkeys(split.folder for split in self))


def split_data(config: Config) -> Splits:
    """List the images and assign them to splits, without opening the files.

    With `validation_split`, the validation images remain in the training images until `draw_validation` moves them,
    which requires knowing which images have identical pixels.

    Raises:
        DataError: With all problems of folders, classes, the split file, groups and empty splits.
    """
    warnings: list[str] = []
    notes: list[str] = []
    if config.data.split_file is not None:
        splits = _from_split_file(config)
    elif config.data.labels is not None:
        splits = _from_labels(config, notes)
    else:
        splits = _from_folders(config)
    problems = _check_classes(config, splits, warnings)
    holdout = None
    if not problems and config.data.validation_split is not None:
        if "validation" in splits:
            source = "data.split_file" if config.data.split_file else "data.labels"
            warnings.append(f"data.validation_split is ignored, because {source} contains validation images")
        else:
            holdout = _plan_holdout(config, splits["train"], config.data.validation_split, problems)
    if problems:
        raise DataError(problems)
    _warn_about_shared_groups(config, splits, warnings)
    if config.training.class_weight is None and config.data.balance is None:
        imbalance = describe_imbalance(splits["train"].class_names, splits["train"].counts())
        warnings += [imbalance] if imbalance else []
    result = Splits(
        splits["train"], splits.get("validation"), splits.get("test"), holdout, notes=tuple(notes)
    )
    return replace(result, warnings=(*warnings, *warn_about_ignored_files(result.folders)))


def find_group_paths(config: Config, root: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the `group_paths` of images by their paths alone, as a run's `data.json` has them.

    Args:
        config: The configuration that the images were split with.
        root: The folder that the paths are relative to, absolute.
        paths: Relative, with POSIX separators.
    """
    if config.data.split_file is None and config.data.labels is None:
        return tuple(paths)
    folders = list(_folders(config).values())
    return tuple(group_path(str(root / path), folders, root) for path in paths)


def _folders(config: Config) -> dict[str, Path]:
    """Return the configured folders by split, absolute; the training folder first."""
    given = {name: getattr(config.data, name) for name in ("train", "validation", "test")}
    return {name: _absolute(path) for name, path in given.items() if path is not None}


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would replace links)


def _whole(name: str, folder: ImageFolder) -> Split:
    return Split(name, folder, read_only(np.arange(len(folder), dtype=np.intp)))


def _check_folders(config: Config) -> list[Problem]:
    """Return why configured folders cannot be read."""
    problems = []
    for name, path in _folders(config).items():
        if reason := find_folder_problem(path):
            what, hint = reason
            hint = join_hints(hint, config.relative_path("data", name))
            problems.append(Problem(config.where("data", name), what, hint))
    return problems


def _from_folders(config: Config) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    problems = _check_folders(config)
    missing = {problem.where for problem in problems}
    for name, path in _folders(config).items():
        where = config.where("data", name)
        if where in missing:
            continue
        if name != "train" and "train" not in splits:
            continue  # The classes are unknown if the training folder is invalid.
        class_names = config.data.classes if name == "train" else splits["train"].class_names
        try:
            splits[name] = _whole(name, _index(config, path, class_names, where))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return splits


def _index(config: Config, path: Path, class_names: Sequence[str] | None, where: str) -> ImageFolder:
    data = config.data
    if data.label_pattern is not None:
        return index_by_pattern(
            path,
            data.label_pattern,
            class_names=class_names,
            follow_links=data.follow_links,
            where=where,
        )
    return index_folder(
        path, class_names=class_names, nested=data.nested, follow_links=data.follow_links, where=where
    )


def _from_labels(config: Config, notes: list[str]) -> dict[str, Split]:
    data, folders = config.data, _folders(config)
    assert data.label_file is not None
    where = config.where("data", "labels")
    if problems := _check_folders(config):
        raise DataError(problems)
    splits = _listed(
        index_labelled_files(
            data.label_file,
            folders=folders,
            class_names=data.classes,
            follow_links=data.follow_links,
            skip_missing=data.on_bad_image == "skip",
            where=where,
            hint=config.relative_path("data", "labels", "file") or config.relative_path("data", "labels"),
            notes=notes,
        )
    )
    if empty := [name for name in ("train", *folders) if name not in splits]:
        raise DataError(
            Problem(config.where("data", name), f"{data.label_file.file} labels no {name} images")
            for name in dict.fromkeys(empty)
        )
    return splits


def _from_split_file(config: Config) -> dict[str, Split]:
    data = config.data
    assert data.split_file is not None
    where = config.where("data", "split_file")
    splits = _listed(
        read_split_file(
            _absolute(data.split_file),
            folders=list(_folders(config).values()),
            class_names=data.classes,
            class_source=_class_source(config),
            where=where,
            hint=config.relative_path("data", "split_file"),
        )
    )
    if "train" not in splits:
        raise DataError(Problem(where, f"{data.split_file} contains no training images"))
    return splits


def _listed(listed: ListedSplits) -> dict[str, Split]:
    folder, by_split = listed
    return {name: Split(name, folder, read_only(indices)) for name, indices in by_split.items()}


def _class_source(config: Config) -> ClassSource:
    """Return where the classes of images come from that a split file lists without a class."""
    data, folders = config.data, _folders(config)
    assert data.split_file is not None
    known = [*folders.values(), _absolute(data.split_file).parent]
    where = config.where("data", "labels")
    if (label_file := data.label_file) is not None:

        def by_row(files: Sequence[str]) -> list[str | None]:
            problems = RowProblems(label_file.file)
            found = read_labels(label_file, folders=folders, where=where, problems=problems)
            problems.raise_all()
            classes = {image.file: image.class_name for image in found.images}
            return [classes.get(file) for file in files]

        return ClassSource("data.labels", by_row)
    if (expression := data.label_pattern) is not None:

        def by_pattern(files: Sequence[str]) -> list[str | None]:
            return match_labels([next(paths_below(file, known), file) for file in files], expression)

        return ClassSource("data.label_pattern", by_pattern)

    def by_folder(files: Sequence[str]) -> list[str | None]:
        classes = (
            next(
                (_class_folder(below, data.nested) for below in paths_below(file, known) if "/" in below),
                None,
            )
            for file in files
        )
        return [None if name is None or split_of_name(name) else name for name in classes]

    return ClassSource("its folder", by_folder)


def _class_folder(path: str, nested: Nested) -> str:
    """Return the class of an image by its path below a folder of class folders."""
    return path.rpartition("/")[0] if nested == "leaf" else path.partition("/")[0]


def _check_classes(config: Config, splits: dict[str, Split], warnings: list[str]) -> list[Problem]:
    train = splits["train"]
    names = train.class_names
    label_file = config.data.label_file
    labelled = label_file is not None and config.data.split_file is None
    source = label_file.file if label_file is not None and labelled else train.folder.root
    problems = []
    if config.data.class_mode == "binary" and len(names) != 2:
        problems.append(
            Problem(
                config.where("data", "class_mode"),
                f"binary requires exactly two classes, but {source} contains {len(names)}: "
                f"{format_names(names, 10)}",
                "use `class_mode: categorical`, or two classes (the second one is the positive class)",
            )
        )
    elif len(names) < 2:
        what, hint = describe_only_class(train.folder.root, names[0])
        if not config.data.has_class_folders:
            what = f"{source} contains only one class, {format_names(names)}"
            hint = "a classifier needs images of at least two classes"
        key = "labels" if labelled else "train"
        problems.append(Problem(config.where("data", key), what, hint))
    for split in splits.values():
        missing = [name for name, images in zip(names, split.counts(), strict=True) if not images]
        key = "split_file" if config.data.split_file else "labels" if labelled else split.name
        where = config.where("data", key)
        root = str(split.folder.root)
        if not len(split):
            problems.append(Problem(where, f"{root} contains no images of any class"))
        elif missing and split.name == "train":
            what = f"no training images of {format_class_names(missing)} in {root}"
            problems.append(Problem(where, what, "add images, or remove the name from `data.classes`"))
        elif missing:
            warnings.append(f"no {split.name} images of {format_class_names(missing)} in {root}")
    return problems


def format_class_names(names: Sequence[str]) -> str:
    """Return `class a`, or `2 classes: a, b`."""
    return (
        f"class {format_names(names)}" if len(names) == 1 else f"{len(names)} classes: {format_names(names)}"
    )


def _plan_holdout(config: Config, train: Split, share: float, problems: list[Problem]) -> Holdout:
    """Return how to draw validation images; problems are added to `problems`."""
    data = config.data
    if data.group_by is not None:
        groups = match_groups(train.group_paths, data.group_by)
        if unmatched := [
            path for path, group in zip(train.group_paths, groups, strict=True) if group is None
        ]:
            matched = count(len(groups) - len(unmatched), "training path")
            what = f"matches {matched}, but not {format_names(unmatched, 3)}"
            hint = f"the expression {data.group_by!r} is searched in such paths"
            problems.append(Problem(config.where("data", "group_by"), what, hint))
    return Holdout(
        share=share,
        seed=config.training.seed,
        groups=assign_groups(train.group_paths, data.group_by),
        where=config.where("data", "validation_split"),
    )


def _warn_about_shared_groups(config: Config, splits: dict[str, Split], warnings: list[str]) -> None:
    if config.data.group_by is None:
        return
    of_train = {
        group
        for group in match_groups(splits["train"].group_paths, config.data.group_by)
        if group is not None
    }
    for name in ("validation", "test"):
        if name not in splits:
            continue
        groups = match_groups(splits[name].group_paths, config.data.group_by)
        shared = sorted({group for group in groups if group is not None} & of_train)
        if shared:
            images = sum(group in of_train for group in groups if group is not None)
            warnings.append(
                f"{count(len(shared), 'group')} of data.group_by in both train and {name}"
                f" ({format_names(shared)}; {count(images, f'{name} image')}): the {name} scores may be too optimistic"
            )


def warn_about_ignored_files(folders: Iterable[ImageFolder]) -> list[str]:
    """Return a warning for each reason why files in the folders are ignored."""
    warnings = []
    for folder in folders:
        # Other files next to the class folders are common; inside class folders they may be images that the
        # user expects to be used.
        worth_saying = {
            path: reason for path, reason in folder.ignored.items() if "/" in path or reason != NOT_AN_IMAGE
        }
        for reason in Counter(worth_saying.values()):
            paths = [path for path, why in worth_saying.items() if why == reason]
            hint = _HOW_TO_USE.get(reason, "")
            unused = f"{count(len(paths), 'path')} ignored ({format_names(paths, 3)})"
            warnings.append(f"{folder.root}: {unused}: {reason}{hint}")
    return warnings
