"""The main job, through the real command: from folders to a run directory."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from repository import REPOSITORY

pytestmark = pytest.mark.tensorflow

RUN_FILES = {
    "config.yaml",
    "run.json",
    "data.json",
    "history.csv",
    "model.keras",
    "metrics.json",
    "predictions-test.csv",
    "predictions-validation.csv",
    "log.txt",
}
TINY = """
data:
  train: train
  validation: validation
  test: test
  target_size: [16, 16]
  class_mode: {class_mode}
  batch_size: 7
augmentation: {{rotation_range: 20, horizontal_flip: true}}
model:
  layers:
    - Conv2D: {{filters: 4, kernel_size: 3, activation: relu}}
    - MaxPooling2D: 2
    - Flatten
    - Dropout: 0.2
    - Dense: {{units: 8, activation: relu}}
training: {{epochs: 3, optimizer: {{name: adam, learning_rate: 0.01}}}}
"""


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folders(tmp_path_factory, make_folders):
    counts = {"train": 20, "validation": 6, "test": 9}
    root = tmp_path_factory.mktemp("images")
    return make_folders(root, {split: {"bright": n, "dark": n} for split, n in counts.items()})


@pytest.fixture(scope="module")
def sample_run(tmp_path_factory, imgtrain_process):
    folder = tmp_path_factory.mktemp("sample")
    done = imgtrain_process("train", REPOSITORY / "configs/sample.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "sample", done


@pytest.mark.slow
def test_the_sample_reaches_95_percent_and_leaves_exactly_the_files_it_promises(sample_run):
    run, done = sample_run
    assert {path.name for path in run.iterdir()} >= RUN_FILES
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.95
    low, high = metrics["test"]["accuracy_ci95"]
    assert low < metrics["test"]["accuracy"] <= high
    facts = json.loads((run / "run.json").read_text())
    assert facts["status"] == "completed"
    assert facts["class_names"] == ["circle", "square", "triangle"]
    assert facts["epochs_run"] == len(read_csv(run / "history.csv"))
    assert facts["train_images_per_second"] > 0
    assert facts["peak_memory_mib"] > 100
    assert "Epoch 1/" in done.stdout
    # TensorFlow's own log noise does not reach the user.
    assert done.stderr == ""
    # What was printed stands in the log, the end of it included.
    assert done.stdout.splitlines()[-1] in (run / "log.txt").read_text()


@pytest.mark.slow
def test_the_best_epoch_is_that_of_the_lowest_monitored_value(sample_run):
    run, _ = sample_run
    losses = [float(row["val_loss"]) for row in read_csv(run / "history.csv")]
    facts = json.loads((run / "run.json").read_text())
    assert losses[facts["best_epoch"] - 1] == min(losses)
    metrics = json.loads((run / "metrics.json").read_text())
    # The saved network computes in float32, the training one where it is faster with 8 bits of mantissa.
    tolerance = 1e-3 if facts["precision"] == "float32" else 0.05
    assert metrics["validation"]["loss"] == pytest.approx(min(losses), rel=tolerance)


@pytest.mark.slow
def test_every_prediction_stands_beside_its_file_and_the_scores_follow_from_them(sample_run):
    run, _ = sample_run
    rows = read_csv(run / "predictions-test.csv")
    expected = sorted(
        path.relative_to(REPOSITORY / "sample_data/test").as_posix()
        for path in (REPOSITORY / "sample_data/test").rglob("*.*")
    )
    assert [row["path"] for row in rows] == expected
    assert all(row["path"].startswith(row["true"] + "/") for row in rows)
    accuracy = np.mean([row["true"] == row["predicted"] for row in rows])
    assert json.loads((run / "metrics.json").read_text())["test"]["accuracy"] == pytest.approx(accuracy)


PLAIN_KERAS = """
import csv, sys
import keras, numpy as np
from PIL import Image, ImageOps
folder, predictions, *models = sys.argv[1:]
with open(predictions) as file:
    rows = list(csv.DictReader(file))
pixels = np.stack([
    np.asarray(ImageOps.exif_transpose(Image.open(f"{folder}/{row['path']}")).convert("RGB")) for row in rows
])
stored = np.array([[float(row[name]) for name in ("circle", "square", "triangle")] for row in rows])
for path in models:
    model = keras.models.load_model(path)
    for dtype in ("uint8", "float32"):
        given = model.predict(pixels.astype(dtype), verbose=0)
        print(np.abs(given - stored).max())
assert "imgtrain" not in sys.modules
"""


@pytest.mark.slow
def test_plain_keras_gives_the_same_probabilities_on_raw_pixels(sample_run, tmp_path):
    from imgtrain.config import load_config
    from imgtrain.model.archive import load_model, save_model
    from imgtrain.model.build import float32_copy

    run, _ = sample_run
    # The same weights in the other format, as `output.model: model.h5` would have saved them.
    loaded = load_model(run / "model.keras")
    copy = float32_copy(loaded.model, load_config(run / "config.yaml"))
    save_model(copy, loaded.record, tmp_path / "model.h5")
    words = [REPOSITORY / "sample_data/test", run / "predictions-test.csv"]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_KERAS, *words, run / "model.keras", tmp_path / "model.h5"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    differences = [float(line) for line in done.stdout.split()]
    assert len(differences) == 4
    assert max(differences) < 1e-5


@pytest.fixture(scope="module")
def binary_run(folders, imgtrain_process):
    (folders / "binary.yaml").write_text(TINY.format(class_mode="binary"))
    arguments = (
        "train",
        folders / "binary.yaml",
        "--output",
        folders / "binary",
        "--set",
        "output.model=skin.h5",
    )
    done = imgtrain_process(*arguments)
    assert done.returncode == 0, done.stderr
    return folders / "binary", done


def test_a_binary_run_says_which_class_is_positive_and_saves_h5(binary_run):
    run, done = binary_run
    assert "'dark' is the positive class" in done.stderr
    assert {path.name for path in run.iterdir()} >= (RUN_FILES - {"model.keras"}) | {"skin.h5"}
    rows = read_csv(run / "predictions-test.csv")
    assert all(float(row["bright"]) + float(row["dark"]) == pytest.approx(1) for row in rows)
    assert all((float(row["dark"]) >= 0.5) == (row["predicted"] == "dark") for row in rows)


def test_the_resolved_configuration_repeats_the_run(binary_run, imgtrain, tmp_path):
    run, _ = binary_run
    shutil.copy(run / "config.yaml", tmp_path / "again.yaml")
    done = imgtrain("train", tmp_path / "again.yaml", "--output", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    for name in ("predictions-test.csv", "metrics.json"):
        assert (tmp_path / "again" / name).read_text() == (run / name).read_text()


def test_data_json_names_every_image_of_every_split(binary_run, folders):
    run, _ = binary_run
    splits = json.loads((run / "data.json").read_text())["splits"]
    for split in ("train", "validation", "test"):
        listed = {(image["path"], image["class"]) for image in splits[split]["images"]}
        there = {
            (path.relative_to(folders / split).as_posix(), path.parent.name)
            for path in (folders / split).rglob("*.png")
        }
        assert listed == there


def test_an_earlier_run_is_kept_without_overwrite(binary_run, imgtrain, folders):
    run, _ = binary_run
    before = (run / "run.json").read_bytes()
    done = imgtrain("train", folders / "binary.yaml", "--output", run)
    assert done.returncode == 4
    assert "--overwrite" in done.stderr
    assert "training progress is saved" not in done.stderr  # The run is completed.
    assert (run / "run.json").read_bytes() == before


def test_a_dry_run_checks_everything_and_writes_nothing(folders, imgtrain, tmp_path):
    (folders / "dry.yaml").write_text(TINY.format(class_mode="categorical"))
    done = imgtrain("train", folders / "dry.yaml", "--dry-run", "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "conv2d" in done.stdout
    assert "learning rate" not in done.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["training.epochs=4", "training.schedule={name: linear, warmup_epochs: 1}"], " after 1 of 4 epochs"),
        (
            ["training.minutes=3", "training.schedule={name: cosine, warmup_epochs: 20}"],
            "planned for training.minutes",
        ),
        (
            [
                "training.schedule={name: InverseTimeDecay, initial_learning_rate: 0.5, decay_steps: 1, decay_rate: 1}"
            ],
            "starts at 0.5, maximum 0.5",
        ),
    ],
)
def test_a_dry_run_shows_the_schedule(folders, imgtrain, options, shown):
    (folders / "dry.yaml").write_text(TINY.format(class_mode="categorical"))
    done = imgtrain("train", folders / "dry.yaml", "--dry-run", *(f"--set={option}" for option in options))
    assert done.returncode == 0, done.stderr
    assert shown in " ".join(done.stdout.split())
    assert "█" in done.stdout


def test_a_shape_that_does_not_fit_names_layer_and_line_before_anything_is_written(
    folders, imgtrain, tmp_path
):
    text = TINY.format(class_mode="categorical").replace("MaxPooling2D: 2", "MaxPooling2D: 20")
    (folders / "shape.yaml").write_text(text)
    done = imgtrain("train", folders / "shape.yaml", "--output", tmp_path / "run")
    assert done.returncode == 2
    line = text.splitlines().index("    - MaxPooling2D: 20") + 1
    assert f"shape.yaml:{line}: model.layers[1]: layer 2, MaxPooling2D: input is 14×14" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_loss_that_becomes_nan_ends_with_status_5_and_says_what_to_try(folders, imgtrain, tmp_path):
    (folders / "nan.yaml").write_text(TINY.format(class_mode="categorical"))
    huge = "training.optimizer={name: sgd, learning_rate: 1.0e+30}"
    done = imgtrain("train", folders / "nan.yaml", "--set", huge, "--output", tmp_path / "run")
    assert done.returncode == 5, done.stderr
    assert "learning rate ten times smaller" in done.stderr
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert facts["status"] == "failed"
    assert "diverged" in facts["error"]
    assert "diverged" in (tmp_path / "run/log.txt").read_text()


def test_bad_files_are_all_named_or_skipped_and_listed(folders, imgtrain, tmp_path, make_folders):
    make_folders(tmp_path, {"train": {"a": 8, "b": 8}, "test": {"a": 3, "b": 3}})
    (tmp_path / "train/a/empty.jpg").touch()
    whole = (tmp_path / "test/b/000.png").read_bytes()
    (tmp_path / "test/b/cut short.png").write_bytes(whole[: len(whole) // 2])
    text = TINY.format(class_mode="sparse").replace("validation: validation", "validation_split: 0.25")
    (tmp_path / "c.yaml").write_text(text)
    done = imgtrain("train", tmp_path / "c.yaml", "--output", tmp_path / "run")
    assert done.returncode == 3
    assert "train/a/empty.jpg: cannot be decoded: empty file" in done.stderr
    assert "test/b/cut short.png: cannot be decoded: truncated" in done.stderr
    assert "data.on_bad_image: skip" in done.stderr

    arguments = ("--output", tmp_path / "run", "--overwrite", "--set", "data.on_bad_image=skip")
    done = imgtrain("train", tmp_path / "c.yaml", *arguments)
    assert done.returncode == 0, done.stderr
    splits = json.loads((tmp_path / "run/data.json").read_text())["splits"]
    skipped = [entry["path"] for split in splits.values() for entry in split["skipped"]]
    assert sorted(skipped) == ["a/empty.jpg", "b/cut short.png"]
    assert "skipped" in done.stderr


def test_a_test_image_that_is_a_training_image_stops_the_run_whatever_its_name(
    imgtrain, tmp_path, make_folders
):
    make_folders(
        tmp_path, {"train": {"a": 6, "b": 6}, "validation": {"a": 2, "b": 2}, "test": {"a": 2, "b": 2}}
    )
    from PIL import Image

    Image.open(tmp_path / "train/a/003.png").save(tmp_path / "test/a/other name.bmp")
    (tmp_path / "c.yaml").write_text(TINY.format(class_mode="binary"))
    done = imgtrain("train", tmp_path / "c.yaml", "--output", tmp_path / "run")
    assert done.returncode == 3
    assert "a/other name.bmp and a/003.png" in done.stderr
    warned = imgtrain(
        "train",
        tmp_path / "c.yaml",
        "--output",
        tmp_path / "run",
        "--overwrite",
        "--set",
        "data.on_leak=warn",
    )
    assert warned.returncode == 0, warned.stderr
    assert "warning: 1 of 5 test images" in warned.stderr


def test_dropped_test_images_are_not_scored_by_evaluate_either(imgtrain, tmp_path, make_folders):
    make_folders(
        tmp_path, {"train": {"a": 6, "b": 6}, "validation": {"a": 2, "b": 2}, "test": {"a": 2, "b": 2}}
    )
    shutil.copy(tmp_path / "train/a/003.png", tmp_path / "test/a/leaked.png")
    text = TINY.format(class_mode="binary") + "output: {model: m.h5}\n"
    (tmp_path / "c.yaml").write_text(text)
    done = imgtrain("train", "c.yaml", "--output", "run", "--set", "data.on_leak=drop", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dropped (`data.on_leak: drop`) and listed in data.json" in done.stderr
    trained = json.loads((tmp_path / "run/metrics.json").read_text())["test"]
    assert trained["images"] == 4
    done = imgtrain("evaluate", "run/m.h5", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 5 evaluation images are dropped" in done.stderr
    assert json.loads(done.stdout)["evaluation"]["loss"] == pytest.approx(trained["loss"])


def test_an_earlier_run_outlives_a_new_one_that_cannot_begin(imgtrain, tmp_path, make_folders):
    make_folders(
        tmp_path, {"train": {"a": 6, "b": 6}, "validation": {"a": 2, "b": 2}, "test": {"a": 2, "b": 2}}
    )
    (tmp_path / "c.yaml").write_text(TINY.format(class_mode="sparse"))
    arguments = ("train", tmp_path / "c.yaml", "--output", tmp_path / "run", "--set", "training.epochs=1")
    assert imgtrain(*arguments).returncode == 0
    before = (tmp_path / "run/model.keras").read_bytes()
    (tmp_path / "test/a/broken.jpg").write_bytes(b"no picture")
    done = imgtrain(*arguments, "--overwrite")
    assert done.returncode == 3
    assert (tmp_path / "run/model.keras").read_bytes() == before


def test_one_line_is_a_whole_configuration(imgtrain, tmp_path, make_folders):
    make_folders(tmp_path, {"photos": {"a": 5, "b": 5}})
    (tmp_path / "c.yaml").write_text("data: {train: photos}\n")
    small = ["--set", "data.target_size=[16, 16]", "--set", "training.epochs=1"]
    done = imgtrain("train", "c.yaml", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no validation images" in done.stderr
    assert (tmp_path / "runs/c/model.keras").exists()
    resolved = yaml.safe_load((tmp_path / "runs/c/config.yaml").read_text())
    assert resolved["training"]["early_stopping"] is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.early_stopping.monitor=val_acuracy", "did you mean 'val_accuracy'?"),
        ("training.class_weight={brigth: 2}", "did you mean 'bright'?"),
        ("training.loss=categorical_crossentropy", "match class_mode binary"),
        ("model.layers.4={Dense: {units: 3, activation: softmax}}", "Dense: {units: 1, activation: sigmoid}"),
        ("data.test=tset", "did you mean"),
    ],
)
def test_what_contradicts_the_data_is_refused_before_training(folders, imgtrain, tmp_path, override, message):
    (folders / "wrong.yaml").write_text(TINY.format(class_mode="binary"))
    done = imgtrain("train", folders / "wrong.yaml", "--set", override, "--output", tmp_path / "run")
    assert done.returncode in (2, 3)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_all_problems_are_said_at_once(folders, imgtrain):
    (folders / "wrong.yaml").write_text(TINY.format(class_mode="binary"))
    wrong = [
        "training.early_stopping.monitor=x",
        "training.loss=categorical_crossentropy",
        "data.test=nowhere",
    ]
    done = imgtrain("train", folders / "wrong.yaml", *[part for key in wrong for part in ("--set", key)])
    assert done.returncode == 2
    for text in ("early_stopping.monitor", "categorical_crossentropy", "nowhere"):
        assert text in done.stderr
