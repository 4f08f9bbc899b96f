"""The reference page and the JSON Schema are what the schema says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from imgtrain.config import Config, parse_config
from imgtrain.config.document import read_document
from imgtrain.config.reference import render_reference, render_schema
from imgtrain.config.render import render_config

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
ANNOTATIONS = {"$schema", "$defs", "title", "description", "default", "format"}
MINIMAL: dict[str, Any] = {"data": {"train": "x"}}


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """A validator for the keywords that the schema uses; any other keyword fails the test that meets it."""
    types = {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "null": value is None,
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
    }
    number, text, items, keys = types["number"], types["string"], types["array"], types["object"]
    checks = {
        "$ref": lambda ref: fits(value, root["$defs"][ref.removeprefix("#/$defs/")], root),
        "type": lambda wanted: any(types[name] for name in ([wanted] if isinstance(wanted, str) else wanted)),
        "enum": lambda allowed: value in allowed,
        "const": lambda allowed: value == allowed,
        "anyOf": lambda members: any(fits(value, member, root) for member in members),
        "minimum": lambda limit: not number or value >= limit,
        "maximum": lambda limit: not number or value <= limit,
        "exclusiveMinimum": lambda limit: not number or value > limit,
        "exclusiveMaximum": lambda limit: not number or value < limit,
        "minLength": lambda length: not text or len(value) >= length,
        "pattern": lambda pattern: not text or re.search(pattern, value),
        "minItems": lambda length: not items or len(value) >= length,
        "maxItems": lambda length: not items or len(value) <= length,
        "items": lambda inner: not items or all(fits(item, inner, root) for item in value),
        "prefixItems": lambda inner: (
            not items or all(map(lambda item, one: fits(item, one, root), value, inner))
        ),
        "minProperties": lambda length: not keys or len(value) >= length,
        "maxProperties": lambda length: not keys or len(value) <= length,
        "required": lambda names: not keys or set(names) <= set(value),
        "properties": lambda inner: (
            not keys or all(fits(value[key], one, root) for key, one in inner.items() if key in value)
        ),
        "propertyNames": lambda inner: not keys or all(fits(key, inner, root) for key in value),
        "additionalProperties": lambda inner: (
            not keys
            or all(
                inner is not False and (inner is True or fits(value[key], inner, root))
                for key in set(value) - set(schema.get("properties", ()))
            )
        ),
    }
    return all(checks[keyword](rule) for keyword, rule in schema.items() if keyword not in ANNOTATIONS)


@pytest.fixture(scope="module")
def schema():
    return render_schema()


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == render_reference(), "run `python scripts/make_reference.py`"


def test_the_page_has_every_key():
    page = render_reference()
    for section, field in Config.model_fields.items():
        chapter = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
        for name, inner in field.annotation.model_fields.items():
            assert f"| `{name}` |" in chapter
            assert inner.description in chapter


def test_the_schema_is_json(schema):
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize(
    "text",
    [
        "data: {train: x}",
        "data: {train: x, classes: [0, 01, no], validation_split: 0.2}\naugmentation:\ntraining:",
        "data: {train: x}\npreprocessing: {rescale: 1/255}",
        "data: {train: x}\naugmentation: {width_shift_range: [1, 2], zoom_range: [0.8, 1.2], brightness_range: null}",
        "data: {train: x}\nmodel: {layers: [Flatten, MaxPool2D: 2, Dense: 3, Conv2D: {filters: 1, kernel_size: 3}]}",
        "data: {train: x}\ntraining: {optimizer: Adam, early_stopping: null, class_weight: {a: 1}}",
        "data: {train: x}\ntraining: {optimizer: {name: sgd, momentum: 0.9}, reduce_lr_on_plateau: {factor: 0.5}}",
        "data: {train: x}\nevaluation: {threshold: {precision: 0.9}}",
    ],
)
def test_the_schema_accepts_what_loads(schema, text):
    value = read_document(text).value
    parse_config(value)
    assert fits(value, schema, schema)


def test_the_schema_accepts_a_resolved_configuration(schema):
    assert fits(read_document(render_config(parse_config(MINIMAL))).value, schema, schema)


@pytest.mark.parametrize(
    "text",
    [
        "data: {}",
        "data:",
        "{}",
        "data: {train: x, trian: y}",
        "data: {train: x}\ndatum: 1",
        "data: {train: x, batch_size: 0}",
        "data: {train: x, validation_split: 1}",
        "data: {train: x, target_size: [1]}",
        "data: {train: x, class_mode: many}",
        "data: {train: x}\npreprocessing: {rescale: a}",
        "data: {train: x}\nmodel: {layers: [Conv2D]}",
        "data: {train: x}\nmodel: {layers: [Conv2D: 3]}",
        "data: {train: x}\nmodel: {layers: [Lambda: x]}",
        "data: {train: x}\nmodel: {layers: [Dense: {unit: 3}]}",
        "data: {train: x}\ntraining: {optimizer: {name: sgd, lr: 1}}",
        "data: {train: x}\ntraining: {loss: mine}",
        "data: {train: x}\ntraining: {metrics: [mine]}",
        "data: {train: x}\nevaluation: {threshold: 1}",
    ],
)
def test_the_schema_refuses_what_does_not_load(schema, text):
    assert not fits(read_document(text).value, schema, schema)


def test_every_key_has_a_description_and_a_default(schema):
    for name, section in schema["properties"].items():
        reference = section.get("$ref") or section["anyOf"][0]["$ref"]
        for key, field in schema["$defs"][reference.rpartition("/")[2]]["properties"].items():
            assert field["description"], key
            assert "default" in field or (name, key) == ("data", "train")
