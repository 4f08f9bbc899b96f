"""The same configuration and seed give the same history and the same weights, on any number of cores."""

import csv
import os

import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

CONFIG = """
data: {train: train, validation_split: 0.25, target_size: [48, 48], class_mode: categorical, batch_size: 16}
augmentation:
  {rotation_range: 30, width_shift_range: 0.1, zoom_range: 0.2, brightness_range: [0.8, 1.2], horizontal_flip: true}
model:
  layers:
    - Conv2D: {filters: 8, kernel_size: 3, padding: same, activation: relu}
    - MaxPooling2D: 2
    - Dropout: 0.2
    - Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}
    - Flatten
    - Dense: {units: 64, activation: relu}
    - Dropout: 0.5
training: {epochs: 3, seed: 7}
"""


def metrics(run):
    with (run / "history.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)
        ]


def weights(run):
    from imgtrain.model.archive import load_model

    return [weight.tobytes() for weight in load_model(run / "model.keras").model.get_weights()]


@pytest.fixture(scope="module")
def first(tmp_path_factory, make_folders, imgtrain_process):
    root = tmp_path_factory.mktemp("images")
    make_folders(root, {"train": {"a": 30, "b": 30, "c": 30}}, side=48)
    (root / "c.yaml").write_text(CONFIG)
    done = imgtrain_process("train", root / "c.yaml", "--output", root / "first")
    assert done.returncode == 0, done.stderr
    return root / "first"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind a process to a core")
@pytest.mark.parametrize("cores", ["all", "one"])
def test_a_second_run_is_the_same_also_on_another_number_of_cores(first, imgtrain_process, cores):
    allowed = os.sched_getaffinity(0)
    second = first.with_name(f"second-{cores}")
    try:
        if cores == "one":
            os.sched_setaffinity(0, {min(allowed)})
        done = imgtrain_process("train", first.with_name("c.yaml"), "--output", second)
    finally:
        os.sched_setaffinity(0, allowed)
    assert done.returncode == 0, done.stderr
    assert metrics(second) == metrics(first)
    assert weights(second) == weights(first)


def test_another_seed_is_another_run(first, imgtrain_process):
    other = first.with_name("other")
    done = imgtrain_process("train", first.with_name("c.yaml"), "--output", other, "--set", "training.seed=8")
    assert done.returncode == 0, done.stderr
    assert metrics(other) != metrics(first)
