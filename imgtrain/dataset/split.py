"""Which image belongs to training, validation and test: folders, `validation_split` or `split_file`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.groups import assign_groups, match_groups
from imgtrain.dataset.index import ImageFolder, index_folder, read_only
from imgtrain.dataset.layout import count, name_some, why_no_folder
from imgtrain.dataset.split_file import read_split_file
from imgtrain.errors import DataError, Problem

if TYPE_CHECKING:
    from imgtrain.config.schema import Config

__all__ = ["Holdout", "Split", "Splits", "name_classes", "name_ignored", "split_data"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The images of one split.

    Attributes:
        name: `train`, `validation` or `test`.
        folder: Where the images are; two splits may share it.
        indices: (n,) the images' indices in `folder`, sorted, read-only.
    """

    name: str
    folder: ImageFolder
    indices: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> NDArray[np.int32]:
        """(n,) index in `class_names`."""
        return self.folder.labels[self.indices]

    @property
    def paths(self) -> tuple[str, ...]:
        """Relative to the folder's root, with POSIX separators."""
        return tuple(self.folder.paths[index] for index in self.indices)

    @property
    def group_paths(self) -> tuple[str, ...]:
        """Where `data.group_by` is searched: relative to the folder of the configuration they lie in."""
        return tuple(self.folder.group_paths[index] for index in self.indices)

    @property
    def class_names(self) -> tuple[str, ...]:
        """In label order; the same in every split."""
        return self.folder.class_names

    def counts(self) -> NDArray[np.int64]:
        """Return the number of images of each class, in label order, shape (classes,)."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)

    def without(self, indices: Iterable[int] | NDArray[np.integer]) -> Split:
        """Return the split without these images, given by their indices in `folder`; others are passed over."""
        gone = np.fromiter((int(index) for index in indices), np.intp)
        return Split(self.name, self.folder, read_only(np.setdiff1d(self.indices, gone)))


@dataclass(frozen=True, slots=True, eq=False)
class Holdout:
    """How validation images are drawn from the training images.

    Attributes:
        share: Of every class, 0 < share < 1.
        seed: The draw depends on nothing else but the images.
        groups: (n,) group of each training image, which the draw does not divide; None without groups.
        where: The place in the configuration to name in errors.
    """

    share: float
    seed: int
    groups: NDArray[np.intp] | None
    where: str


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """The splits, all with the same classes in the same order.

    Attributes:
        train: Never empty; all images of `data.train` until the validation images are drawn from it.
        validation: None when neither a folder, a share nor a split file gives one, and until it is drawn.
        test: None when neither a folder nor a split file gives one.
        holdout: How `draw_validation` draws the validation images, which takes their decoded pixels; kept
            afterwards. None when they are not drawn.
        warnings: Sentences that the user should read.
    """

    train: Split
    validation: Split | None
    test: Split | None
    holdout: Holdout | None = None
    warnings: tuple[str, ...] = ()

    @property
    def validated(self) -> bool:
        """Whether there are validation images, or will be once they are drawn."""
        return self.validation is not None or self.holdout is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """In label order."""
        return self.train.class_names

    def __iter__(self) -> Iterator[Split]:
        """Go through the splits that there are: train, validation, test."""
        return (split for split in (self.train, self.validation, self.test) if split is not None)

    @property
    def folders(self) -> tuple[ImageFolder, ...]:
        """The folders that the images are in, each once: several splits may share one."""
        return tuple(dict.fromkeys(split.folder for split in self))


def split_data(config: Config) -> Splits:
    """Look at the folders and give every image its split. No image is opened.

    With `validation_split`, the validation images are still among the training images: `draw_validation` takes
    them out once it is known which images have the same pixels.

    Raises:
        DataError: With every problem: folders, classes, the split file, groups, an empty split.
    """
    splits = _from_split_file(config) if config.data.split_file else _from_folders(config)
    warnings: list[str] = []
    problems = _check_classes(config, splits, warnings)
    holdout = None
    if not problems and config.data.validation_split is not None:
        if "validation" in splits:
            warnings.append(
                "data.validation_split is not used, because data.split_file names validation images"
            )
        else:
            holdout = _plan_holdout(config, splits["train"], config.data.validation_split, problems)
    if problems:
        raise DataError(problems)
    _warn_about_shared_groups(config, splits, warnings)
    result = Splits(splits["train"], splits.get("validation"), splits.get("test"), holdout)
    return replace(result, warnings=(*warnings, *name_ignored(result.folders)))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would replace links)


def _whole(name: str, folder: ImageFolder) -> Split:
    return Split(name, folder, read_only(np.arange(len(folder), dtype=np.intp)))


def _from_folders(config: Config) -> dict[str, Split]:
    given = {
        name: path
        for name in ("train", "validation", "test")
        if (path := getattr(config.data, name)) is not None
    }
    splits: dict[str, Split] = {}
    problems: list[Problem] = []
    for name, path in given.items():
        where = config.where("data", name)
        if name != "train" and "train" not in splits:
            # Without the classes of the training folder, only whether it is there can be said.
            if reason := why_no_folder(_absolute(path)):
                problems.append(Problem(where, *reason))
            continue
        try:
            folder = index_folder(
                path,
                class_names=config.data.classes if name == "train" else splits["train"].class_names,
                nested=config.data.nested,
                follow_links=config.data.follow_links,
                where=where,
            )
        except DataError as error:
            problems += error.problems
        else:
            splits[name] = _whole(name, folder)
    if problems:
        raise DataError(problems)
    return splits


def _from_split_file(config: Config) -> dict[str, Split]:
    data = config.data
    assert data.split_file is not None
    folders = [_absolute(path) for path in (data.train, data.validation, data.test) if path]
    where = config.where("data", "split_file")
    folder, by_split = read_split_file(
        _absolute(data.split_file),
        folders=folders,
        class_names=data.classes,
        where=where,
    )
    if "train" not in by_split:
        raise DataError(Problem(where, f"{data.split_file} names no training image"))
    return {name: Split(name, folder, read_only(indices)) for name, indices in by_split.items()}


def _check_classes(config: Config, splits: dict[str, Split], warnings: list[str]) -> list[Problem]:
    train = splits["train"]
    names = train.class_names
    problems = []
    if config.data.class_mode == "binary" and len(names) != 2:
        problems.append(
            Problem(
                config.where("data", "class_mode"),
                f"binary needs exactly two classes, but {train.folder.root} holds {len(names)}: {name_some(names, 10)}",
                "use `class_mode: categorical`, or two classes, of which the second is the positive one",
            )
        )
    elif len(names) < 2:
        what = f"{train.folder.root} holds only one class, {name_some(names)}; there is nothing to tell apart"
        problems.append(
            Problem(config.where("data", "train"), what, "give a folder with at least two class folders")
        )
    for split in splits.values():
        missing = [name for name, images in zip(names, split.counts(), strict=True) if not images]
        where = config.where("data", "split_file" if config.data.split_file else split.name)
        root = str(split.folder.root)
        if not len(split):
            problems.append(Problem(where, f"{root} holds no image of any class"))
        elif missing and split.name == "train":
            what = f"no training image of {name_classes(missing)} in {root}"
            problems.append(Problem(where, what, "add images, or take the name out of `data.classes`"))
        elif missing:
            warnings.append(f"no {split.name} image of {name_classes(missing)} in {root}")
    return problems


def name_classes(names: Sequence[str]) -> str:
    """Return `class a`, or `2 classes: a, b`."""
    return f"class {name_some(names)}" if len(names) == 1 else f"{len(names)} classes: {name_some(names)}"


def _plan_holdout(config: Config, train: Split, share: float, problems: list[Problem]) -> Holdout:
    """Say how validation images are drawn; what is wrong is added to `problems`."""
    data = config.data
    if data.group_by is not None:
        groups = match_groups(train.group_paths, data.group_by)
        if unmatched := [
            path for path, group in zip(train.group_paths, groups, strict=True) if group is None
        ]:
            matched = count(len(groups) - len(unmatched), "training path")
            what = f"matches {matched}, but not {name_some(unmatched, 3)}"
            hint = f"the expression {data.group_by!r} is searched in paths like these"
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
                f"{count(len(shared), 'group')} of data.group_by stand in train and in {name} too"
                f" ({name_some(shared)}; {count(images, f'{name} image')}): the {name} scores may be too good"
            )


def name_ignored(folders: Iterable[ImageFolder]) -> list[str]:
    """Return a sentence for each reason why files in the folders are not used."""
    warnings = []
    for folder in folders:
        # Notes and tables beside the class folders are usual; among the images they may be images that are
        # missed.
        worth_saying = {
            path: reason
            for path, reason in folder.ignored.items()
            if "/" in path or not reason.startswith("not an image")
        }
        for reason in Counter(worth_saying.values()):
            paths = [path for path, why in worth_saying.items() if why == reason]
            hint = "; `data.nested: true` takes them" if "deeper" in reason else ""
            unused = f"{count(len(paths), 'path')} not used ({name_some(paths, 3)})"
            warnings.append(f"{folder.root}: {unused}: {reason}{hint}")
    return warnings
