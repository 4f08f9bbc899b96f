"""Check file names: unused files, names that other systems don't support, and implicit groups."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from imgtrain.audit.findings import Finding, Item
from imgtrain.audit.inventory import Inventory
from imgtrain.dataset.groups import match_groups
from imgtrain.dataset.index import FOLDER_LINK, LOOSE_IMAGE, NESTED_IMAGE
from imgtrain.dataset.layout import count, format_names
from imgtrain.dataset.split import Splits
from imgtrain.dataset.walk import is_hidden

__all__ = ["check_names"]

_MOST_FOLDERS = 100_000
_RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?", re.IGNORECASE)
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\\\x00-\x1f]')
_LONGEST_NAME = 255

# Common words for groups, followed by the number of the group.
_GROUP_WORD = re.compile(
    r"(patient|subject|person|participant|case|video|vid|clip|scene|session|slide|scan|plant|animal|specimen|"
    r"camera|cam|pat|subj|sub|pid)[-_ ]?\d+",
    re.IGNORECASE,
)
# A group name that ends in a number, followed by a number: P07_12, 2020-02-29_3, 00012_frame_4.
_NUMBERED = re.compile(r"(?P<group>.*\d[^\d]*?)[-_. (]+[a-z]*[-_ ]?\d+\)?", re.IGNORECASE)
_FEWEST_GROUPS = 3
_LEAST_MEAN_SIZE = 2.0


def check_names(inventory: Inventory, splits: Splits, *, group_by: str | None) -> list[Finding]:
    """Return findings about file names.

    Args:
        inventory: The images.
        splits: Their splits, with the ignored files.
        group_by: As `data.group_by`.
    """
    return [
        *_unused(inventory, splits),
        *_hidden(inventory, splits),
        *_unportable(inventory),
        *(_shared_groups(inventory, group_by) if group_by else _hint_at_groups(inventory)),
    ]


def _folders(splits: Splits) -> list[Path]:
    return list(dict.fromkeys(folder.root for folder in splits.folders))


def _below_root(inventory: Inventory, path: str) -> str:
    return os.path.relpath(path, inventory.root).replace(os.sep, "/")


def _unused(inventory: Inventory, splits: Splits) -> Iterator[Finding]:
    items = []
    for folder in splits.folders:
        items += [
            Item((_below_root(inventory, os.path.join(folder.root, path)),), reason)  # noqa: PTH118
            for path, reason in folder.ignored.items()
        ]
    if items:
        reasons = Counter(item.detail for item in items).most_common(4)
        images = any(item.detail in (LOOSE_IMAGE, NESTED_IMAGE, FOLDER_LINK) for item in items)
        yield Finding(
            "stray",
            "warning" if images else "note",
            f"{count(len(items), 'path')} in the folders not used: "
            + ", ".join(f"{number:,} {reason}" for reason, number in reasons),
            "these files are not part of the data set",
            "move images into class folders (or set data.nested or data.follow_links), and other files elsewhere",
            tuple(items),
        )


def _hidden(inventory: Inventory, splits: Splits) -> Iterator[Finding]:
    found: list[str] = []
    for root in _folders(splits):
        for visited, (folder, folders, files) in enumerate(os.walk(root)):
            if visited > _MOST_FOLDERS:
                break
            hidden = [name for name in (*folders, *files) if is_hidden(name)]
            found += [_below_root(inventory, os.path.join(folder, name)) for name in sorted(hidden)]  # noqa: PTH118
            folders[:] = sorted(name for name in folders if not is_hidden(name))
    if found:
        yield Finding(
            "hidden",
            "note",
            f"{count(len(found), 'hidden file')} or folders: {format_names([Path(path).name for path in found])}",
            "imgtrain ignores them; other tools may treat hidden folders as classes and hidden files as images",
            "remove them if you use other tools",
            tuple(Item((path,)) for path in dict.fromkeys(found)),
        )


def _unportable(inventory: Inventory) -> Iterator[Finding]:
    by_plain: dict[str, set[str]] = defaultdict(set)
    for path in inventory.paths:
        parts = path.split("/")
        for length in range(1, len(parts) + 1):
            part = "/".join(parts[:length])
            by_plain[unicodedata.normalize("NFC", part.casefold())].add(part)
    clashes = [tuple(sorted(names)) for names in by_plain.values() if len(names) > 1]
    if clashes:
        yield Finding(
            "name-clash",
            "warning",
            f"{count(len(clashes), 'pair')} of names that differ only by case or by how accents are written: "
            f"{format_names(clashes[0])}",
            "on Windows and macOS they are the same file, so copying the data set there loses files",
            "rename them",
            tuple(Item(names) for names in clashes),
        )
    bad = {path: reason for path in inventory.paths if (reason := _find_portability_problem(path))}
    if bad:
        yield Finding(
            "unportable-name",
            "note",
            f"{count(len(bad), 'file')} with names that other systems don't support",
            "copying or unpacking the data set on another system fails or renames them",
            "only use letters, digits, `-`, `_` and `.`",
            tuple(Item((path,), reason) for path, reason in bad.items()),
        )


def _find_portability_problem(path: str) -> str:
    for name in path.split("/"):
        try:
            encoded = name.encode()
        except UnicodeEncodeError:
            return "is not UTF-8"
        if found := _NOT_ON_WINDOWS.search(name):
            return f"contains {found[0]!r}"
        if name.endswith((" ", ".")) and name not in (".", ".."):
            return "ends in a space or a dot"
        if _RESERVED.fullmatch(name):
            return "is a reserved name on Windows"
        if len(encoded) > _LONGEST_NAME - 12:  # leaves room for suffixes such as .partial
            return f"has {len(encoded)} bytes"
    return ""


def _shared_groups(inventory: Inventory, expression: str) -> Iterator[Finding]:
    by_group: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(match_groups(inventory.group_paths, expression)):
        if group is not None:
            by_group[group].append(index)
    divided = {
        name: indices
        for name, indices in by_group.items()
        if len(set(inventory.splits[indices].tolist())) > 1
    }
    if divided:
        yield Finding(
            "shared-group",
            "warning",
            f"{count(len(divided), 'group')} of data.group_by in more than one split: {format_names(divided)}",
            "the network can recognize the group (the patient, the video) instead of the class: "
            "scores are too optimistic",
            "use `imgtrain check --fix-split splits.csv` and `data.split_file: splits.csv`",
            _group_items(inventory, divided),
        )


def _hint_at_groups(inventory: Inventory) -> Iterator[Finding]:
    """Return a finding if the names look like several images of one patient, video or plant."""
    groups = _group_names(inventory.paths)
    if groups is None:
        return
    expression, names = groups
    by_group: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        if name is not None:
            by_group[name].append(index)
    grouped = {name: indices for name, indices in by_group.items() if len(indices) > 1}
    images = sum(map(len, grouped.values()))
    divided = {
        name: indices for name, indices in grouped.items() if len(set(inventory.splits[indices].tolist())) > 1
    }
    shown = f"names look like {count(len(grouped), 'group')} of images ({format_names(grouped, 3)})"
    split = f", {len(divided):,} of them in more than one split" if divided else ""
    yield Finding(
        "group-hint",
        "warning" if divided else "note",
        f"{images:,} {shown}{split}",
        "if images of one patient, video or plant are in two splits, scores are too optimistic",
        f"if these are such groups, set data.group_by: '{expression}'",
        _group_items(inventory, divided or grouped),
    )


def _group_items(inventory: Inventory, groups: Mapping[str, Sequence[int]]) -> tuple[Item, ...]:
    return tuple(
        Item(tuple(inventory.paths[index] for index in indices), name) for name, indices in groups.items()
    )


def _group_names(paths: Sequence[str]) -> tuple[str, list[str | None]] | None:
    """Return (expression for `group_by`, group of each path) for the first pattern that matches half of the paths."""
    for pattern, expression in (
        (_GROUP_WORD, rf"(?i)({_GROUP_WORD.pattern.replace('(', '(?:', 1)})"),
        (_NUMBERED, r"([^/]*\d[^\d/]*?)[-_. (]+[A-Za-z]*[-_ ]?\d+\)?\.\w+$"),
    ):
        names = [_group_name(pattern, path) for path in paths]
        sizes = Counter(name for name in names if name is not None)
        repeated = [size for size in sizes.values() if size > 1]
        enough = len(repeated) >= _FEWEST_GROUPS and 2 * sum(repeated) >= len(paths)
        if enough and float(np.mean(list(sizes.values()))) >= _LEAST_MEAN_SIZE:
            return expression, names
    return None


def _group_name(pattern: re.Pattern[str], path: str) -> str | None:
    stem = Path(path).stem
    match = pattern.fullmatch(stem) if pattern is _NUMBERED else pattern.search(stem)
    return None if match is None else match["group"] if pattern is _NUMBERED else match[0].lower()
