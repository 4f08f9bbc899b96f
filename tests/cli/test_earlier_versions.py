"""Run directories and model files of earlier versions are reported, evaluated, predicted with, compared and resumed."""

import csv
import json
import shutil

import pytest
from repository import REPOSITORY

pytestmark = pytest.mark.tensorflow

RUNS = REPOSITORY / "tests/fixtures/v0.1.0"
MADE_IN = "/tmp/imgtrain-0.1.0"


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def earlier(tmp_path):
    """Return a copy of the runs, as if they had been made where it is."""
    folder = tmp_path / "earlier"
    shutil.copytree(RUNS, folder)
    for name in ("config.yaml", "data.json"):
        for path in folder.glob(f"*/{name}"):
            path.write_text(path.read_text().replace(MADE_IN, str(folder)))
    return folder


@pytest.mark.parametrize("name", ["completed", "completed-h5"])
def test_a_model_is_evaluated_and_predicts_as_it_did(earlier, imgtrain, name):
    done = imgtrain("evaluate", earlier / name, "--data", earlier / "data/test", "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["evaluation"]
    then = json.loads((RUNS / name / "metrics.json").read_text())["test"]
    assert scores["confusion_matrix"] == then["confusion_matrix"]
    assert scores["accuracy_ci95"] == then["accuracy_ci95"]
    assert scores["loss"] == pytest.approx(then["loss"], rel=1e-5)

    done = imgtrain("predict", name, "data/test", "--output", "now.csv", cwd=earlier)
    assert done.returncode == 0, done.stderr
    before = rows(RUNS / name / "predictions-test.csv")
    for now, row in zip(rows(earlier / "now.csv"), before, strict=True):
        assert now["path"] == f"data/test/{row['path']}"
        for column in ("dark", "light"):
            assert float(now[column]) == pytest.approx(float(row[column]), abs=1e-6)


@pytest.mark.parametrize("name", ["completed", "completed-h5"])
def test_the_report_is_written_with_its_pictures(earlier, imgtrain, name):
    done = imgtrain("report", earlier / name)
    assert (done.returncode, done.stderr) == (0, "")
    assert "data:image/webp" in (earlier / name / "report.html").read_text()


def test_runs_are_compared(earlier, imgtrain):
    done = imgtrain("compare", earlier / "completed", earlier / "completed-h5", "--json")
    assert done.returncode == 0, done.stderr
    accuracies = [
        json.loads((RUNS / name / "metrics.json").read_text())["test"]["accuracy"]
        for name in ("completed", "completed-h5")
    ]
    content = json.loads(done.stdout)
    assert [content["a"]["accuracy"], content["b"]["accuracy"]] == pytest.approx(accuracies)


def test_an_interrupted_run_is_resumed_and_ends_like_the_unbroken_one(earlier, imgtrain):
    run = earlier / "interrupted"
    done = imgtrain("train", run / "config.yaml", "--output", run, "--resume")
    assert done.returncode == 0, done.stderr
    now, then = rows(run / "history.csv"), rows(RUNS / "completed/history.csv")
    assert now[0] == rows(RUNS / "interrupted/history.csv")[0]
    assert [row["epoch"] for row in now] == ["1", "2", "3", "4"]
    for row, unbroken in zip(now, then, strict=True):
        for column in set(unbroken) - {"epoch", "seconds"}:
            # Other processors and libraries round differently: the last digits may differ.
            assert float(row[column]) == pytest.approx(float(unbroken[column]), rel=1e-3), column


def test_a_completed_run_is_trained_for_more_epochs(earlier, imgtrain):
    run = earlier / "completed"
    done = imgtrain("train", run / "config.yaml", "--output", run, "--resume", "--set", "training.epochs=5")
    assert done.returncode == 0, done.stderr
    assert len(rows(run / "history.csv")) == 5
    assert json.loads((run / "run.json").read_text())["status"] == "completed"
