"""`imgtrain train --resume` with other settings than the run was started with."""

import csv
import json

import pytest

pytestmark = pytest.mark.tensorflow

CONFIG = """\
data: {train: train, validation: validation, target_size: [8, 8], cache: none}
model: {layers: [Flatten]}
training:
  epochs: 2
  optimizer: {name: adam, learning_rate: 0.02}
  early_stopping: null
output: {directory: run}
"""
SLOWER = "training.optimizer.learning_rate=0.001"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_folders, imgtrain):
    """A folder with a completed run of two epochs."""
    folder = tmp_path_factory.mktemp("stages")
    make_folders(folder, {"train": {"a": 8, "b": 8}, "validation": {"a": 3, "b": 3}}, side=8)
    (folder / "config.yaml").write_text(CONFIG)
    done = imgtrain("train", "config.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def learning_rates(folder):
    with (folder / "run/history.csv").open(newline="") as file:
        return [round(float(row["learning_rate"]), 6) for row in csv.DictReader(file)]


def changes(folder):
    return json.loads((folder / "run/run.json").read_text()).get("changes")


def test_another_learning_rate_needs_epochs_to_train_with_it(folder, imgtrain):
    done = imgtrain("train", "config.yaml", "--resume", "--set", SLOWER, cwd=folder)
    assert done.returncode == 2
    assert "all epochs are trained" in done.stderr
    assert "increase training.epochs" in done.stderr


def test_a_run_directory_is_continued_only_with_resume(folder, imgtrain):
    done = imgtrain("train", "run", cwd=folder)
    assert done.returncode == 2
    assert "run: is a run directory" in done.stderr
    assert "--resume" in done.stderr


def test_another_learning_rate_begins_a_recorded_stage_that_resume_alone_continues(folder, imgtrain):
    done = imgtrain("train", "run", "--resume", "--epochs", "3", "--set", SLOWER, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "a new stage begins at epoch 3, batch 1" in done.stderr
    assert "training.optimizer.learning_rate is 0.001 (was 0.02)" in done.stderr
    assert learning_rates(folder) == [0.02, 0.02, 0.001]
    changed = {
        "training.epochs": {"from": 2, "to": 3},
        "training.optimizer.learning_rate": {"from": 0.02, "to": 0.001},
    }
    assert changes(folder) == [{"epoch": 3, "batch": 1, "changed": changed, "bit_identical": False}]

    # The file still has its first values.
    done = imgtrain("train", "config.yaml", "--resume", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "continuing with the settings of the run: training.epochs=3" in done.stdout
    assert "the run is already completed" in done.stdout

    done = imgtrain("train", "config.yaml", "--resume", "--epochs", "4", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "a new stage" not in done.stderr
    assert learning_rates(folder) == [0.02, 0.02, 0.001, 0.001]
    assert [change["bit_identical"] for change in changes(folder)] == [False, True]


def test_a_file_that_was_changed_since_is_what_is_asked(folder, imgtrain):
    (folder / "config.yaml").write_text(CONFIG.replace("epochs: 2", "epochs: 1"))
    done = imgtrain("train", "config.yaml", "--resume", cwd=folder)
    (folder / "config.yaml").write_text(CONFIG)
    assert done.returncode == 2
    assert "config.yaml:4: training.epochs: is 1; in the run to resume it is" in done.stderr
