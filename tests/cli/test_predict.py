"""`imgtrain predict`, as a user runs it."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_folders, imgtrain):
    """A run on folders of two classes, its odd images included."""
    root = tmp_path_factory.mktemp("predict")
    make_folders(root, {"train": {"dark": 12, "light": 12}, "test": {"dark": 9, "light": 8}})
    (root / "config.yaml").write_text(
        "data:\n  train: train\n  validation_split: 0.25\n  test: test\n  target_size: [16, 20]\n"
        "  class_mode: binary\n  resize: pad\n"
        "model:\n  layers:\n    - Flatten\n    - Dense: 4\n"
        "training:\n  epochs: 2\n"
        "evaluation:\n  threshold: youden\n  abstain: 0.9\n"
    )
    done = imgtrain("train", root / "config.yaml", "--output", root / "run", cwd=root)
    assert done.returncode == 0, done.stderr
    return root


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_probabilities_are_those_of_evaluate(run, imgtrain):
    done = imgtrain("predict", "run", "test", "--output", "answers.csv", cwd=run)
    assert done.returncode == 0, done.stderr
    answers = read(run / "answers.csv")
    expected = read(run / "run/predictions-test.csv")
    assert [row["path"].removeprefix("test/") for row in answers] == [row["path"] for row in expected]
    for name in ("dark", "light"):
        ours, theirs = ([float(row[name]) for row in rows] for rows in (answers, expected))
        # The same pixels through the same weights; only how they are cut into batches may differ.
        assert ours == pytest.approx(theirs, abs=1e-6)
    level = json.loads((run / "run/metrics.json").read_text())["test"].get("abstention", {}).get("below", 0)
    for answer, row in zip(answers, expected, strict=True):
        sure = np.float32(answer["probability"]) >= np.float32(level)
        assert answer["predicted"] == (row["predicted"] if sure else "unsure")


def test_bad_files_are_listed_and_counted_and_the_others_classified(run, imgtrain, tmp_path):
    good = run / "test/dark/000.png"
    shutil.copy(good, tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(good.read_bytes()[:200])
    (tmp_path / "evil\x1b[31m.png").write_bytes(b"")
    shutil.copy(good, tmp_path / "=3.png")
    done = imgtrain("predict", run / "run", tmp_path, "missing.jpg", "--output", tmp_path / "a.jsonl")
    assert done.returncode == 3
    assert "3 of 5 files could not be read" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    rows = {
        Path(row["path"]).name: row
        for row in map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    }
    assert {name for name, row in rows.items() if "error" in row} == {
        "2.png",
        "evil\x1b[31m.png",
        "missing.jpg",
    }
    assert rows["1.png"]["probabilities"] == rows["=3.png"]["probabilities"]


def test_answers_on_the_terminal_and_a_list_on_standard_input(run, imgtrain):
    done = imgtrain(
        "predict", "run", "-", "--top", 2, cwd=run, stdin="test/light/001.png\ntest/dark/001.png\n"
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["test/light/001.png", "test/dark/001.png"]
    assert all(len(line) == 5 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "test", "--output", "a.xlsx"], 2, ".jsonl"),
        (["run", "run"], 3, "no image was found"),
        (["nowhere", "test"], 4, "no such model file"),
    ],
)
def test_mistakes_are_explained(run, imgtrain, arguments, status, message):
    done = imgtrain("predict", *arguments, cwd=run)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
