"""`--set training.epochs=3`: options laid over what the file says, before anything is validated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from imgtrain.config.document import read_document
from imgtrain.config.fault import KeyPath
from imgtrain.config.wording import shown
from imgtrain.errors import Problem

__all__ = ["apply_overrides"]

_USAGE = "write KEY=VALUE, such as `--set training.epochs=3`"


class _OverrideError(Exception):
    """An option that cannot be laid over the file; the arguments are what is wrong, and what to do."""


def apply_overrides(
    tree: dict[str, Any],
    options: Iterable[str],
    *,
    defaults: dict[str, Any],
    keeps_text: Callable[[KeyPath], bool],
) -> tuple[dict[KeyPath, str], list[Problem]]:
    """Change the tree in place; a later option wins over an earlier one.

    Args:
        tree: The configuration as plain values.
        options: Each `dotted.key=YAML`; a number in the key is a position in a list.
        defaults: The default configuration as plain values, for lists of which an option changes one item.
        keeps_text: As for `read_document`.

    Returns:
        The options by the path that they set, and what is wrong with others.
    """
    set_by: dict[KeyPath, str] = {}
    problems = []
    for option in options:
        try:
            path = _apply(tree, option, defaults, keeps_text)
        except _OverrideError as error:
            problems.append(Problem(f"--set {option}", *error.args))
        else:
            # What an earlier option set below is gone, what it set above is now this one's in part.
            set_by = {other: text for other, text in set_by.items() if other[: len(path)] != path}
            set_by[path] = option
    return set_by, problems


def _apply(
    tree: dict[str, Any], option: str, defaults: dict[str, Any], keeps_text: Callable[[KeyPath], bool]
) -> KeyPath:
    dotted, equals, text = option.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise _OverrideError(f"{shown(option)} is no key with a value", _USAGE)
    holder: Any = tree
    default: Any = defaults
    path: KeyPath = ()
    for key, next_key in zip(keys, [*keys[1:], None], strict=True):
        position = _position(holder, key, path)
        path = (*path, position)
        default = _item(default, position)
        if next_key is not None:
            holder = _enter(holder, position, default, path)
    value = read_document(text, keeps_text=keeps_text, root=path)
    if value.mistakes:
        raise _OverrideError(value.mistakes[0].what, value.mistakes[0].hint)
    _put(holder, path[-1], value.value)
    return path


def _position(holder: Any, key: str, path: KeyPath) -> str | int:
    """Return the key as the holder counts: a number for a list, which may be one past its end."""
    if not isinstance(holder, list):
        return key
    if not key.isascii() or not key.isdigit() or len(key) > 9 or int(key) > len(holder):
        dotted = ".".join(map(str, path))
        raise _OverrideError(
            f"{dotted} is a list of {len(holder)}, which has no item {shown(key)}",
            "items are counted from 0",
        )
    return int(key)


def _item(holder: Any, key: str | int) -> Any:
    if isinstance(holder, dict):
        return holder.get(key)
    return holder[key] if isinstance(holder, list) and isinstance(key, int) and key < len(holder) else None


def _enter(holder: Any, key: str | int, default: Any, path: KeyPath) -> Any:
    """Return the list or mapping at a key, made if nothing stands there."""
    inner = _item(holder, key)
    if inner is None:
        # Only one item of a list changes, so the others must be there; of a mapping they would come anyway.
        inner = list(default) if isinstance(default, list) else {}
    if path == ("training", "optimizer") and not isinstance(inner, dict):
        inner = {"name": inner}
    elif path == ("training", "optimizer") and "name" not in inner:
        inner["name"] = default
    if not isinstance(inner, dict | list):
        dotted = ".".join(map(str, path))
        raise _OverrideError(f"{dotted} is {shown(inner)}, which has no keys", "set it as a whole: KEY=VALUE")
    _put(holder, key, inner)
    return inner


def _put(holder: Any, key: str | int, value: Any) -> None:
    if isinstance(holder, list) and key == len(holder):
        holder.append(value)
    else:
        holder[key] = value
