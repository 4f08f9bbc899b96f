"""The files that `predict` writes: formats, names that mean harm, whole or not at all."""

import csv
import json

import numpy as np
import pytest

from imgtrain.errors import ConfigError
from imgtrain.evaluation.prediction_writer import (
    FilePrediction,
    UnreadableFile,
    check_prediction_path,
    prediction_writer,
)

NAMES = ("cat", "=dog", "eel")
ROWS = [
    FilePrediction("a,b.jpg", 1, True, np.array([0.1, 0.7, 0.2], np.float32)),
    FilePrediction('=HYPERLINK("x").jpg', 0, False, np.array([1 / 3, 1 / 3, 1 / 3], np.float32)),
    UnreadableFile("two\nlines.jpg", "empty file"),
]


def write(path, top=None, rows=ROWS):
    with prediction_writer(path, NAMES, top) as put:
        for row in rows:
            put(row)
    return path


def test_csv_has_every_probability_and_no_formula(tmp_path):
    header, *rows = csv.reader(write(tmp_path / "a.csv").read_text().splitlines(keepends=True))
    assert header == ["path", "predicted", "probability", "error", "cat", "'=dog", "eel"]
    assert rows[0] == ["a,b.jpg", "'=dog", "0.7", "", "0.1", "0.7", "0.2"]
    assert rows[1][:2] == ['\'=HYPERLINK("x").jpg', "unsure"]
    assert rows[2] == ["two\nlines.jpg", "", "", "empty file", "", "", ""]
    assert np.float32(rows[1][4]) == np.float32(1 / 3)


def test_csv_with_the_most_probable_classes(tmp_path):
    header, first, *_ = csv.reader(write(tmp_path / "a.csv", top=2).read_text().splitlines())
    assert header[4:] == ["class_1", "probability_1", "class_2", "probability_2"]
    assert first[4:] == ["'=dog", "0.7", "eel", "0.2"]


def test_json_and_json_lines_hold_the_same(tmp_path):
    whole = json.loads(write(tmp_path / "a.json").read_text())
    lines = [json.loads(line) for line in write(tmp_path / "a.jsonl").read_text().splitlines()]
    assert whole == lines
    assert whole[0] == {
        "path": "a,b.jpg",
        "predicted": "=dog",
        "probability": 0.7,
        "probabilities": {"cat": 0.1, "=dog": 0.7, "eel": 0.2},
    }
    assert whole[2] == {"path": "two\nlines.jpg", "error": "empty file"}
    assert json.loads(write(tmp_path / "none.json", rows=[]).read_text()) == []
    top = json.loads(write(tmp_path / "top.json", top=1).read_text())
    assert top[0]["top"] == [{"class": "=dog", "probability": 0.7}]


def test_an_interrupted_run_leaves_no_file(tmp_path):
    def rows():
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.csv", rows=rows())
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\.csv, \.json, \.jsonl"):
        check_prediction_path(tmp_path / "answers.xlsx")
