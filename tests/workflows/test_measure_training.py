"""What `check` says a run will take, against the run that follows."""

import csv
import json
import sys

import pytest

from imgtrain.workflows.check import check

pytestmark = pytest.mark.tensorflow

HEAD = """
data: {train: train, validation: validation, target_size: [%d, %d]}
augmentation: {rotation_range: 20, zoom_range: 0.2, horizontal_flip: true}
training: {epochs: 3, early_stopping: null}
model:
  layers:
"""
DENSE = """
    - Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}
    - MaxPooling2D: 2
    - Dropout: 0.2
    - Conv2D: {filters: 32, kernel_size: 3, padding: same, activation: relu}
    - MaxPooling2D: 2
    - Flatten
    - Dense: {units: 512, activation: relu}
"""
CONVOLUTIONS = """
    - Conv2D: {filters: 16, kernel_size: 3, activation: relu}
    - MaxPooling2D: 2
    - Conv2D: {filters: 32, kernel_size: 3, activation: relu}
    - MaxPooling2D: 2
    - Conv2D: {filters: 64, kernel_size: 3, activation: relu}
    - GlobalAveragePooling2D
"""
NORMALIZED = "".join(
    f"    - Conv2D: {{filters: {filters}, kernel_size: 3, padding: same, use_bias: false}}\n"
    "    - BatchNormalization\n    - ReLU\n    - MaxPooling2D: 2\n"
    for filters in (16, 32, 64, 128)
)
NORMALIZED += "    - GlobalAveragePooling2D\n"
NETWORKS = {"dense": (DENSE, 100), "convolutions": (CONVOLUTIONS, 100), "normalized": (NORMALIZED, 96)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, make_folders):
    counts = {"train": 160, "validation": 30}
    root = tmp_path_factory.mktemp("images")
    return make_folders(root, {split: {"a": n, "b": n} for split, n in counts.items()}, side=100)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_time_memory_and_disk_are_those_of_the_run(folders, imgtrain_process, name):
    layers, side = NETWORKS[name]
    config = folders / f"{name}.yaml"
    config.write_text(HEAD % (side, side) + layers)
    cache = folders / f"{name}-cache"
    overrides = [f"data.cache_directory={cache}"]
    cost = check(config, overrides).cost
    run = folders / name
    done = imgtrain_process("train", config, "--output", run, "--set", *overrides)
    assert done.returncode == 0, done.stderr
    with (run / "history.csv").open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)][1:]
    # Tests share the machine with each other, so only the order of magnitude is tested. How steps are timed is tested
    # in tests/training/test_step_time.py on a clock of its own; benchmarks/estimates.py measures how close it is.
    assert 0.2 < cost.epoch_seconds / (sum(seconds) / len(seconds)) < 5
    assert [budget.minutes for budget in cost.budgets] == [1, 3, 10, 30]
    for budget in cost.budgets:
        # Whole steps in epochs of at least half a second, so of a pass that is as short as this a part is left.
        assert 0.7 < budget.epochs / (60 * budget.minutes / cost.epoch_seconds) < 1.05
        pixels = budget.auto_size[0] * budget.auto_size[1] / side**2
        assert 0.6 < budget.auto_epochs * pixels / budget.epochs < 1.6
    # What is copied when, and what malloc gives back, differs between versions of Keras.
    real = json.loads((run / "run.json").read_text())["peak_memory_mib"] * 2**20
    assert cost.memory_bytes == pytest.approx(real, rel=0.3)
    cached = sum(path.stat().st_size for path in cache.rglob("*.pixels"))
    assert cost.cache_bytes == pytest.approx(cached, rel=0.01)


def test_a_network_that_does_not_fit_together_is_an_error_with_its_line(folders, imgtrain):
    config = folders / "wrong.yaml"
    # A layer whose shape only Keras knows.
    reshape = "    - Reshape: {target_shape: [5]}"
    config.write_text(HEAD % (8, 8) + f"{reshape}\n")
    line = config.read_text().splitlines().index(reshape) + 1
    done = imgtrain("check", config)
    assert done.returncode == 2
    assert f"wrong.yaml:{line}: model.layers[0]" in done.stdout


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere/python"])
def test_a_process_that_fails_only_leaves_the_time_out(folders, imgtrain, monkeypatch, program):
    config = folders / "small.yaml"
    config.write_text(HEAD % (8, 8) + "    - Flatten\n")
    executable = sys.executable
    # The decoding processes need a Python that works.
    monkeypatch.setattr("imgtrain.workflows.measure_training.sys", type("sys", (), {"executable": program}))
    done = imgtrain("check", config)
    assert sys.executable == executable
    assert done.returncode == 0, done.stderr
    assert "time per epoch not measured" in done.stdout


def test_nothing_is_timed_where_it_is_not_wanted(folders, imgtrain, monkeypatch):
    config = folders / "small.yaml"
    config.write_text(HEAD % (8, 8) + "    - Flatten\n")
    monkeypatch.setattr(
        "imgtrain.workflows.measure_training.subprocess.run",
        lambda *_, **__: pytest.fail("a process was started"),
    )
    done = imgtrain("check", config, "--no-timing", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cost"]["epoch_seconds"] is None
