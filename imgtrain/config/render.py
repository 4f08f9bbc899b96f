"""Render a `Config` as YAML with all defaults written out; loading it gives an equal configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from imgtrain.config.document import RESOLVERS
from imgtrain.config.schema import Config

__all__ = ["render_config", "render_value", "to_plain"]


def render_config(config: Config) -> str:
    """Return YAML with all keys and absolute paths; `load_config` on it gives an equal configuration."""
    plain = to_plain(config)
    return "\n".join(_render({name: section}) for name, section in plain.items())


def to_plain(config: Config) -> dict[str, Any]:
    """Return the configuration as mappings, lists, strings, numbers, booleans and None, in the short forms."""
    return {name: _plain(section) for name, section in config.model_dump().items()}


def render_value(value: Any) -> str:
    """Return a string, number or list of these as a YAML value on one line."""
    text = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class _Dumper(yaml.SafeDumper):
    """Quotes exactly those strings that `read_document` would interpret as another type."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's API)
        None: [*RESOLVERS[None], ("tag:yaml.org,2002:merge", re.compile(r"<<\Z"))]
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _render(section: dict[str, Any]) -> str:
    return yaml.dump(section, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    """Write lists of plain values, and values of mappings inside lists, on one line."""
    node = dumper.represent_sequence("tag:yaml.org,2002:seq", items)
    node.flow_style = not any(isinstance(item, dict) for item in items)
    for item in node.value:
        if isinstance(item, yaml.MappingNode):
            for _, value in item.value:
                _set_flow(value)
    return node


def _set_flow(node: yaml.Node) -> None:
    if isinstance(node, yaml.CollectionNode):
        node.flow_style = True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Escape line breaks, which PyYAML would write literally."""
    style = '"' if text and text.splitlines() != [text] else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
