"""`imgtrain predict`, as a user runs it."""

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imgtrain.evaluation import classify as classify_module
from imgtrain.evaluation.decide import decide

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_folders, imgtrain):
    """A run on folders of two classes, its odd images included."""
    root = tmp_path_factory.mktemp("predict")
    make_folders(root, {"train": {"dark": 12, "light": 12}, "test": {"dark": 9, "light": 8}})
    (root / "config.yaml").write_text(
        "data:\n  train: train\n  validation_split: 0.25\n  test: test\n  target_size: [16, 20]\n"
        "  class_mode: binary\n  resize: pad\n"
        "model:\n  layers:\n    - Conv2D: {filters: 2, kernel_size: 3}\n    - MaxPooling2D\n"
        "    - Conv2D: {filters: 4, kernel_size: 3}\n    - Flatten\n    - Dense: 4\n"
        "training:\n  epochs: 2\n"
        "evaluation:\n  threshold: youden\n  abstain: 0.9\n"
    )
    done = imgtrain("train", root / "config.yaml", "--output", root / "run", cwd=root)
    assert done.returncode == 0, done.stderr
    (root / "config.csv").touch()
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


def test_a_batch_without_a_readable_file_is_listed_like_any_other(run, imgtrain, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"broken")
    names = ["test/dark/000.png", tmp_path / "broken.png", "test/light/000.png"]
    done = imgtrain("predict", "run", *names, "--batch-size", 1, "-o", tmp_path / "a.csv", cwd=run)
    assert done.returncode == 3, done.stderr
    assert "1 of 3 files could not be read" in done.stderr
    rows = read(tmp_path / "a.csv")
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert rows[0]["predicted"]
    assert rows[2]["predicted"]
    done = imgtrain("predict", "run", tmp_path / "broken.png", "-o", tmp_path / "b.csv", cwd=run)
    assert done.returncode == 3
    assert "1 of 1 files could not be read" in done.stderr
    assert "the others" not in done.stderr


@pytest.fixture
def many(run, tmp_path):
    """Return the words of a prediction of 300 files in batches of 7, and a function that reads its whole output."""
    files = sorted((run / "test").rglob("*.png"))
    (tmp_path / "broken.png").write_bytes(b"broken")
    names = [*files * 6, *[tmp_path / "broken.png"] * 9, *files * 11]
    return ["predict", run / "run", *names, "--batch-size", 7, "--output", tmp_path / "a.csv"]


def test_an_interrupted_prediction_keeps_its_rows_and_is_continued(many, imgtrain, tmp_path, monkeypatch):
    assert imgtrain(*many).returncode == 3
    whole = (tmp_path / "a.csv").read_bytes()
    refused = imgtrain(*many)
    assert refused.returncode == 4
    assert "exists already" in refused.stderr
    batches = []

    def interrupt(*arguments):
        batches.append(arguments)
        if len(batches) == 12:
            raise KeyboardInterrupt
        return decide(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(classify_module, "decide", interrupt)
        stopped = imgtrain(*many, "--overwrite")
    assert stopped.returncode == 130
    assert "contains the predictions for 77 of 298 files" in stopped.stderr
    assert "--resume" in stopped.stderr
    assert (tmp_path / "a.csv").read_bytes() == whole
    assert whole.startswith((tmp_path / "a.csv.partial").read_bytes())
    assert "--resume" in imgtrain(*many).stderr
    # Some bytes of a row that was being written when the power went.
    with (tmp_path / "a.csv.partial").open("ab") as file:
        file.write(b'"half a row')
    with monkeypatch.context() as patch:
        patch.setattr(classify_module, "decide", lambda *arguments: batches.append(1) or decide(*arguments))
        batches.clear()
        done = imgtrain(*many, "--resume")
    assert done.returncode == 3
    assert "9 of 298 files could not be read" in done.stderr
    assert len(batches) < 298 / 7 - 10
    assert (tmp_path / "a.csv").read_bytes() == whole
    assert not (tmp_path / "a.csv.partial").exists()


def test_a_killed_prediction_keeps_its_rows_and_is_continued(many, imgtrain, tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "imgtrain", *map(str, many)], stdout=subprocess.DEVNULL)
    partial = tmp_path / "a.csv.partial"
    while not partial.exists() or partial.read_bytes().count(b"\n") < 20:
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()
    rows = partial.read_bytes()
    assert rows.count(b"\n") >= 20
    assert not (tmp_path / "a.csv").exists()
    assert imgtrain(*many, "--resume").returncode == 3
    continued = (tmp_path / "a.csv").read_bytes()
    assert continued.startswith(rows[: rows.rindex(b"\n") + 1])
    assert imgtrain(*many, "--overwrite").returncode == 3
    assert (tmp_path / "a.csv").read_bytes() == continued


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
        (["run", "run"], 3, "no images found"),
        (["nowhere", "test"], 4, "no such model file"),
        (["run", "test", "--resume"], 2, "--resume requires --output"),
        (["run", "test", "-o", "a.csv", "--resume", "--overwrite"], 2, "use only one"),
        (["run", "test", "-o", "config.csv"], 4, "exists already"),
        (["run", "test", "-o", "no/folder/a.csv"], 4, "does not exist"),
    ],
)
def test_mistakes_are_explained(run, imgtrain, arguments, status, message):
    done = imgtrain("predict", *arguments, cwd=run)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
