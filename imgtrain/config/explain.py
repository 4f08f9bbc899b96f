"""pydantic's errors → sentences that say where, what was given and what is allowed."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from imgtrain.config.fault import Fault, FaultyValueError, KeyPath
from imgtrain.config.schema import Config, Section
from imgtrain.config.wording import allowed_names, describe_type, shown
from imgtrain.errors import did_you_mean

__all__ = ["explain"]

# Keys that users look for in another place, besides those that are keys in another section.
_ELSEWHERE = {
    "learning_rate": "training.optimizer",
    "lr": "training.optimizer",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """A value in the configuration that a user would point at.

    Attributes:
        path: Its keys and positions.
        annotation: Its type; a section, or whatever stands behind a field's colon.
        metadata: The constraints on it.
        description: What the field is for, if it is one.
    """

    path: KeyPath = ()
    annotation: Any = Config
    metadata: Sequence[Any] = field(default=())
    description: str = ""


def explain(error: ValidationError, given: Any) -> list[Fault]:
    """Return what is wrong, each place once, with paths from the root of the configuration.

    Args:
        error: What validating `Config` raised.
        given: What was validated.
    """
    precise: list[Fault] = []
    misfits: list[Fault] = []
    for details in error.errors(include_url=False):
        place, rest = _find_place(details["loc"], given)
        if found := _explain_precisely(details, place, rest, given):
            precise += found
        else:
            misfits.append(_describe_misfit(place, given))
    # Where a value fits none of several types, pydantic reports each; the one that leads deepest was meant.
    reported = [fault.path for fault in (*precise, *misfits)]
    misfits = [fault for fault in misfits if not any(_is_below(path, fault.path) for path in reported)]
    return list(dict.fromkeys((*precise, *misfits)))


def _is_below(path: KeyPath, above: KeyPath) -> bool:
    return len(path) > len(above) and path[: len(above)] == above


def _explain_precisely(
    details: ErrorDetails, place: _Place, rest: Sequence[str | int], given: Any
) -> list[Fault]:
    """Return what a key or a validator of ours is refused for; nothing where a value just has the wrong type."""
    section, _ = _choose(place.annotation, _value_at(given, place.path))
    if details["type"] == "extra_forbidden" and _is_section(section):
        return [_unknown_key(str(rest[0]), section, place.path)]
    if details["type"] == "missing" and not rest:
        return [Fault(place.path, "is missing", place.description.split(". ")[0])]
    raised = details.get("ctx", {}).get("error")
    if isinstance(raised, FaultyValueError):
        return [fault._replace(path=(*place.path, *fault.path)) for fault in raised.faults]
    return [Fault(place.path, str(raised))] if isinstance(raised, ValueError) else []


def _describe_misfit(place: _Place, given: Any) -> Fault:
    value = _value_at(given, place.path)
    hint = did_you_mean(value, allowed_names(place.annotation)) if isinstance(value, str) else ""
    if value is False and types.NoneType in get_args(place.annotation):
        hint = "null turns it off"
    allowed = describe_type(place.annotation, place.metadata)
    return Fault(place.path, f"is {shown(value)}; allowed: {allowed}", hint)


def _find_place(loc: Sequence[str | int], given: Any) -> tuple[_Place, Sequence[str | int]]:
    """Follow pydantic's location as far as the user wrote it; return the place and what is left.

    pydantic puts the name of the type that it tried into the location wherever there are several; these parts
    are stepped over when what was given can only be one of the types, and end the way otherwise.
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
            break  # an item that is not there
        inner = _step(annotation, rest[0], place.path)
        if inner is None:
            break
        place = inner
        del rest[0]
    return place, rest


def _choose(annotation: Any, value: Any) -> tuple[Any, bool]:
    """Return the one type that the value was meant for, and whether pydantic had several to try."""
    if get_origin(annotation) is Annotated:
        return _choose(get_args(annotation)[0], value)
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    members = [member for member in get_args(annotation) if member is not types.NoneType]
    if len(members) == 1:
        return _choose(members[0], value)
    fitting = [member for member in members if _holds_items_of(member, value)]
    return (fitting[0] if len(fitting) == 1 else None), True


def _holds_items_of(annotation: Any, value: Any) -> bool:
    if isinstance(value, Mapping):
        return get_origin(annotation) is dict or _is_section(annotation)
    return isinstance(value, list | tuple) and get_origin(annotation) is tuple


def _step(annotation: Any, key: str | int, above: KeyPath) -> _Place | None:
    """Return the place below, or None if the key leads to nothing that a user would point at."""
    path = (*above, key)
    if _is_section(annotation):
        found = annotation.model_fields.get(str(key))
        if found is None:
            return None
        return _Place(path, found.annotation, tuple(found.metadata), found.description or "")
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple and isinstance(key, int):
        # All the items of a tuple are of one type.
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


def _unknown_key(key: str, section: type[BaseModel], path: KeyPath) -> Fault:
    return Fault((*path, key), f"unknown key {shown(key)}", _where_it_belongs(key, section))


def _where_it_belongs(key: str, section: type[BaseModel]) -> str:
    homes = [home for home, known in _sections() if key in known.model_fields and known is not section]
    homes = homes or [home for known, home in _ELSEWHERE.items() if known == key]
    if homes:
        return f"`{key}` belongs under {' or '.join(f'`{home}`' for home in homes)}"
    names = list(section.model_fields)
    return did_you_mean(key, names) or _nearest_elsewhere(key) or f"allowed: {', '.join(names)}"


def _nearest_elsewhere(key: str) -> str:
    everywhere = {name: home for home, known in _sections() for name in known.model_fields}
    meant = did_you_mean(key, list(everywhere))
    if not meant:
        return ""
    name = meant.split("'")[1]
    return f"{meant} It belongs under `{everywhere[name]}`"


def _sections(section: type[BaseModel] = Config, path: str = "") -> list[tuple[str, type[BaseModel]]]:
    """Return every section with its dotted path, the root without one left out."""
    found = [(path, section)] if path else []
    for name, known in section.model_fields.items():
        inner, _ = _choose(known.annotation, None)
        if _is_section(inner) and issubclass(inner, Section) and "arguments" not in inner.model_fields:
            found += _sections(inner, f"{path}.{name}" if path else name)
    return found
