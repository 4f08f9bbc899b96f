"""Configuration files: what they mean, and one broken one per mistake, with its line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgtrain.config import Config, load_config, parse_config
from imgtrain.errors import ConfigError, Problem

MINIMAL = "data:\n  train: images\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "cats.yaml"
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    return write


def problems_of(path: Path, *overrides: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert caught.value.exit_status == 2
    return list(caught.value.problems)


def test_a_minimal_file_has_every_default(write):
    config = load_config(write(MINIMAL))
    assert config.data.target_size == (256, 256)
    assert config.preprocessing.rescale == 1 / 255
    assert config.training.early_stopping.patience == 4
    assert config.training.reduce_lr_on_plateau is None
    assert config.training.optimizer.name == "Adam"
    assert config.output.model == "model.keras"


def test_paths_are_relative_to_the_file(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    path = write(
        """
        data: {train: ../images, validation: ~/more, test: /absolute, split_file: splits/first.csv}
        output: {directory: out}
        """
    )
    config = load_config(path, ["data.cache_directory=cache"])
    folder = tmp_path.resolve()
    assert config.data.train == folder.parent / "images"
    assert config.data.validation == Path("/home/somebody/more")
    assert config.data.test == Path("/absolute")
    assert config.data.split_file == folder / "splits/first.csv"
    assert config.data.cache_directory == folder / "cache"
    assert config.output.directory == folder / "out"


def test_a_run_directory_given_by_an_option_is_relative_to_where_it_is_typed(write, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    path = write("data: {train: images}\noutput: {directory: out}\n")
    assert load_config(path).output.directory == tmp_path.resolve() / "out"
    assert load_config(path, ["output.directory=runs/a"]).output.directory == here.resolve() / "runs" / "a"
    assert load_config(path, ["output={directory: b}"]).output.directory == here.resolve() / "b"
    assert load_config(path, ["output.model=c.h5"]).output.directory == tmp_path.resolve() / "out"


def test_what_a_relative_path_is_relative_to(write, tmp_path, monkeypatch):
    here = tmp_path / "here"
    (here / "seen").mkdir(parents=True)
    monkeypatch.chdir(here)
    path = write("data: {train: images, validation: seen, test: /absolute}\noutput: {directory: out}\n")
    folder = tmp_path.resolve()
    config = load_config(path, ["output.directory=runs"])
    assert config.relative_path("data", "train") == (
        f"'images' is relative to the folder of the configuration, {folder}"
    )
    assert config.relative_path("data", "validation").endswith(
        f", not to the current directory; did you mean {here.resolve() / 'seen'}?"
    )
    assert config.relative_path("data", "test") == config.relative_path("data", "split_file") == ""
    assert config.relative_path("output", "directory") == (
        f"'runs' is relative to the current directory, {here.resolve()}"
    )
    parsed = parse_config({"data": {"train": "images"}}, base=tmp_path)
    assert (
        parsed.relative_path("data", "train") == f"'images' is relative to the folder given as base, {folder}"
    )


def test_the_run_directory_is_named_after_the_file(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(write(MINIMAL)).output.directory == Path.cwd() / "runs" / "cats"


def test_a_path_through_an_unknown_home_stays_as_it_is(write, tmp_path):
    config = load_config(write("data: {train: ~nobody-of-this-name/images}"))
    assert config.data.train == tmp_path.resolve() / "~nobody-of-this-name/images"


def test_names_stay_as_written(write):
    config = load_config(
        write(
            """
            data:
              train: 2024
              test: 007
              classes: [0, 01, no, 1e3, 2020-01-01, null, "on"]
            training:
              class_weight: {0: 1, 01: 2, no: 3, 1e3: 4}
            """
        )
    )
    assert config.data.classes == ("0", "01", "no", "1e3", "2020-01-01", "null", "on")
    assert config.training.class_weight == {"0": 1, "01": 2, "no": 3, "1e3": 4}
    assert (config.data.train.name, config.data.test.name) == ("2024", "007")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("data.target_size", "150", (150, 150)),
        ("data.target_size", "[150, 200]", (150, 200)),
        ("data.shuffle", "no", False),
        ("data.shuffle", "On", True),
        ("data.shuffle", "0", False),
        ("training.epochs", "3.0", 3),
        ("training.epochs", "010", 10),
        ("training.epochs", "0x10", 16),
        ("data.batch_size", "'32'", 32),
        ("preprocessing.rescale", "1/255", 1 / 255),
        ("preprocessing.rescale", "1. / 255", 1 / 255),
        ("preprocessing.rescale", "-2e-1", -0.2),
        ("preprocessing.rescale", "1", 1.0),
        ("preprocessing.zca_epsilon", "1e-3", 0.001),
        ("augmentation.width_shift_range", "5", 5),
        ("augmentation.width_shift_range", "[-3, 3]", (-3.0, 3.0)),
        ("augmentation.zoom_range", "[0.8, 1.2]", (0.8, 1.2)),
        ("training.class_weight", "balanced", "balanced"),
        ("training.early_stopping", "null", None),
        ("training.early_stopping", "~", None),
        ("evaluation.threshold", "0.3", 0.3),
        ("evaluation.threshold", "youden", "youden"),
    ],
)
def test_values_mean_what_a_user_means(write, key, text, value):
    config = load_config(write(MINIMAL), [f"{key}={text}"])
    section, field = key.split(".")
    result = getattr(getattr(config, section), field)
    assert result == value
    assert type(result) is type(value)


def test_empty_sections_are_defaults(write):
    path = write(MINIMAL + "augmentation:\ntraining: null\noutput:\n  # all of it commented out\n")
    assert load_config(path) == load_config(write(MINIMAL))


def test_aliases_are_values(write):
    path = write(
        """
        data: &data {train: images, target_size: &size [64, 48]}
        model:
          layers:
            - &block Conv2D: {filters: 8, kernel_size: 3}
            - *block
        """
    )
    # The anchor stands on the key, as YAML has it; the whole item is a mapping.
    with pytest.raises(ConfigError, match="Conv2D"):
        load_config(path)
    path = write(
        """
        data: {train: images}
        model:
          layers:
            - &block {Conv2D: {filters: 8, kernel_size: 3}}
            - *block
        """
    )
    first, second = load_config(path).model.layers
    assert first == second


BROKEN = [
    pytest.param(
        "data:\n  train: x\n  trian: y\n", 3, "data.trian: unknown key 'trian'", "'train'", id="unknown"
    ),
    pytest.param(
        MINIMAL + "epochs: 3\n",
        3,
        "epochs: unknown key 'epochs'",
        "belongs in `training`",
        id="wrong-section",
    ),
    pytest.param(
        MINIMAL + "training:\n  patience: 3\n",
        4,
        "unknown key 'patience'",
        "`training.early_stopping` or `training.reduce_lr_on_plateau`",
        id="too-high",
    ),
    pytest.param(MINIMAL + "training:\n  lr: 3\n", 4, "unknown key 'lr'", "`training.optimizer`", id="lr"),
    pytest.param(
        MINIMAL + "training:\n  rotatoin_range: 3\n",
        4,
        "unknown key 'rotatoin_range'",
        "did you mean 'rotation_range'? It belongs in `augmentation`",
        id="misspelt-elsewhere",
    ),
    pytest.param(
        MINIMAL + "training:\n  early_stopping:\n    monitr: loss\n",
        5,
        "training.early_stopping.monitr: unknown key 'monitr'",
        "did you mean 'monitor'?",
        id="inside-an-optional-section",
    ),
    pytest.param(
        MINIMAL + "training:\n  early_stopping: false\n",
        4,
        "must be a mapping with the keys monitor, patience",
        "use null to disable it",
        id="false-for-null",
    ),
    pytest.param(
        MINIMAL + "output:\n  qqq: 3\n",
        4,
        "unknown key 'qqq'",
        "allowed: directory, model",
        id="nothing-near",
    ),
    pytest.param(
        "training:\n  epochs: 3\n", 1, "data.train: is required", "one subfolder per class", id="no-data"
    ),
    pytest.param("data:\n  test: x\n", 1, "data.train: is required", "", id="no-train"),
    pytest.param("data: x\n", 1, "data: must be a mapping", "", id="section-is-text"),
    pytest.param(MINIMAL + "training: [1]\n", 3, "training: must be a mapping", "", id="section-is-list"),
    pytest.param(
        MINIMAL + "  train: y\n", 3, "duplicate key 'train', first defined on line 2", "", id="twice"
    ),
    pytest.param(
        MINIMAL + "  target_size: 150x200\n",
        3,
        "must be auto, an integer in [1, 16384], or a list of two: height, width; got '150x200'",
        "write [150, 200]",
        id="not-a-pair",
    ),
    pytest.param(
        MINIMAL + "  target_size: [150]\n",
        3,
        "must be auto, an integer in [1, 16384], or a list of two: height, width; got [150]",
        "",
        id="one-of-two",
    ),
    pytest.param(
        MINIMAL + "train:\n  epochs: 3\n",
        3,
        "train: unknown key 'train'",
        "did you mean 'training'?",
        id="section-named-as-a-key",
    ),
    pytest.param(
        MINIMAL + "fit:\n  epochs: 3\n",
        3,
        "fit: unknown key 'fit'",
        "did you mean 'training'? It has the keys epochs",
        id="section-by-its-keys",
    ),
    pytest.param(
        MINIMAL + "early_stopping:\n  patience: 3\n",
        3,
        "unknown key 'early_stopping'",
        "`early_stopping` belongs in `training`",
        id="section-too-high",
    ),
    pytest.param(
        MINIMAL + "  color_mode: greyscale\n",
        3,
        "must be rgb, rgba or grayscale; got 'greyscale'",
        "did you mean 'grayscale'?",
        id="greyscale",
    ),
    pytest.param(MINIMAL + "  color_mode: BW\n", 3, "got 'BW'", "did you mean 'grayscale'?", id="bw"),
    pytest.param(MINIMAL + "  color_mode: rgb888\n", 3, "got 'rgb888'", "did you mean 'rgb'?", id="rgb888"),
    pytest.param(
        MINIMAL + "  resize: letterbox\n", 3, "got 'letterbox'", "did you mean 'pad'?", id="letterbox"
    ),
    pytest.param(
        MINIMAL + "training:\n  precision: fp16\n", 4, "got 'fp16'", "did you mean 'float16'?", id="fp16"
    ),
    pytest.param(
        MINIMAL + "  target_size: [0, 9]\n",
        3,
        "target_size[0]: must be an integer in [1, 16384]; got 0",
        "",
        id="zero-side",
    ),
    pytest.param(
        MINIMAL + "  target_size:\n    - 9\n    - x\n",
        5,
        "target_size[1]: must be an integer in [1, 16384]; got 'x'",
        "",
        id="item-line",
    ),
    pytest.param(
        MINIMAL + "  interpolation: bilinaer\n",
        3,
        "must be bilinear, nearest, bicubic, lanczos, box or hamming; got 'bilinaer'",
        "did you mean 'bilinear'?",
        id="literal",
    ),
    pytest.param(MINIMAL + "  batch_size: many\n", 3, "must be an integer ≥ 1; got 'many'", "", id="int"),
    pytest.param(MINIMAL + "  batch_size: 2.5\n", 3, "must be an integer ≥ 1; got 2.5", "", id="half"),
    pytest.param(
        MINIMAL + "  batch_size: true\n", 3, "must be an integer ≥ 1; got true", "", id="bool-for-int"
    ),
    pytest.param(MINIMAL + "  batch_size:\n", 3, "must be an integer ≥ 1; got null", "", id="null"),
    pytest.param(MINIMAL + "  shuffle: maybe\n", 3, "must be true or false; got 'maybe'", "", id="bool"),
    pytest.param(MINIMAL + "  test: ''\n", 3, "must be a path or null; got ''", "", id="empty-path"),
    pytest.param(MINIMAL + '  test: "a\\0b"\n', 3, "must be a path or null", "", id="nul-in-path"),
    pytest.param(
        MINIMAL + "  validation_split: 1\n", 3, "must be a number in (0, 1) or null; got 1", "", id="split"
    ),
    pytest.param(MINIMAL + "  validation_split: .nan\n", 3, "got .nan", "", id="nan"),
    pytest.param(
        MINIMAL + "  validation: v\n  validation_split: 0.2\n",
        4,
        "validation_split: validation and validation_split are mutually exclusive",
        "remove one",
        id="two-validations",
    ),
    pytest.param(
        MINIMAL + "  class_mode: binary\n  classes: [a, b, c]\n",
        4,
        "classes: must contain exactly two classes for class_mode binary; got 3",
        "",
        id="binary-of-three",
    ),
    pytest.param(MINIMAL + "  classes: [a, b, a]\n", 3, "classes[2]: duplicate class 'a'", "", id="a-a"),
    pytest.param(MINIMAL + "  classes: [a]\n", 3, "at least two classes", "", id="one-class"),
    pytest.param(
        MINIMAL + "  group_by: '('\n", 3, "must be a regular expression; got '('", "", id="no-regex"
    ),
    pytest.param(
        MINIMAL + f"  group_by: '{'(' * 1001}'\n", 3, "at most 1,000 characters", "", id="long-regex"
    ),
    pytest.param(
        MINIMAL + "  group_by: '(a{99999999999999999999})'\n", 3, "repetition number is", "", id="huge-regex"
    ),
    pytest.param(
        MINIMAL + "  group_by: 'a'\n",
        3,
        "must have exactly one group in parentheses; 'a' has 0",
        "",
        id="group",
    ),
    pytest.param(
        MINIMAL + "preprocessing:\n  rescale: 1/0\n", 4, "zero denominator", "", id="division-by-zero"
    ),
    pytest.param(MINIMAL + "preprocessing:\n  rescale: 0\n", 4, "all images black", "", id="black"),
    pytest.param(
        MINIMAL + "preprocessing:\n  rescale: a/b\n", 4, "or a fraction such as 1/255", "", id="fraction"
    ),
    pytest.param(
        MINIMAL + "augmentation:\n  zoom_range: [1.2, 0.8]\n",
        4,
        "must be [low, high] with low ≤ high; got [1.2, 0.8]",
        "",
        id="zoom",
    ),
    pytest.param(
        MINIMAL + "augmentation:\n  zoom_range: [0.1, x]\n",
        4,
        "zoom_range[1]: must be a number; got 'x'",
        "",
        id="x",
    ),
    pytest.param(MINIMAL + "augmentation:\n  zoom_range: true\n", 4, "got true", "", id="zoom-true"),
    pytest.param(
        MINIMAL + "augmentation:\n  width_shift_range: -1\n",
        4,
        "must be a number ≥ 0 or a list of numbers; got -1",
        "",
        id="shift",
    ),
    pytest.param(
        MINIMAL + "augmentation:\n  fill_mode: tanh\n",
        4,
        "must be nearest, constant, reflect or wrap; got 'tanh'",
        "",
        id="fill-mode",
    ),
    pytest.param(
        MINIMAL + "model:\n  layers:\n    - Flatten\n    - Maxpooling2D: 2\n",
        6,
        "model.layers[1]: unknown layer 'Maxpooling2D'",
        "did you mean 'MaxPooling2D'?",
        id="layer-name",
    ),
    pytest.param(
        MINIMAL + "model:\n  layers:\n    - Conv2D:\n        fliters: 3\n        kernel_size: 3\n",
        6,
        "model.layers[0].Conv2D.fliters: Conv2D has no argument 'fliters'",
        "did you mean 'filters'?",
        id="layer-argument",
    ),
    pytest.param(
        MINIMAL + "model:\n  layers:\n    - Conv2D: 16\n",
        5,
        "Conv2D requires kernel_size",
        "`Conv2D: {filters: …, kernel_size: …}`",
        id="layer-argument-missing",
    ),
    pytest.param(
        MINIMAL + "model:\n  layers: []\n",
        4,
        "must be a list of items, each the name of a layer, optionally with arguments; got []",
        "",
        id="no-layer",
    ),
    pytest.param(
        MINIMAL + "model:\n  layers:\n    - 5\n",
        5,
        "must be the name of a layer, optionally with arguments; got 5",
        "",
        id="layer-5",
    ),
    pytest.param(
        MINIMAL + "model:\n  layers:\n    - {Dense: 3, Flatten: }\n",
        5,
        "must be the name of a layer",
        "",
        id="two-in-one",
    ),
    pytest.param(
        MINIMAL + "model:\n  layers:\n    - Flatten: {name: a}\n    - ReLU: {name: a}\n",
        6,
        "duplicate layer 'a'",
        "",
        id="layer-name-twice",
    ),
    pytest.param(
        MINIMAL + "training:\n  optimizer: {name: adm}\n",
        4,
        "unknown optimizer 'adm'",
        "'adam'",
        id="optimizer",
    ),
    pytest.param(
        MINIMAL + "training:\n  optimizer:\n    name: sgd\n    lr: 1\n",
        6,
        "SGD has no argument 'lr'",
        "did you mean 'learning_rate'?",
        id="optimizer-argument",
    ),
    pytest.param(
        MINIMAL + "training:\n  optimizer: {name: sgd, learning_rate: fast}\n",
        4,
        "must be a number > 0; got 'fast'",
        "",
        id="learning-rate",
    ),
    pytest.param(
        MINIMAL + "training:\n  loss: binary_crosentropy\n",
        4,
        "unknown loss 'binary_crosentropy'",
        "binary_crossentropy",
        id="loss",
    ),
    pytest.param(
        MINIMAL + "training:\n  metrics:\n    - acc\n    - accuarcy\n",
        6,
        "unknown metric 'accuarcy'",
        "did you mean 'accuracy'?",
        id="metric",
    ),
    pytest.param(
        MINIMAL + "training:\n  metrics: [auc, auc]\n",
        4,
        "duplicate metric 'auc'",
        "",
        id="metric-twice",
    ),
    pytest.param(
        MINIMAL + "training:\n  class_weight:\n    cat: -1\n",
        5,
        "must be a number ≥ 0; got -1",
        "",
        id="weight",
    ),
    pytest.param(
        MINIMAL + "training:\n  class_weight: equal\n",
        4,
        "must be balanced, a mapping from names to a number ≥ 0 or null; got 'equal'",
        "",
        id="weights",
    ),
    pytest.param(
        MINIMAL + "evaluation:\n  threshold: {precision: 2}\n",
        4,
        "must be a number in (0, 1), f1, youden, {precision: a number in (0, 1]} or {recall: a number in (0, 1]}; "
        "got {precision: 2}",
        "",
        id="union",
    ),
    pytest.param(
        MINIMAL + "output:\n  model: model.pt\n",
        4,
        "must be a file name ending in .keras or .h5",
        "",
        id="suffix",
    ),
    pytest.param(MINIMAL + "output:\n  model: a/b.h5\n", 4, "without folders", "", id="model-in-folder"),
    pytest.param("data:\n\ttrain: x\n", 2, "a tab in the indentation", "spaces", id="tab"),
    pytest.param("data:\n  train: x\n \t test: y\n", 3, "a tab in the indentation", "spaces", id="tab-later"),
    pytest.param("data:\n  train: a: b\n", 2, "unexpected colon", "quotes", id="colon"),
    pytest.param("data:\n  train: @x\n", 2, "cannot start any token", "quotes", id="at-sign"),
    pytest.param("data:\n  train: 'x\n", 3, "end of stream", "begins on line 2", id="open-quote"),
    pytest.param(
        "data:\n  train: [x\n", 3, "while parsing a flow sequence", "begins on line 2", id="open-list"
    ),
    pytest.param("data: 1\n---\ndata: 2\n", 2, "more than one document", "`---`", id="two-documents"),
    pytest.param("data:\n  train: *x\n", 2, "undefined alias 'x'", "", id="undefined-alias"),
    pytest.param(
        "data:\n  train: \x07\n", 2, "the character '\\x07' is not allowed", "", id="control-character"
    ),
    pytest.param(
        'data:\n  train: "\\UFFFFFFFF"\n',
        1,
        "an escape sequence is not a valid character",
        "",
        id="no-character",
    ),
    pytest.param(MINIMAL + "model: &m\n  layers: *m\n", 3, "the alias contains itself", "", id="circular"),
    pytest.param(MINIMAL + "model: " + "[" * 60 + "]" * 60, 3, "more than 40 nested lists", "", id="deep"),
    pytest.param(MINIMAL + "? [a]\n: 1\n", 3, "keys must be strings", "", id="list-as-key"),
    pytest.param(MINIMAL + "output: {<<: {model: a.h5}}\n", 3, "merge keys (<<)", "", id="merge"),
    pytest.param(
        "data:\n  train: !!python/name:os.system x\n", 2, "the tag !!python/name:os.system", "", id="tag"
    ),
    pytest.param("data: !thing\n  train: x\n", 1, "the tag !thing is not supported", "", id="tag-on-mapping"),
    pytest.param(MINIMAL + "  batch_size: !!int x\n", 3, "'x' is not a valid !!int", "", id="tag-misfit"),
    pytest.param("- data\n", 1, "must be a mapping of sections; got ['data']", "", id="list"),
    pytest.param("hello\n", 1, "got 'hello'", "", id="text"),
]


@pytest.mark.parametrize(("text", "line", "what", "hint"), BROKEN)
def test_a_broken_file_is_one_problem_at_its_line(write, text, line, what, hint):
    path = write(text.encode())
    (problem,) = problems_of(path)
    place = f"{path}:{line}"
    assert f"{problem.where}: {problem.what}".startswith(f"{place}: ")
    assert what in f"{problem.where}: {problem.what}"
    assert hint in problem.hint
    assert "\n" not in problem.what + problem.hint


def test_all_problems_come_at_once_in_the_order_of_lines(write):
    path = write(
        """\
        data:
          train: x
          seed: 1
          seed: 2
        training:
          epochs: 0
          optimizer: {name: sgd, lr: 1, momentm: 2}
        model: {layers: [Conv2D: {strids: 1, filters: 3}]}
        augmentation:
          rotation_range: a lot
        modl:
        """
    )
    problems = problems_of(path, "data.batch_size=0")
    assert [problem.where.removeprefix(f"{path}") for problem in problems] == [
        "--set data.batch_size=0: data.batch_size",
        ":3: data.seed",
        ":4: data.seed",
        ":6: training.epochs",
        ":7: training.optimizer.lr",
        ":7: training.optimizer.momentm",
        ":8: model.layers[0].Conv2D.strids",
        ":8: model.layers[0].Conv2D",
        ":10: augmentation.rotation_range",
        ":11: modl",
    ]


def test_an_alias_bomb_is_refused_quickly(write):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (problem,) = problems_of(write("\n".join(lines)))
    assert "aliases expand to more than 20,000 values" in problem.what


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_an_empty_file(write, text):
    (problem,) = problems_of(write(text.encode()))
    assert problem.what == "is empty"


def test_a_file_that_is_no_utf8(write):
    (problem,) = problems_of(path := write("data:\n  train: Bücher\n".encode("latin-1")))
    assert problem.where == f"{path}:2"
    assert problem.what == "is not valid UTF-8: byte 0xfc"


def test_a_byte_order_mark_is_no_part_of_the_first_key(write):
    assert load_config(write(MINIMAL.encode("utf-8-sig"))).data.train.name == "images"


def test_windows_line_ends(write):
    (problem,) = problems_of(path := write(b"data:\r\n  train: x\r\n  tset: y\r\n"))
    assert problem.where == f"{path}:3: data.tset"


def test_a_huge_file(write):
    (problem,) = problems_of(write(b"#" * 300_000))
    assert "larger than 256 KiB" in problem.what


def test_a_missing_file_and_the_one_that_was_meant(write, tmp_path):
    write(MINIMAL)
    (problem,) = problems_of(tmp_path / "cast.yaml")
    assert problem.what == "no such file"
    assert problem.hint == "did you mean 'cats.yaml'?"


def test_a_missing_file_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (problem,) = problems_of(Path("cats.yaml"))
    assert problem.hint == f"'cats.yaml' is relative to the current directory, {Path.cwd()}"


def test_a_folder_instead_of_a_file(tmp_path):
    (problem,) = problems_of(tmp_path)
    assert problem.what == "is a folder, not a configuration"
    assert "imgtrain init" in problem.hint
    (tmp_path / "config.yaml").touch()
    (problem,) = problems_of(tmp_path)
    assert problem.hint == f"use the configuration in it: {tmp_path / 'config.yaml'}"


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "file.yaml/inner"])
def test_an_impossible_path(write, tmp_path, name):
    write(MINIMAL).rename(tmp_path / "file.yaml")
    assert len(problems_of(tmp_path / name)) == 1


def test_names_from_outside_cannot_move_the_cursor(write):
    (problem,) = problems_of(write(MINIMAL + '"\\e[31mx\\n": 1\n'))
    assert "\x1b" not in str(problem)
    assert "\n" not in problem.where


# --set


@pytest.mark.parametrize(
    ("options", "place", "value"),
    [
        (["training.epochs=3"], lambda c: c.training.epochs, 3),
        (["training.epochs=3", "training.epochs=4"], lambda c: c.training.epochs, 4),
        (["training.early_stopping=null"], lambda c: c.training.early_stopping, None),
        (["training.early_stopping.patience=2"], lambda c: c.training.early_stopping.patience, 2),
        (
            ["training.reduce_lr_on_plateau.factor=0.5"],
            lambda c: c.training.reduce_lr_on_plateau.patience,
            10,
        ),
        (
            ["training.optimizer.learning_rate=0.5"],
            lambda c: c.training.optimizer.arguments,
            {"learning_rate": 0.5},
        ),
        (
            ["training.optimizer=sgd", "training.optimizer.momentum=0.9"],
            lambda c: c.training.optimizer.name,
            "SGD",
        ),
        (["data.target_size.1=64"], lambda c: c.data.target_size, (256, 64)),
        (["training.metrics.1=AUC"], lambda c: c.training.metrics, ("accuracy", "AUC")),
        (["model.layers.0=Flatten"], lambda c: c.model.layers[0].name, "Flatten"),
        (["model.layers.0.Conv2D.filters=7"], lambda c: c.model.layers[0].arguments["filters"], 7),
        (["data.classes=[no, 01]"], lambda c: c.data.classes, ("no", "01")),
        (["data.train=a=b"], lambda c: c.data.train.name, "a=b"),
        (["training={epochs: 2}"], lambda c: c.training.epochs, 2),
        (["evaluation.threshold.recall=0.9"], lambda c: c.evaluation.threshold.recall, 0.9),
        (["training.class_weight.0=2"], lambda c: c.training.class_weight, {"0": 2.0}),
        (["data.validation="], lambda c: c.data.validation, None),
    ],
)
def test_options_change_the_configuration(write, options, place, value):
    assert place(load_config(write(MINIMAL + "training: {reduce_lr_on_plateau: null}"), options)) == value


@pytest.mark.parametrize(
    ("option", "where", "what"),
    [
        ("training.epochs", "--set training.epochs", "is not of the form KEY=VALUE"),
        ("=3", "--set =3", "is not of the form KEY=VALUE"),
        ("a..b=3", "--set a..b=3", "is not of the form KEY=VALUE"),
        (
            "training.epochs=no",
            "--set training.epochs=no: training.epochs",
            "must be an integer ≥ 1; got 'no'",
        ),
        ("trainin.epochs=3", "--set trainin.epochs=3: trainin", "unknown key 'trainin'"),
        ("data=null", "--set data=null: data.train", "is required"),
        ("data.train.x=3", "--set data.train.x=3", "data.train is 'images' and has no keys"),
        ("model.layers.9=Flatten", "--set model.layers.9=Flatten", "model.layers is a list of 9"[:14]),
        ("model.layers.first=Flatten", "--set model.layers.first=Flatten", "has no item 'first'"),
        ("training.epochs=[", "--set training.epochs=[", "invalid YAML"),
        ("training.epochs={a: 1, a: 2}", "--set training.epochs={a: 1, a: 2}", "duplicate key"),
    ],
)
def test_a_wrong_option_is_named(write, option, where, what):
    options = ["model.layers=[Flatten]", option] if option.startswith("model") else [option]
    (problem,) = problems_of(write(MINIMAL), *options)
    assert problem.where == where
    assert what in problem.what


@pytest.mark.parametrize(
    ("option", "example"),
    [
        ("epochs=3", "training.epochs=3"),
        ("trainin.epochs=3", "training.epochs=3"),
        ("train.epochs=3", "training.epochs=3"),
        ("fit.epochs=3", "training.epochs=3"),
        ("training.epoch=3", "training.epochs=3"),
        ("--epochs=3", "training.epochs=3"),
        ("early_stopping.patience=3", "training.early_stopping.patience=3"),
        ("lr=0.1", "training.optimizer.learning_rate=0.1"),
        ("training.epochs:3", "training.epochs=3"),
        ("training.epochs 3", "training.epochs=3"),
        ("training.epochs", "training.epochs=VALUE"),
        ("training=3", "training.epochs=3"),
    ],
)
def test_a_wrong_option_has_an_example_in_the_right_form(write, option, example):
    (problem,) = problems_of(write(MINIMAL), option)
    assert problem.where.startswith(f"--set {option}")
    assert problem.hint.endswith(f"write `--set {example}`")


def test_an_option_of_the_command_line_is_named_as_typed(write):
    with pytest.raises(ConfigError) as caught:
        load_config(write(MINIMAL), ["training.epochs=0"], typed={"training.epochs=0": "--epochs 0"})
    assert caught.value.problems[0].where == "--epochs 0: training.epochs"


def test_a_mended_value_is_no_problem(write):
    path = write(MINIMAL + "training: {epochs: 0}")
    assert len(problems_of(path)) == 1
    assert load_config(path, ["training.epochs=1"]).training.epochs == 1


def test_where_names_line_or_option(write):
    config = load_config(path := write(MINIMAL), ["training.early_stopping.patience=1"])
    assert config.where("data", "train") == f"{path}:2: data.train"
    assert config.where("data", "test") == f"{path}:1: data.test"
    assert config.where("output", "model") == f"{path}:1: output.model"
    option = "--set training.early_stopping.patience=1"
    assert (
        config.where("training", "early_stopping", "patience")
        == f"{option}: training.early_stopping.patience"
    )


# From Python


def test_parse_config_checks_the_same(tmp_path):
    given = {"data": {"train": Path("images"), "classes": [0, 1], "target_size": (32, 64)}, "model": None}
    config = parse_config(given, base=tmp_path)
    assert config.data.train == tmp_path.resolve() / "images"
    assert config.data.classes == ("0", "1")
    assert given["data"]["train"] == Path("images")
    with pytest.raises(ConfigError) as caught:
        parse_config({"data": {"train": "x", "tset": 1}, "training": {"epochs": -1}})
    assert [problem.where for problem in caught.value.problems] == ["data.tset", "training.epochs"]
    with pytest.raises(ConfigError, match="mapping"):
        parse_config([1])


# Any text, any structure

SECTIONS = {name: sorted(field.annotation.model_fields) for name, field in Config.model_fields.items()}
KEYS = sorted({*SECTIONS, *(key for keys in SECTIONS.values() for key in keys)})
WORDS = [
    "Conv2D",
    "Dense",
    "adam",
    "name",
    "class_name",
    "config",
    "precision",
    "recall",
    "L2",
    "units",
    "<<",
]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([*KEYS, *WORDS]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS, *WORDS]) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
likely = st.fixed_dictionaries(
    {},
    optional={
        name: st.fixed_dictionaries({}, optional=dict.fromkeys(keys, values)) | values
        for name, keys in SECTIONS.items()
    },
)
fuzz = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def check_clear(load: Callable[[], Config], path: Path | None = None) -> None:
    """Any other exception than ConfigError passes through, and fails the test; a problem in a file has its line."""
    try:
        outcome = load()
    except ConfigError as error:
        outcome = error.problems
    assert isinstance(outcome, Config) or outcome
    if isinstance(outcome, tuple):
        assert all("\n" not in problem.where + problem.what for problem in outcome)
        assert path is None or all(
            re.match(rf"{re.escape(str(path))}:\d+", problem.where) for problem in outcome
        )


@fuzz
@given(text=st.text() | st.text(alphabet="ab01:-[]{}&*!|>'\"#%@ \n\t,?.", max_size=60))
def test_any_text_is_a_configuration_or_a_clear_error(write, text):
    path = write(text.encode("utf-8", "surrogatepass"))
    check_clear(lambda: load_config(path), path)


@fuzz
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_configuration_or_a_clear_error(write, content):
    path = write(content)
    check_clear(lambda: load_config(path), path)


@fuzz
@given(tree=likely | values)
def test_any_structure_is_a_configuration_or_a_clear_error(write, tree):
    path = write(yaml.safe_dump(tree).encode("utf-8", "surrogatepass"))
    check_clear(lambda: load_config(path), path)
    check_clear(lambda: parse_config(tree))


@fuzz
@given(
    keys=st.lists(st.sampled_from([*KEYS, *WORDS, "0", "9"]), min_size=1, max_size=4),
    value=st.text(max_size=20),
)
def test_any_option_is_a_configuration_or_a_clear_error(write, keys, value):
    path = write(MINIMAL)
    check_clear(lambda: load_config(path, [f"{'.'.join(keys)}={value}"]))


def test_loading_imports_neither_tensorflow_nor_opencv(write):
    code = (
        "import sys; from imgtrain.config import load_config; load_config(sys.argv[1]);"
        "print({'tensorflow', 'keras', 'cv2', 'sklearn', 'scipy'} & set(sys.modules) or 'light')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, write(MINIMAL)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "light\n", done.stdout + done.stderr
