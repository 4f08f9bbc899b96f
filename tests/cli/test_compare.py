"""`compare` of model files on a folder of images, also of models that imgtrain did not make."""

import json

import numpy as np
import pytest
from repository import REPOSITORY

pytestmark = pytest.mark.tensorflow

RUNS = REPOSITORY / "tests/fixtures/v0.1.0"
KERAS, H5, IMAGES = RUNS / "completed/model.keras", RUNS / "completed-h5", RUNS / "data/test"


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """Return a plain Keras model that takes images as the pasted scripts scale them, and calls dark images light."""
    from imgtrain.model.runtime import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6, 10, 3)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")]
    )
    model.set_weights([np.full((180, 1), -0.1, np.float32), np.array([9.0], np.float32)])
    path = tmp_path_factory.mktemp("other") / "own.keras"
    model.save(path)
    return path


def test_two_models_are_compared_on_a_folder_as_evaluate_scores_them(imgtrain):
    done = imgtrain("compare", KERAS, H5, "--data", IMAGES, "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert (content["split"], content["images"]) == ("evaluation", 10)
    for which, model in (("a", KERAS), ("b", H5)):
        alone = imgtrain("evaluate", model, "--data", IMAGES, "--json")
        scores = json.loads(alone.stdout)["evaluation"]
        assert content[which]["accuracy"] == scores["accuracy"]
        assert content[which]["macro_f1"] == pytest.approx(scores["macro_f1"])


def test_a_model_of_ones_own_is_compared_with_a_run(imgtrain, other_model):
    forth, back = (
        imgtrain("compare", *pair, "--data", IMAGES, "--rescale", "1/255", "--json")
        for pair in ((other_model, H5), (H5, other_model))
    )
    assert forth.returncode == 0, forth.stderr
    alone = imgtrain("evaluate", other_model, "--data", IMAGES, "--rescale", "1/255", "--json")
    content = json.loads(forth.stdout)
    assert content["a"]["accuracy"] == json.loads(alone.stdout)["evaluation"]["accuracy"]
    assert json.loads(back.stdout)["accuracy_difference"] == -content["accuracy_difference"]


def test_what_is_missing_or_said_for_nothing_is_named(imgtrain, other_model):
    done = imgtrain("compare", KERAS, other_model)
    assert done.returncode == 4
    assert "for model files, use --data FOLDER" in done.stderr
    done = imgtrain("compare", KERAS, other_model, "--data", IMAGES)
    assert done.returncode == 2
    assert "--rescale" in done.stderr
    done = imgtrain("compare", KERAS, H5, "--data", IMAGES, "--rescale", "1/255", "--classes", "a,b")
    assert done.returncode == 2
    assert "--rescale" in done.stderr
    assert "--classes" in done.stderr
    done = imgtrain("compare", RUNS / "completed", H5, "--rescale", "1/255")
    assert done.returncode == 2
    assert "--data FOLDER" in done.stderr
