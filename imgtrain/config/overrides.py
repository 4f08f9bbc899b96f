"""Apply options such as `--set training.epochs=3` to the configuration before it is validated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from imgtrain.config.document import read_document
from imgtrain.config.fault import KeyPath
from imgtrain.config.wording import format_value
from imgtrain.errors import Problem

__all__ = ["apply_overrides", "in_the_right_form"]


class _OverrideError(Exception):
    """An option that cannot be applied; the arguments are the problem and a hint."""


def apply_overrides(
    tree: dict[str, Any],
    options: Iterable[str],
    *,
    typed: Mapping[str, str],
    defaults: dict[str, Any],
    keeps_text: Callable[[KeyPath], bool],
) -> tuple[dict[KeyPath, str], list[Problem]]:
    """Apply the options to the tree, in place; later options override earlier ones.

    Args:
        tree: The configuration as plain values.
        options: Each `dotted.key=YAML`; a number in the key is a list index.
        typed: How the user typed an option, if not as `--set OPTION`.
        defaults: The default configuration as plain values, used if an option changes one item of a list.
        keeps_text: As for `read_document`.

    Returns:
        The applied options as typed, by path, and the problems of the others.
    """
    set_by: dict[KeyPath, str] = {}
    problems = []
    for option in options:
        shown = typed.get(option, f"--set {option}")
        try:
            path = _apply(tree, option, defaults, keeps_text)
        except _OverrideError as error:
            problems.append(Problem(shown, *error.args))
        else:
            # This option replaces earlier options for paths below it.
            set_by = {other: text for other, text in set_by.items() if other[: len(path)] != path}
            set_by[path] = shown
    return set_by, problems


def _apply(
    tree: dict[str, Any], option: str, defaults: dict[str, Any], keeps_text: Callable[[KeyPath], bool]
) -> KeyPath:
    dotted, equals, text = option.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise _OverrideError(
            f"{format_value(option)} is not of the form KEY=VALUE", f"write `{in_the_right_form(option)}`"
        )
    holder: Any = tree
    default: Any = defaults
    path: KeyPath = ()
    for key, next_key in zip(keys, [*keys[1:], None], strict=True):
        position = _to_index(holder, key, path)
        path = (*path, position)
        default = _item(default, position)
        if next_key is not None:
            holder = _enter(holder, position, default, path)
    value = read_document(text, keeps_text=keeps_text, root=path)
    if value.mistakes:
        raise _OverrideError(value.mistakes[0].what, value.mistakes[0].hint)
    _put(holder, path[-1], value.value)
    return path


def in_the_right_form(option: str) -> str:
    """Return the option as it was probably meant: `training.epochs:3` is `--set training.epochs=3`."""
    if match := re.fullmatch(r"\W*(\w+(?:\.\w+)+)(?:\s*[:=\s]\s*(.+))?", option):
        return f"--set {match[1]}={match[2] or 'VALUE'}"
    return "--set training.epochs=3"


def _to_index(holder: Any, key: str, path: KeyPath) -> str | int:
    """Return the key, converted to an index if the holder is a list; the index may be one past the end."""
    if not isinstance(holder, list):
        return key
    if not key.isascii() or not key.isdigit() or len(key) > 9 or int(key) > len(holder):
        dotted = ".".join(map(str, path))
        raise _OverrideError(
            f"{dotted} is a list of {len(holder)} items and has no item {format_value(key)}",
            "indices start at 0",
        )
    return int(key)


def _item(holder: Any, key: str | int) -> Any:
    if isinstance(holder, dict):
        return holder.get(key)
    return holder[key] if isinstance(holder, list) and isinstance(key, int) and key < len(holder) else None


def _enter(holder: Any, key: str | int, default: Any, path: KeyPath) -> Any:
    """Return the list or mapping at a key, created if missing."""
    inner = _item(holder, key)
    if inner is None:
        # If one item of a list changes, the others must be copied from the default; mappings get defaults later.
        inner = list(default) if isinstance(default, list) else {}
    if path == ("training", "optimizer") and not isinstance(inner, dict):
        inner = {"name": inner}
    elif path == ("training", "optimizer") and "name" not in inner:
        inner["name"] = default
    elif path == ("data", "labels") and isinstance(inner, str):
        inner = {"file": inner}
    if not isinstance(inner, dict | list):
        dotted = ".".join(map(str, path))
        raise _OverrideError(f"{dotted} is {format_value(inner)} and has no keys", "set its value: KEY=VALUE")
    _put(holder, key, inner)
    return inner


def _put(holder: Any, key: str | int, value: Any) -> None:
    if isinstance(holder, list) and key == len(holder):
        holder.append(value)
    else:
        holder[key] = value
