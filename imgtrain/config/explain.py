"""Convert pydantic's errors to messages with the location, the given value and the allowed values."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from imgtrain.config.fault import Fault, FaultyValueError, KeyPath
from imgtrain.config.schema import Config, Section
from imgtrain.config.synonyms import suggest_value
from imgtrain.config.wording import allowed_names, describe_type, fields_by_key, format_value
from imgtrain.errors import did_you_mean, nearest_name

__all__ = ["explain"]

# Optimizer arguments that users often write in another section.
_MISPLACED = {
    "learning_rate": ("training", "optimizer", "learning_rate"),
    "lr": ("training", "optimizer", "learning_rate"),
}

# How similar a key must be to one of another section to be taken for a misspelling of it.
_SIMILAR = 0.75


@dataclass(frozen=True, slots=True)
class _Place:
    """A value in the configuration to report an error for.

    Attributes:
        path: Its keys and list indices.
        annotation: Its type: a section, or the annotation of a field.
        metadata: Its constraints.
        description: The field's description, if it is a field.
    """

    path: KeyPath = ()
    annotation: Any = Config
    metadata: Sequence[Any] = field(default=())
    description: str = ""


def explain(error: ValidationError, given: Any) -> list[Fault]:
    """Return all faults without duplicates, with paths from the root of the configuration.

    Args:
        error: The error raised when validating `Config`.
        given: The validated input.
    """
    precise: list[Fault] = []
    mismatches: list[Fault] = []
    for details in error.errors(include_url=False):
        if details["type"] == "default_factory_not_called":
            continue  # the default depends on another key, which has a fault of its own
        place, rest = _find_place(details["loc"], given)
        if found := _explain_fault(details, place, rest, given):
            precise += found
        else:
            mismatches.append(_describe_mismatch(place, given))
    # If a value matches none of several types, pydantic reports each; the deepest match was intended.
    reported = [fault.path for fault in (*precise, *mismatches)]
    mismatches = [fault for fault in mismatches if not any(_is_below(path, fault.path) for path in reported)]
    return list(dict.fromkeys((*precise, *mismatches)))


def _is_below(path: KeyPath, above: KeyPath) -> bool:
    return len(path) > len(above) and path[: len(above)] == above


def _explain_fault(
    details: ErrorDetails, place: _Place, rest: Sequence[str | int], given: Any
) -> list[Fault]:
    """Return the faults of unknown or missing keys and of our own validators; empty for a wrong type."""
    section, _ = _choose(place.annotation, _value_at(given, place.path))
    if details["type"] == "extra_forbidden" and _is_section(section):
        path = (*place.path, str(rest[0]))
        return [_unknown_key(path, section, _value_at(given, path))]
    if details["type"] == "missing" and not rest:
        return [Fault(place.path, "is required", place.description.split(". ")[0])]
    raised = details.get("ctx", {}).get("error")
    if isinstance(raised, FaultyValueError):
        return [fault._replace(path=(*place.path, *fault.path)) for fault in raised.faults]
    return [Fault(place.path, str(raised))] if isinstance(raised, ValueError) else []


def _describe_mismatch(place: _Place, given: Any) -> Fault:
    value = _value_at(given, place.path)
    hint = suggest_value(place.path[-1] if place.path else "", value)
    if value is False and types.NoneType in get_args(place.annotation):
        hint = "use null to disable it"
    elif isinstance(value, str):
        hint = hint or did_you_mean(value, allowed_names(place.annotation)) or _as_list(value, place)
    allowed = describe_type(place.annotation, place.metadata)
    section, _ = _choose(place.annotation, {})
    meant = (
        (*place.path, next(iter(section.model_fields))) if _is_section(section) and value is not False else ()
    )
    return Fault(place.path, f"must be {allowed}; got {format_value(value)}", hint, meant)


def _as_list(value: str, place: _Place) -> str:
    """Return how to write `150,150` or `150x150` where a list of numbers is allowed."""
    words = re.split(r"\s*[,;x×*/ ]\s*", value.strip("()[]{} "))
    if len(words) < 2 or not _accepts_list(place.annotation):
        return ""
    return f"write [{', '.join(words)}]" if all(re.fullmatch(r"-?[\d.]+", word) for word in words) else ""


def _accepts_list(annotation: Any) -> bool:
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return any(map(_accepts_list, get_args(annotation)))
    return get_origin(annotation) is tuple


def _find_place(loc: Sequence[str | int], given: Any) -> tuple[_Place, Sequence[str | int]]:
    """Follow pydantic's location as far as it exists in the input; return the place and the remaining location.

    For unions, pydantic adds the name of each type it tried to the location. These parts are skipped if the
    value can only be meant as one of the types; otherwise the search ends there.
    """
    place = _Place()
    rest = list(loc)
    while rest:
        value = _value_at(given, place.path)
        annotation, in_union = _choose(place.annotation, value)
        if in_union:
            if annotation is None or len(rest) < 2:
                break
            del rest[0]
        if get_origin(annotation) is tuple and not (
            isinstance(value, list | tuple) and rest[0] in range(len(value))
        ):
            break  # a missing item
        inner = _step(annotation, rest[0], place.path)
        if inner is None:
            break
        place = inner
        del rest[0]
    return place, rest


def _choose(annotation: Any, value: Any) -> tuple[Any, bool]:
    """Return the type that the value was meant for (None if ambiguous), and whether it is one of a union."""
    if get_origin(annotation) is Annotated:
        return _choose(get_args(annotation)[0], value)
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    members = [_plain(member) for member in get_args(annotation) if member is not types.NoneType]
    if len(members) == 1:
        return _choose(members[0], value)
    fitting = [member for member in members if _accepts_container(member, value)]
    return (fitting[0] if len(fitting) == 1 else None), True


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _accepts_container(annotation: Any, value: Any) -> bool:
    if isinstance(value, Mapping):
        return get_origin(annotation) is dict or _is_section(annotation)
    return isinstance(value, list | tuple) and get_origin(annotation) is tuple


def _step(annotation: Any, key: str | int, above: KeyPath) -> _Place | None:
    """Return the place at a key below, or None if there is none."""
    path = (*above, key)
    if _is_section(annotation):
        found = fields_by_key(annotation).get(str(key))
        if found is None:
            return None
        return _Place(path, found.annotation, tuple(found.metadata), found.description or "")
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple and isinstance(key, int):
        # All items of a tuple have the same type.
        return _Place(path, arguments[0])
    if get_origin(annotation) is dict:
        return _Place(path, arguments[1])
    return None


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _value_at(given: Any, path: KeyPath) -> Any:
    for key in path:
        try:
            given = given[key]
        except (KeyError, IndexError, TypeError):
            return None
    return given


def _unknown_key(path: KeyPath, section: type[BaseModel], value: Any) -> Fault:
    what = f"unknown key {format_value(path[-1])}"
    return Fault(path, what, *_suggest_key(str(path[-1]), section, path[:-1], value))


def _suggest_key(key: str, section: type[BaseModel], above: KeyPath, value: Any) -> tuple[str, KeyPath]:
    """Return a hint for an unknown key, and the path of the key that was probably meant, if there is one."""
    names = list(fields_by_key(section))
    homes = [
        home
        for home, known in _sections()
        if key in fields_by_key(known)
        and known is not section
        # `train: {epochs: 3}` is no `data.train`.
        and (not isinstance(value, Mapping) or _accepts_mapping(fields_by_key(known)[key].annotation))
    ]
    if homes:
        hint = f"`{key}` belongs in {' or '.join(f'`{home}`' for home in homes)}"
        return hint, (*homes[0].split("."), key)
    if key in _MISPLACED:
        meant = _MISPLACED[key]
        return f"`{meant[-1]}` belongs in `{'.'.join(meant[:-1])}`", meant
    if near := nearest_name(key, names):
        return f"did you mean {near!r}?", (*above, near)
    if section is Config and isinstance(value, Mapping) and (near := _section_with_keys(value)):
        return f"did you mean {near!r}? It has the keys {', '.join(_known_keys(value, near))}", (near,)
    # Of equal names, that of the first section: `training.epochs`, not `training.fine_tune.epochs`.
    sections = reversed(list(_sections()))
    everywhere = {name: home for home, known in sections for name in fields_by_key(known)}
    # Only misspellings: `wights` in `model` is not meant as `training.class_weight`.
    if near := nearest_name(key, list(everywhere), similarity=_SIMILAR):
        home = everywhere[near]
        return f"did you mean {near!r}? It belongs in `{home}`", (*home.split("."), near)
    return f"allowed: {', '.join(names)}", ()


def _section_with_keys(value: Mapping[str, Any]) -> str:
    """Return the name of the section with the most keys of a mapping; empty if no section has any of them."""
    best = max(Config.model_fields, key=lambda name: len(_known_keys(value, name)))
    return best if _known_keys(value, best) else ""


def _known_keys(value: Mapping[str, Any], section: str) -> list[str]:
    known = Config.model_fields[section].annotation
    assert isinstance(known, type)
    return [key for key in value if key in fields_by_key(known)]


def _accepts_mapping(annotation: Any) -> bool:
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return any(map(_accepts_mapping, get_args(annotation)))
    return get_origin(annotation) is dict or _is_section(annotation)


def _sections(section: type[BaseModel] = Config, path: str = "") -> list[tuple[str, type[BaseModel]]]:
    """Return all sections with their dotted paths, except the root."""
    found = [(path, section)] if path else []
    for name, known in fields_by_key(section).items():
        inner, _ = _choose(known.annotation, None)
        if _is_section(inner) and issubclass(inner, Section) and "arguments" not in inner.model_fields:
            found += _sections(inner, f"{path}.{name}" if path else name)
    return found
