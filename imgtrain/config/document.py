"""Read YAML text into plain values, with the line of each value.

YAML 1.2: `yes`, `no`, `on`, `off` and dates are strings, `1e-3` is a number, `010` is ten. PyYAML alone reads
YAML 1.1 and silently keeps the last of two equal keys. This module converts its node graph to values, so that
every mistake is reported with its line. It uses PyYAML's own parser, not libyaml's: configurations are small, and
the messages are the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from imgtrain.config.fault import KeyPath
from imgtrain.config.wording import format_value

__all__ = ["RESOLVERS", "Document", "Mistake", "read_document"]

_MOST_VALUES = 20_000
_DEEPEST = 40

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)

RESOLVERS: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {
    None: [
        (_TAG + kind, re.compile(f"(?:{pattern.pattern})\\Z"))
        for kind, pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT))
    ]
}
"""Implicit types of plain scalars, for any first character: the core schema of YAML 1.2."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = RESOLVERS
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Limit the nesting, because PyYAML is recursive."""
        if self._depth >= _DEEPEST and self.check_event(yaml.CollectionStartEvent):
            raise yaml.MarkedYAMLError(
                problem=f"more than {_DEEPEST} nested lists and mappings",
                problem_mark=self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in the YAML itself; the configuration is validated later.

    Attributes:
        path: Path of the value; empty if the text is not valid YAML.
        line: Counted from 1.
        what: As in `imgtrain.errors.Problem`.
        hint: As in `imgtrain.errors.Problem`.
        leaves_null: Whether the value could not be read and None is returned instead.
    """

    path: KeyPath
    line: int
    what: str
    hint: str = ""
    leaves_null: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """The contents of a YAML document.

    Attributes:
        value: Mappings with string keys, lists, strings, numbers, booleans and None. The first of two equal
            keys is used.
        lines: Line of every key and list item by its path, counted from 1.
        mistakes: All mistakes found; a single one if the text cannot be parsed.
    """

    value: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def read_document(
    text: str, *, keeps_text: Callable[[KeyPath], bool] = lambda path: False, root: KeyPath = ()
) -> Document:
    """Read one YAML document; never raises.

    Args:
        text: The whole text.
        keeps_text: Whether the scalar at a path is a name and remains a string, such as `007`.
        root: The path of the document, if it is a value within a configuration.
    """
    document = Document()
    try:
        _check_characters(text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        document.mistakes.append(_explain(error, text))
        return document
    except (ValueError, OverflowError):  # PyYAML hands "\\UFFFFFFFF" to chr() unchecked
        document.mistakes.append(Mistake((), 1, "invalid YAML: an escape sequence is not a valid character"))
        return document
    value = _Reader(document, keeps_text).read(node, root) if node is not None else None
    return Document(value, document.lines, document.mistakes)


class _TooMuchError(Exception):
    """The aliases of a document expand to too many values."""


class _Reader:
    """Converts nodes to values and expands aliases, up to a limit."""

    def __init__(self, document: Document, keeps_text: Callable[[KeyPath], bool]) -> None:
        self.document = document
        self.keeps_text = keeps_text
        self.values = 0
        self.open_nodes: list[yaml.Node] = []

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        try:
            return self._read(node, path)
        except _TooMuchError:
            what = f"aliases expand to more than {_MOST_VALUES:,} values"
            self.document.mistakes.append(
                Mistake((), 1, what, "write the values out instead of using aliases")
            )
            return None

    def _read(self, node: yaml.Node, path: KeyPath) -> Any:
        self.values += 1
        if self.values > _MOST_VALUES:
            raise _TooMuchError
        if any(node is above for above in self.open_nodes):
            self._add_mistake(path, node, "the alias contains itself", leaves_null=True)
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._read_scalar(node, path)
        kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag != _TAG + kind:
            self._reject_tag(node, path)
        self.open_nodes.append(node)
        try:
            return self._read_mapping(node, path) if kind == "map" else self._read_list(node, path)
        finally:
            self.open_nodes.pop()

    def _read_list(self, node: yaml.Node, path: KeyPath) -> list[Any]:
        items = []
        for position, item in enumerate(node.value):
            self.document.lines[*path, position] = _line(item)
            items.append(self._read(item, (*path, position)))
        return items

    def _read_mapping(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._add_mistake(path, key_node, "keys must be strings, not lists or mappings")
                continue
            key, line = key_node.value, _line(key_node)
            if key == "<<" and key_node.style is None:
                hint = "write the merged keys out"
                self._add_mistake((*path, key), key_node, "merge keys (<<) are not supported", hint)
            elif key in mapping:
                what = f"duplicate key {format_value(key)}, first defined on line {first_lines[key]}"
                self._add_mistake((*path, key), key_node, what, "remove one of them")
            else:
                first_lines[key] = line
                self.document.lines[*path, key] = line
                mapping[key] = self._read(value_node, (*path, key))
        return mapping

    def _read_scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text, kind = node.value, node.tag.removeprefix(_TAG)
        pattern = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}.get(kind)
        if pattern is None and kind != "str":
            self._reject_tag(node, path)
            return text
        if kind == "null" and (not path or not isinstance(path[-1], int) or not self.keeps_text(path)):
            return None
        if pattern is None or self.keeps_text(path):
            return text
        if not pattern.fullmatch(text) and not (kind == "float" and _INT.fullmatch(text)):
            what = f"{format_value(text)} is not a valid {_shown_tag(node)}"
            self._add_mistake(path, node, what, leaves_null=True)
            return None
        return _to_value(kind, text)

    def _reject_tag(self, node: yaml.Node, path: KeyPath) -> None:
        self._add_mistake(path, node, f"the tag {_shown_tag(node)} is not supported", "remove it")

    def _add_mistake(
        self, path: KeyPath, node: yaml.Node, what: str, hint: str = "", *, leaves_null: bool = False
    ) -> None:
        self.document.mistakes.append(Mistake(path, _line(node), what, hint, leaves_null))


def _to_value(kind: str, text: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        try:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        except ValueError:  # more digits than Python converts
            return text
    return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _shown_tag(node: yaml.Node) -> str:
    return str(node.tag).replace(_TAG, "!!")


def _check_characters(text: str) -> None:
    """Raise for characters that YAML forbids, with their line, which PyYAML's own error lacks."""
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        mark = yaml.Mark("", found.start(), text.count("\n", 0, found.start()), 0, text, found.start())
        raise yaml.MarkedYAMLError(problem=f"the character {found[0]!r} is not allowed", problem_mark=mark)


def _explain(error: yaml.MarkedYAMLError, text: str) -> Mistake:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    what = error.problem or "syntax error"
    hint = ""
    lines = text.split("\n")
    if "\t" in re.match(r"[\s\-]*", lines[line] if line < len(lines) else "").group():  # type: ignore[union-attr]
        what, hint = "a tab in the indentation", "indent with spaces"
    elif "mapping values are not allowed" in what:
        what = "unexpected colon"
        hint = "put values that contain a colon in quotes; check the indentation"
    elif "expected a single document" in (error.context or ""):
        what, hint = "more than one document", "remove the line `---`"
    elif "cannot start any token" in what:
        hint = "put the value in quotes"
    elif error.context:
        what = f"{what} {error.context}"
        if error.context_mark and error.context_mark.line != line:
            hint = f"it begins on line {error.context_mark.line + 1}"
    return Mistake((), line + 1, f"invalid YAML: {what}", hint)
