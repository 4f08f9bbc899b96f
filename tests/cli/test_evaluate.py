"""Evaluation from the model file alone, on other folders, and of models that imgtrain did not make."""

import json
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.tensorflow

CONFIG = """
data: {train: train, test: test, target_size: [16, 16], class_mode: binary, batch_size: 8, validation_split: 0.25}
model: {layers: [{Conv2D: {filters: 4, kernel_size: 3, activation: relu}}, Flatten]}
training: {epochs: 2, seed: 3}
"""

# What people paste, in short.
SCRIPT = """
import sys
import keras
from keras import layers
from keras.src.legacy.preprocessing.image import ImageDataGenerator

train, test, *paths = sys.argv[1:]
flow = dict(target_size=(20, 16), class_mode="binary", batch_size=8)
generator = ImageDataGenerator(rescale=1.0 / 255)
train_data = generator.flow_from_directory(train, **flow)
test_data = generator.flow_from_directory(test, shuffle=False, **flow)
keras.utils.set_random_seed(1)
model = keras.Sequential([
    keras.Input((20, 16, 3)),
    layers.Conv2D(4, 3, activation="relu"),
    layers.Flatten(),
    layers.Dense(1, activation="sigmoid"),
])
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(train_data, epochs=1, verbose=0)
for path in paths:
    model.save(path)
loss, accuracy = model.evaluate(test_data, verbose=0)
print(loss, accuracy)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory, make_folders):
    splits = {"train": {"bright": 24, "dark": 24}, "test": {"bright": 7, "dark": 10}, "other": {"dark": 5}}
    return make_folders(tmp_path_factory.mktemp("images"), splits)


@pytest.fixture(scope="module")
def run(folders, imgtrain):
    (folders / "c.yaml").write_text(CONFIG)
    done = imgtrain("train", folders / "c.yaml", "--output", folders / "run")
    assert done.returncode == 0, done.stderr
    return folders / "run"


def test_the_model_file_alone_gives_the_scores_of_the_run(run, imgtrain, tmp_path):
    shutil.copy(run / "model.keras", tmp_path / "elsewhere.keras")
    done = imgtrain("evaluate", tmp_path / "elsewhere.keras", "--json", "--output", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["evaluation"]
    in_run = json.loads((run / "metrics.json").read_text())["test"]
    assert scores["confusion_matrix"] == in_run["confusion_matrix"]
    assert scores["loss"] == pytest.approx(in_run["loss"], rel=1e-5)
    assert json.loads((tmp_path / "scores/metrics.json").read_text())["evaluation"] == scores
    written = (tmp_path / "scores/predictions.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in written] == [
        row.split(",")[:3] for row in (run / "predictions-test.csv").read_text().splitlines()
    ]


def test_a_class_without_images_shifts_no_label(run, folders, imgtrain):
    done = imgtrain("evaluate", run, "--data", folders / "other", "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["evaluation"]
    assert scores["per_class"]["bright"]["support"] == 0
    assert scores["per_class"]["dark"]["support"] == 5
    assert "no images of bright" in done.stderr


def test_folders_that_do_not_fit_the_models_classes_are_refused(run, imgtrain, tmp_path, make_folders):
    make_folders(tmp_path, {"new": {"bright": 2, "gray": 2}})
    done = imgtrain("evaluate", run, "--data", tmp_path / "new")
    assert done.returncode == 3
    assert "gray" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_test_folder_that_has_gone_is_said_with_what_to_do(imgtrain, run, folders):
    (folders / "test").rename(folders / "moved")
    try:
        done = imgtrain("evaluate", run)
    finally:
        (folders / "moved").rename(folders / "test")
    assert done.returncode == 3
    assert "--data" in done.stderr


def test_a_model_of_ours_needs_no_rescale(run, imgtrain):
    done = imgtrain("evaluate", run, "--rescale", "1/255")
    assert done.returncode == 2
    assert "contains its preprocessing" in done.stderr


@pytest.fixture(scope="module")
def script(folders, tmp_path_factory):
    """Return the folder of the models that the script saved, its loss and its accuracy."""
    folder = tmp_path_factory.mktemp("script")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folders / "train", folders / "test", "skin.h5", "skin.keras"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    loss, accuracy = map(float, done.stdout.split()[-2:])
    return folder, loss, accuracy


@pytest.fixture(params=["skin.h5", "skin.keras"])
def foreign(request, script):
    folder, loss, accuracy = script
    return folder / request.param, loss, accuracy


def test_a_model_of_the_pasted_script_scores_as_keras_says(foreign, folders, imgtrain):
    path, loss, accuracy = foreign
    done = imgtrain("evaluate", path, "--data", folders / "test", "--rescale", "1/255", "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["evaluation"]
    assert scores["accuracy"] == pytest.approx(accuracy)
    assert scores["loss"] == pytest.approx(loss, rel=1e-4)
    assert scores["class_names"] == ["bright", "dark"]


def test_a_model_of_a_script_does_not_say_how_it_was_scaled(foreign, imgtrain):
    done = imgtrain("evaluate", foreign[0])
    assert done.returncode == 2
    assert "--rescale 1/255" in done.stderr
    assert "--data" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.keras", None, "no such model file"),
        ("text.h5", b"hello", "is not a Keras model file"),
        ("cut.keras", b"PK\x03\x04 cut short", "corrupt"),
        ("empty.h5", b"", "is empty"),
    ],
)
def test_what_is_no_model_ends_with_status_4(imgtrain, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = imgtrain("evaluate", tmp_path / name)
    assert done.returncode == 4
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_says_which_images_and_how_they_are_read(run, foreign, folders, imgtrain):
    """Both for a model of ours and for one of a script, which also learns its scaling from it."""
    done = imgtrain("evaluate", run, "--config", folders / "c.yaml", "--json")
    assert done.returncode == 0, done.stderr
    in_run = json.loads((run / "metrics.json").read_text())["test"]
    assert json.loads(done.stdout)["evaluation"]["confusion_matrix"] == in_run["confusion_matrix"]

    path, loss, accuracy = foreign
    (folders / "script.yaml").write_text(
        "data: {train: train, test: test, target_size: [20, 16], class_mode: binary, interpolation: nearest}\n"
    )
    done = imgtrain("evaluate", path, "--config", folders / "script.yaml", "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["evaluation"]
    assert (scores["accuracy"], scores["loss"]) == pytest.approx((accuracy, loss), rel=1e-4)

    (folders / "other.yaml").write_text("data: {train: train, test: test, target_size: [20, 16]}\n")
    done = imgtrain("evaluate", path, "--config", folders / "other.yaml")
    assert done.returncode == 2
    assert "categorical does not match the model, which has 1 output" in done.stderr


def test_an_evaluation_does_not_replace_the_scores_of_a_run(run, imgtrain):
    before = (run / "metrics.json").read_bytes()
    done = imgtrain("evaluate", run, "--output", run)
    assert done.returncode == 4
    assert "whose scores would be replaced" in done.stderr
    assert (run / "metrics.json").read_bytes() == before


def test_an_earlier_evaluation_is_replaced_only_on_demand(run, folders, imgtrain, tmp_path):
    scores = tmp_path / "scores"
    scores.mkdir()
    (scores / "metrics.json").write_text("{}")
    done = imgtrain("evaluate", run, "--output", scores)
    assert done.returncode == 4
    assert "already contains an evaluation (metrics.json)" in done.stderr
    assert "--overwrite" in done.stderr
    assert (scores / "metrics.json").read_text() == "{}"
    done = imgtrain("evaluate", run, "--output", scores, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert json.loads((scores / "metrics.json").read_text())["evaluation"]["images"] > 0
