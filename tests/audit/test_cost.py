"""What the measurement of a few training steps changes in a report, and when there is none."""

from pathlib import Path

import pytest

from imgtrain.audit.check import check
from imgtrain.audit.cost import MeasuredTraining
from imgtrain.errors import ConfigError, Problem

MEASURED = MeasuredTraining(
    epoch_seconds=12.5, train_images_per_second=250.0, memory_bytes=1 << 30, parameters=1_000_000
)


@pytest.fixture
def config(tmp_path: Path, make_folders) -> Path:
    make_folders(tmp_path, {"train": {"a": 30, "b": 30}, "test": {"a": 25, "b": 25}})
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {train: train, test: test, target_size: [8, 8]}\n"
        "model: {layers: [Flatten]}\ntraining: {early_stopping: null}\n"
    )
    return path


def errors(report):
    return [finding for finding in report.findings if finding.severity == "error"]


def test_time_parameters_and_memory_are_those_measured(config):
    asked = []

    def measure(path, overrides):
        asked.append((path, overrides))
        return MEASURED

    report = check(config, ["training.epochs=3"], measure_training=measure)
    assert asked == [(config, ["training.epochs=3"])]
    assert report.cost.epoch_seconds == 12.5
    assert report.cost.train_images_per_second == 250
    assert report.cost.parameters == 1_000_000
    # The copies of the weights that a run makes later, and the report.
    assert 1 << 30 < report.cost.memory_bytes < 2 << 30


def test_memory_that_is_not_enough_is_found_by_the_measurement_too(config):
    huge = MeasuredTraining(1.0, 1.0, memory_bytes=1 << 60, parameters=1)
    report = check(config, measure_training=lambda *_: huge)
    assert [finding.code for finding in errors(report)] == ["out-of-memory"]


def test_without_a_measurement_the_time_is_unknown(config):
    report = check(config, measure_training=lambda *_: None)
    assert report.cost.epoch_seconds is None
    assert report.cost.parameters == 8 * 8 * 3 * 2 + 2
    assert errors(report) == []


def test_a_network_that_cannot_be_built_is_a_finding(config):
    def measure(*_):
        raise ConfigError(Problem("config.yaml:2: model.layers[0]", "does not fit"))

    report = check(config, measure_training=measure)
    (finding,) = errors(report)
    assert finding.code == "configuration"
    assert "model.layers[0]: does not fit" in finding.what
    assert report.exit_status == 2


@pytest.mark.parametrize(
    "wrong", ["model.layers=[Flatten, {Dense: 999999999}]", "training.metrics=[accuarcy]"]
)
def test_nothing_is_measured_where_training_would_not_start(config, wrong):
    def measure(*_):
        pytest.fail("steps were timed")

    try:
        report = check(config, [wrong], measure_training=measure)
    except ConfigError:
        return
    assert report.failed
