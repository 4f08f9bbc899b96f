"""The resolved configuration: everything written out, and the same when it is read again."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgtrain.config import load_config, parse_config
from imgtrain.config.document import read_document
from imgtrain.config.render import render_config, render_value
from imgtrain.config.schema import Config

# No NUL in paths, no lone surrogates in what comes from a file.
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
awkward = st.sampled_from(
    ["no", "01", "1e3", "~", "null", "<<", "=", "- a", "a: b", "#", "'", '"', " x ", "2020-01-01"]
)
shares = st.floats(0.01, 0.99)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
layers = st.sampled_from(
    [
        "Flatten",
        {"Dropout": 0.2},
        {"MaxPooling2D": [2, 3]},
        {
            "Dense": {
                "units": 8,
                "kernel_regularizer": {"L2": {"l2": 1e-5}},
                "kernel_initializer": "he_normal",
            }
        },
        {"Activation": "relu"},
        {"Cropping2D": [[1, 2], [3, 4]]},
    ]
)
configurations = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {"train": names},
            optional={
                "validation_split": shares,
                "test": names,
                "target_size": st.lists(st.integers(1, 9999), min_size=2, max_size=2),
                "classes": st.lists(names | awkward, min_size=3, max_size=5, unique=True),
                "shuffle": st.booleans(),
                "group_by": st.sampled_from([r"(patient\d+)", "^([^/]+)/"]),
            },
        ),
        "preprocessing": st.fixed_dictionaries({}, optional={"rescale": finite.filter(bool)}),
        "augmentation": st.fixed_dictionaries(
            {},
            optional={
                "width_shift_range": st.integers(0, 9) | shares | st.lists(finite, min_size=1, max_size=3),
                "zoom_range": shares | st.just([0.5, 1.5]),
                "brightness_range": st.just([0.5, 1]),
            },
        ),
        "model": st.fixed_dictionaries({}, optional={"layers": st.lists(layers, min_size=1, max_size=4)}),
        "training": st.fixed_dictionaries(
            {},
            optional={
                "optimizer": st.sampled_from(
                    ["sgd", {"name": "Nadam", "learning_rate": 1e-7, "beta_1": 0.5}]
                ),
                "metrics": st.just(["acc", "AUC"]),
                "early_stopping": st.none() | st.just({"patience": 3}),
                "reduce_lr_on_plateau": st.none() | st.just({"min_lr": 1e-10}),
                "class_weight": st.just("balanced")
                | st.dictionaries(names | awkward, st.floats(0, 1e9), max_size=3),
            },
        ),
        "evaluation": st.fixed_dictionaries(
            {}, optional={"threshold": shares | st.just("f1") | st.builds(lambda x: {"recall": x}, shares)}
        ),
        "output": st.fixed_dictionaries({}, optional={"directory": names}),
    }
)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(mapping=configurations)
def test_what_is_rendered_loads_equal(tmp_path, mapping):
    config = parse_config(mapping, base=tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(render_config(config), encoding="utf-8")
    again = load_config(path)
    assert again == config
    assert render_config(again) == render_config(config)


def test_every_key_is_written_out(tmp_path):
    rendered = yaml.safe_load(render_config(parse_config({"data": {"train": "x"}}, base=tmp_path)))
    assert {name: set(section) for name, section in rendered.items()} == {
        name: set(field.annotation.model_fields) for name, field in Config.model_fields.items()
    }
    assert rendered["data"]["train"] == str(tmp_path.resolve() / "x")
    assert rendered["training"]["early_stopping"]["patience"] == 4


def test_a_folder_whose_name_is_no_utf8(tmp_path):
    base = tmp_path / b"caf\xe9".decode("utf-8", "surrogateescape")
    config = parse_config({"data": {"train": "x"}}, base=base)
    path = tmp_path / "config.yaml"
    path.write_text(render_config(config), encoding="utf-8")
    assert load_config(path).data.train == config.data.train


def test_a_layer_stands_on_one_line():
    config = parse_config(
        {
            "data": {"train": "x"},
            "model": {"layers": [{"Conv2D": {"filters": 8, "kernel_size": [3, 3]}}, "Flatten"]},
        }
    )
    lines = render_config(config).splitlines()
    assert "    - Conv2D: {filters: 8, kernel_size: [3, 3]}" in lines
    assert "    - Flatten" in lines


@pytest.mark.parametrize(
    "value",
    [
        "no",
        "007",
        "1e3",
        "~",
        "",
        "a: b",
        "#x",
        "x" * 300,
        "<<",
        True,
        3,
        0.1,
        1e-7,
        None,
        ["a b", "1"],
        "\x1b\n",
        "a\nb",
        ["a\nb"],
        "a\n",
    ],
)
def test_a_value_reads_back(value):
    text = render_value(value)
    assert "\n" not in text
    assert read_document(f"key: {text}").value == {"key": value}


@given(st.floats())
def test_numbers_read_back_exactly(number):
    again = read_document(render_value(number)).value
    assert again == number or (math.isnan(again) and math.isnan(number))
