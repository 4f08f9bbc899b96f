"""The configuration described for editors (JSON Schema) and for people (Markdown), both from the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import BaseModel

from imgtrain.config.catalogue import Catalogue, Signature, load_catalogue
from imgtrain.config.render import to_plain
from imgtrain.config.schema import Config
from imgtrain.config.wording import describe_type

__all__ = ["render_reference", "render_schema"]

_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}

_INTRODUCTION = """\
# The configuration

*Written by `scripts/make_reference.py` from the descriptions in `imgtrain/config/schema.py`.*

A configuration is one YAML file. Every key except `data.train` has a default; unknown keys are errors;
relative paths are relative to the file. Any key can be given on the command line instead:
`--set training.epochs=3 --set model.layers.0.Conv2D.filters=32`, with dotted keys, list positions counted
from 0 and YAML values. Editors complete and check keys with the JSON Schema that `imgtrain schema` prints.

YAML 1.2 is read: `yes` and `no` are texts (and accepted for true and false where those are wanted), `1e-3` is a
number. A key may stand only once. Class names stay as they are written, also `007` and `no`.
"""

_NAMES = """\
## Names that Keras knows

From Keras {version}. Layers are written with their exact name; arguments by name, or one value for the
first argument. Initializers, regularizers and constraints are written by name, or with arguments:
`kernel_regularizer: {{L2: {{l2: 0.01}}}}`. What would carry foreign code into the model (`Lambda` and its
like) is refused.
"""


def render_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the configuration as it is written in YAML."""
    catalogue = load_catalogue()
    schema = Config.model_json_schema()
    definitions = schema["$defs"]
    definitions["LayerSpec"] = _layer_schema(catalogue)
    definitions["OptimizerSpec"] = _optimizer_schema(catalogue)
    training = definitions["TrainingConfig"]["properties"]
    training["loss"] |= {"enum": ["auto", *catalogue.losses]}
    training["metrics"]["items"] |= {"enum": list(catalogue.metrics)}
    defaults = _defaults()
    for name, section in schema["properties"].items():
        definition = definitions[section["$ref"].rpartition("/")[2]]
        for key, value in defaults[name].items():
            definition["properties"][key].setdefault("default", value)
        if name != "data":  # a section without any key is null in YAML
            section["anyOf"] = [{"$ref": section.pop("$ref")}, {"type": "null"}]
    plain = _tidy(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "imgtrain configuration",
        **plain,
    }


def render_reference() -> str:
    """Return the page `docs/configuration.md`: each key with its default, what is allowed, what it does."""
    catalogue = load_catalogue()
    parts = [_INTRODUCTION]
    for name, field in Config.model_fields.items():
        parts += _section_pages(name, cast(type[BaseModel], field.annotation), _defaults()[name])
    parts.append(_NAMES.format(version=catalogue.keras_version))
    for title, names in (
        ("Optimizers", map(str.lower, catalogue.optimizers)),
        ("Losses", catalogue.losses),
        ("Metrics", catalogue.metrics),
    ):
        parts.append(f"### {title}\n\n{', '.join(f'`{name}`' for name in names)}\n")
    rows = (_layer_row(signature) for signature in catalogue.layers.values())
    parts.append(
        "### Layers\n\n| layer | arguments; the required ones in bold |\n|---|---|\n" + "".join(rows)
    )
    return "\n".join(parts)


def _defaults() -> dict[str, Any]:
    """Return what a configuration has that only names its training folder."""
    defaults = to_plain(Config.model_validate({"data": {"train": "required"}}))
    del defaults["data"]["train"]
    return defaults


def _section_pages(path: str, section: type[BaseModel], defaults: Mapping[str, Any]) -> Iterator[str]:
    """Yield the chapter of a section, then those of the sections in it."""
    rows = ["| key | default | allowed | |\n|---|---|---|---|\n"]
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, field in section.model_fields.items():
        allowed = describe_type(field.annotation, field.metadata)
        nested = _nested_section(field.annotation)
        if nested is not None:
            inner.append((name, nested))
            allowed = f"see [{path}.{name}](#{path}{name}), or null"
        default = f"`{_inline(defaults[name])}`" if name in defaults else "*required*"
        if (path, name) == ("model", "layers"):
            default = "see below"
        rows.append(f"| `{name}` | {default} | {allowed} | {field.description} |\n")
    level = "##" if "." not in path else "###"
    yield f"{level} {path}\n\n{section.__doc__}\n\n{''.join(rows)}"
    if path == "model":
        layers = "".join(f"    - {_inline(layer)}\n" for layer in defaults["layers"])
        yield f"The default network:\n\n```yaml\nmodel:\n  layers:\n{layers}```\n"
    for name, nested in inner:
        # One that is null by default has defaults of its own for when it is written.
        yield from _section_pages(f"{path}.{name}", nested, defaults[name] or nested().model_dump())


def _nested_section(annotation: Any) -> type[BaseModel] | None:
    """Return the section of a field that is one, or null."""
    members = [member for member in getattr(annotation, "__args__", ()) if member is not type(None)]
    if len(members) == 1 and isinstance(members[0], type) and issubclass(members[0], BaseModel):
        return members[0]
    return None


def _inline(value: Any) -> str:
    """Return a value as YAML would be written by hand, on one line."""
    if isinstance(value, dict):
        items = ", ".join(f"{key}: {_inline(item)}" for key, item in value.items())
        return items if len(value) == 1 and isinstance(next(iter(value.values())), dict) else f"{{{items}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if value == 1 / 255:
        return "1/255"
    return value if isinstance(value, str) else json.dumps(value)


def _layer_row(signature: Signature) -> str:
    words = (f"**`{name}`**" if name in signature.required else f"`{name}`" for name in signature.arguments)
    return f"| `{signature.name}` | {', '.join(words)} |\n"


def _layer_schema(catalogue: Catalogue) -> dict[str, Any]:
    plain = {"type": ["null", "boolean", "number", "string", "array"]}
    aliases = {alias: catalogue.layers[name] for alias, name in catalogue.layer_aliases.items()}
    signatures = {**catalogue.layers, **aliases}
    properties = {}
    for name, signature in signatures.items():
        arguments = {
            "type": "object",
            "properties": {argument: {} for argument in signature.arguments},
            "additionalProperties": False,
        } | ({"required": list(signature.required)} if signature.required else {})
        properties[name] = {"anyOf": [arguments, plain]} if len(signature.required) < 2 else arguments
    return {
        "description": "A Keras layer: its name, alone or with its arguments.",
        "anyOf": [
            {"enum": [name for name, signature in signatures.items() if not signature.required]},
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "properties": properties,
                "additionalProperties": False,
            },
        ],
    }


def _optimizer_schema(catalogue: Catalogue) -> dict[str, Any]:
    names = [name.lower() for name in catalogue.optimizers]
    arguments = sorted({argument for known in catalogue.optimizers.values() for argument in known.arguments})
    return {
        "description": "A Keras optimizer: its name, alone or with its arguments.",
        "anyOf": [
            # Any case is accepted, editors complete the usual one.
            {"enum": names},
            {"enum": list(catalogue.optimizers)},
            {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"enum": [*names, *catalogue.optimizers]},
                    **{argument: {} for argument in arguments},
                },
                "additionalProperties": False,
            },
        ],
    }


def _tidy(schema: Any) -> Any:
    """Return the schema as editors want it.

    Without pydantic's names of keys and types, which would be shown before the description; and with limits
    under JSON Schema's names, which pydantic does not use where a validator of ours stands before the type.
    """
    if isinstance(schema, dict):
        return {
            _LIMITS.get(key, key): _tidy(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [_tidy(item) for item in schema] if isinstance(schema, list) else schema
