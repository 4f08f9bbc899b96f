"""The predictions that `imgtrain.predict` returns."""

import sys

import numpy as np
import pytest

from imgtrain.errors import ConfigError
from imgtrain.evaluation.predict_result import PredictResult
from imgtrain.evaluation.prediction_formats import FilePrediction, UnreadableFile


@pytest.fixture
def result():
    sure = FilePrediction("a.png", 1, True, np.array([0.25, 0.75], np.float32))
    unsure = FilePrediction("<b>.png", 0, False, np.array([0.5, 0.5], np.float32))
    predictions = (sure, UnreadableFile("c.png", "empty file"), unsure)
    return PredictResult(
        ("path", "dog"),
        {"path": 0, "dog": 1, "unsure": 1},
        (("c.png", "empty file"),),
        predictions=predictions,
    )


def test_the_arrays_have_a_row_for_every_file(result):
    assert len(result) == 3
    assert result.paths == ["a.png", "c.png", "<b>.png"]
    assert result.predicted == ["dog", None, "unsure"]
    assert result.errors == [None, "empty file", None]
    np.testing.assert_array_equal(result.probability, np.array([0.75, np.nan, 0.5], np.float32))
    np.testing.assert_array_equal(result.probabilities, [[0.25, 0.75], [np.nan, np.nan], [0.5, 0.5]])


def test_pandas_gets_the_columns_of_the_csv_file(result):
    pytest.importorskip("pandas")
    frame = result.to_pandas()
    # A class may have the name of another column.
    assert list(frame.columns) == ["path", "predicted", "probability", "error", "path", "dog"]
    assert frame["dog"].tolist()[0] == 0.75
    assert frame.iloc[:, 0].tolist() == result.paths


def test_without_pandas_the_error_says_how_to_install_it(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        result.to_pandas()


def test_the_table_is_short_and_escaped(result):
    assert repr(result).splitlines() == [
        "PredictResult: 2 files classified, 1 could not be read",
        "path     predicted  probability",
        "a.png    dog        0.7500",
        "c.png    –          empty file",
        "<b>.png  unsure     0.5000",
    ]
    assert "<td>&lt;b&gt;.png</td>" in result._repr_html_()
    many = PredictResult(result.class_names, result.counts, (), predictions=result.predictions[:1] * 1000)
    assert len(repr(many).splitlines()) < 30


def test_no_predictions_are_an_array_without_rows():
    assert PredictResult(("a", "b", "c"), {}, ()).probabilities.shape == (0, 3)
