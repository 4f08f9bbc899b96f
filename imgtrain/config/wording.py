"""Values and types in words, the same in error messages, on the reference page and in the JSON Schema."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["Wording", "allowed_names", "describe_type", "fields_by_key", "format_value"]

_MAX_LENGTH = 60
_INTERVAL = re.compile(r" in [\[(].*?[\])]")


@dataclass(frozen=True, slots=True)
class Wording:
    """Metadata for `Annotated[…]`: a description of the type, if its Python name isn't helpful to users."""

    text: str


def format_value(value: object) -> str:
    """Return a value in YAML notation, on one line and truncated."""
    text = _to_yaml(value, depth=0)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def fields_by_key(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a section by their keys in the configuration."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def describe_type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return the allowed values of a type, such as `an integer ≥ 1` or `rgb, rgba or grayscale`.

    Args:
        annotation: A field's type.
        metadata: The field's constraints as stored by pydantic.
    """
    return _join(list(dict.fromkeys(_alternatives(annotation, metadata))))


def allowed_names(annotation: Any) -> list[str]:
    """Return the strings that a type allows, such as the values of a `Literal`; empty for numbers and lists."""
    if get_origin(annotation) is Annotated:
        return allowed_names(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [name for member in get_args(annotation) for name in allowed_names(member)]
    if get_origin(annotation) is Literal:
        return [value for value in get_args(annotation) if isinstance(value, str)]
    return []


def _to_yaml(value: object, depth: int) -> str:  # noqa: PLR0911 (one line per kind of value)
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float() if math.isnan(value):
            return ".nan"
        case float() if math.isinf(value):
            return ".inf" if value > 0 else "-.inf"
        case int() if value.bit_length() > 200:
            return "a number of more than 60 digits"
        case str():
            # One more than the limit, so that the truncation is detected.
            return repr(value[: _MAX_LENGTH + 1])
        case Path():
            return repr(str(value))
        case _ if depth > 2:
            return "…"
        case Mapping():
            items = (f"{key}: {_to_yaml(item, depth + 1)}" for key, item in _first(value.items()))
            return f"{{{', '.join(items)}}}"
        case list() | tuple():
            return f"[{', '.join(_to_yaml(item, depth + 1) for item in _first(value))}]"
        case _:
            return repr(value)


def _first(items: Any) -> Iterator[Any]:
    return (item for item, _ in zip(items, range(_MAX_LENGTH), strict=False))


def _alternatives(annotation: Any, metadata: Sequence[Any]) -> Iterator[str]:
    flat = [
        inner for item in metadata for inner in (item.metadata if isinstance(item, FieldInfo) else (item,))
    ]
    if wording := next((item for item in flat if isinstance(item, Wording)), None):
        yield wording.text + _limits(flat)
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _alternatives(arguments[0], [*arguments[1:], *flat])
    elif origin in (Union, types.UnionType):
        for member in sorted(arguments, key=lambda member: member is types.NoneType):
            yield from _alternatives(member, flat)
    elif origin is Literal:
        yield from map(str, arguments)
    elif origin is tuple and arguments[1:] == (Ellipsis,):
        yield f"a list of items, each {describe_type(arguments[0])}"
    elif origin is tuple:
        # All items of such a tuple have the same type.
        yield f"a list of {len(arguments)} items, each {describe_type(arguments[0])}"
    elif origin is dict:
        yield f"a mapping from names to {describe_type(arguments[1])}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield _describe_section(annotation)
    else:
        yield {
            bool: "true or false",
            int: "an integer",
            float: "a number",
            str: "a string",
            Path: "a path",
            types.NoneType: "null",
        }[annotation] + _limits(flat)


def _describe_section(section: type[BaseModel]) -> str:
    fields = fields_by_key(section)
    if len(fields) == 1:
        ((name, field),) = fields.items()
        return f"{{{name}: {describe_type(field.annotation, field.metadata)}}}"
    return f"a mapping with the keys {', '.join(fields)}"


def _limits(metadata: Sequence[Any]) -> str:
    low, high = "", ""
    opening, closing = "(", ")"
    for constraint in metadata:
        match constraint:
            case Ge(ge=limit):
                low, opening = str(limit), "["
            case Gt(gt=limit):
                low = str(limit)
            case Le(le=limit):
                high, closing = str(limit), "]"
            case Lt(lt=limit):
                high = str(limit)
    if low and high:
        return f" in {opening}{low}, {high}{closing}"
    if low:
        return f" {'≥' if opening == '[' else '>'} {low}"
    return f" {'≤' if closing == ']' else '<'} {high}" if high else ""


def _join(words: list[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    # If an alternative contains a comma, other than in an interval, separate them by semicolons.
    comma = ";" if any("," in _INTERVAL.sub("", word) for word in words) else ","
    last_comma = ";" if comma == ";" else ""
    return f"{f'{comma} '.join(words[:-1])}{last_comma} or {words[-1]}"
