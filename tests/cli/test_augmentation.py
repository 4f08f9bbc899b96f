"""Every option of `augmentation` at once, through the commands: checked, shown, trained on, and not in the model."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.tensorflow

EVERYTHING = """
data:
  train: train
  validation: validation
  test: test
  target_size: [16, 16]
  class_mode: {class_mode}
  batch_size: 7
  balance: oversample
preprocessing: {{featurewise_center: true}}
augmentation:
  rotation_range: 20
  width_shift_range: 0.1
  zoom_range: 0.1
  brightness_range: [0.8, 1.2]
  horizontal_flip: true
  randaugment: {{layers: 2, magnitude: 9}}
  color_jitter: {{brightness: 0.2, contrast: 0.2, saturation: 0.2, hue: 0.05}}
  grayscale: 0.2
  gaussian_blur: [0, 0.8]
  jpeg_quality: [60, 95]
  erasing: 0.2
  mixup: 0.2
  cutmix: 1.0
  mix_probability: 0.8
model: {{layers: [Conv2D: {{filters: 4, kernel_size: 3, activation: relu}}, Flatten]}}
training:
  epochs: 6
  optimizer: {{name: adam, learning_rate: 0.01}}
  class_weight: {{dark: 2}}
  early_stopping: null
"""


@pytest.fixture(scope="module", params=["sparse", "binary"])
def trained(request, tmp_path_factory, make_folders, imgtrain):
    """Return the folder of a configuration and its run, of classes that brightness tells apart."""
    root = tmp_path_factory.mktemp(request.param)
    make_folders(
        root,
        {
            "train": {"bright": 30, "dark": 22},
            "validation": {"bright": 6, "dark": 6},
            "test": {"bright": 6, "dark": 6},
        },
    )
    (root / "all.yaml").write_text(EVERYTHING.format(class_mode=request.param))
    done = imgtrain("train", root / "all.yaml", "--output", root / "run")
    assert done.returncode == 0, done.stderr
    return root


def test_it_learns_from_mixed_labels(trained):
    metrics = json.loads((trained / "run/metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.8
    with (trained / "run/history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    # Training accuracy counts the class with the largest share: it is no chance, and not always right.
    assert 0.5 < float(history[-1]["accuracy"]) < 1
    assert float(history[-1]["val_loss"]) < float(history[0]["val_loss"])


def test_the_model_is_scored_on_labels_of_its_class_mode(trained, imgtrain):
    done = imgtrain("evaluate", trained / "run", "--json")
    assert done.returncode == 0, done.stderr
    wanted = json.loads((trained / "run/metrics.json").read_text())["test"]
    scores = json.loads(done.stdout)["evaluation"]
    assert scores["accuracy"] == wanted["accuracy"]
    assert scores["loss"] == pytest.approx(wanted["loss"], rel=1e-3)


def test_plain_keras_loads_the_model_with_the_loss_of_its_class_mode(trained):
    import keras

    model = keras.models.load_model(trained / "run/model.keras")
    binary = "binary" in trained.name
    labels = np.array([[0.0], [1.0]]) if binary else np.array([0, 1])
    scores = model.evaluate(np.zeros((2, 16, 16, 3), np.uint8), labels, verbose=0, return_dict=True)
    assert np.isfinite(list(scores.values())).all()


def test_the_saved_configuration_names_every_option(trained, imgtrain):
    done = imgtrain("train", trained / "run/config.yaml", "--dry-run", "--output", trained / "again")
    assert done.returncode == 0, done.stderr


def test_check_and_preview_know_every_option(trained, imgtrain, tmp_path):
    def about_augmentation(*words):
        done = imgtrain("check", trained / "all.yaml", "--json", *words)
        assert done.returncode == 0, done.stderr
        findings = json.loads(done.stdout)["findings"]
        return [finding["what"].split(":")[0] for finding in findings if "augmentation" in finding["code"]]

    assert about_augmentation() == []
    assert about_augmentation("--set", "augmentation.erasing=1") == ["augmentation.erasing"]
    words = ["--output", tmp_path / "sheet.png", "--images", "3", "--count", "2"]
    done = imgtrain("preview-aug", trained / "all.yaml", *words)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        # A line of text above each picture, and one for each class of its label below.
        assert sheet.size == (8 + 3 * (96 + 8), 8 + 24 + 3 * (3 * 24 + 96 + 8))
