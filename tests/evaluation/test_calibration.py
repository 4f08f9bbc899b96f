"""Temperature scaling: a known temperature is recovered, and applied to the weights of a plain model."""

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from imgtrain.evaluation.calibration import apply_temperature, fit_temperature, warn_at_bounds


def draw(images, class_count, temperature, seed=0):
    """Draw labels from calibrated probabilities; return probabilities sharpened by the temperature."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(images, class_count))
    honest = softmax(logits, axis=1)
    labels = (honest.cumsum(axis=1) < rng.random((images, 1))).sum(axis=1).astype(np.int32)
    return labels, softmax(temperature * logits, axis=1).astype(np.float32)


@pytest.mark.parametrize("class_count", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_recovered(class_count, temperature):
    found = fit_temperature(*draw(20_000, class_count, temperature))
    assert found == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("class_count", [2, 5])
def test_the_temperature_of_mirror_images_is_that_of_the_mean(class_count):
    rng = np.random.default_rng(0)
    views = 3 * rng.normal(size=(2, 20_000, class_count))
    calibrated = softmax(views, axis=-1).mean(axis=0)
    labels = (calibrated.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1).astype(np.int32)
    image, mirrored = softmax(3 * views, axis=-1).astype(np.float32)
    assert fit_temperature(labels, image, mirrored) == pytest.approx(3, rel=0.05)
    # The temperature for the mean of the probabilities, which is less confident than either view, would be lower.
    assert fit_temperature(labels, (image + mirrored) / 2) < 2.8


def test_mistakes_with_probability_1_do_not_break_the_search():
    labels, probabilities = draw(200, 3, 1.0)
    probabilities = np.eye(3, dtype=np.float32)[probabilities.argmax(axis=1)]
    assert 1 < fit_temperature(labels, probabilities) < 100


def log_loss(labels, probabilities, temperature):
    logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)) / temperature
    return -np.log(softmax(logits, axis=1)[np.arange(len(labels)), labels]).mean()


def test_perfect_validation_does_not_make_the_model_certain():
    # A calibrated model with an accuracy of 96 %; all 20 validation images happen to be classified correctly.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 20_020)
    logits = 2.5 * (rng.normal(size=(len(labels), 2)) + 2.5 * np.eye(2)[labels])
    right = np.flatnonzero(logits.argmax(axis=1) == labels)[:20]
    test = np.setdiff1d(np.arange(len(labels)), right)
    probabilities = softmax(logits, axis=1)
    temperature = fit_temperature(labels[right].astype(np.int32), probabilities[right].astype(np.float32))
    uncalibrated, calibrated = (log_loss(labels[test], probabilities[test], t) for t in (1, temperature))
    assert uncalibrated == pytest.approx(0.1, abs=0.02)
    # The confidence that 20 of 20 justify is about 21/22; with unsmoothed targets the loss would be 1.0.
    assert calibrated < 0.2


@pytest.mark.parametrize(("images", "most"), [(12, 0.3), (40, 0.1), (200, 0.03)])
@pytest.mark.parametrize(("class_count", "signal"), [(2, 2.5), (5, 2.5), (5, 4.0)])
def test_calibration_on_few_images_increases_the_loss_only_slightly(class_count, signal, images, most):
    # docs/results.md quotes the figures.
    rng = np.random.default_rng(images)
    for honest in (0.4, 1.0, 3.0):  # underconfident, honest, overconfident
        worse = []
        for _ in range(100):
            labels = rng.integers(0, class_count, images + 2000).astype(np.int32)
            logits = rng.normal(size=(len(labels), class_count)) + signal * np.eye(class_count)[labels]
            probabilities = softmax(honest * signal * logits, axis=1).astype(np.float32)
            temperature = fit_temperature(labels[:images], probabilities[:images])
            test = labels[images:], probabilities[images:]
            worse.append(log_loss(*test, temperature) - log_loss(*test, 1))
        assert np.max(worse) < most


def test_a_temperature_at_the_limit_of_the_search_triggers_a_warning():
    labels, probabilities = draw(200, 3, 1.0)
    wrong = np.roll(np.eye(3, dtype=np.float32)[labels], 1, axis=1)  # certain, and never right
    (warning,) = warn_at_bounds(fit_temperature(labels, np.clip(wrong, 1e-9, 1)))
    assert "20" in warning
    assert warn_at_bounds(fit_temperature(labels, probabilities)) == []


@pytest.mark.tensorflow
@pytest.mark.parametrize(("units", "activation"), [(3, "softmax"), (1, "sigmoid")])
def test_scaled_weights_output_calibrated_probabilities(units, activation):
    from imgtrain.model.runtime import keras

    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(8, "relu"),
        keras.layers.Dense(units, activation, bias_initializer="normal"),
    ]
    model = keras.Sequential(layers)
    inputs = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    before = model.predict(inputs, verbose=0).astype(np.float64)
    apply_temperature(model, 2.5)
    after = model.predict(inputs, verbose=0)
    if units == 1:
        expected = 1 / (1 + np.exp(-np.log(before / (1 - before)) / 2.5))
    else:
        expected = softmax(np.log(before) / 2.5, axis=1)
    assert after == pytest.approx(expected, abs=1e-5)


@pytest.mark.tensorflow
def test_a_run_with_calibrate_saves_a_calibrated_model_and_averages_mirror_images(
    tmp_path, make_folders, imgtrain
):
    import keras

    from imgtrain.run.model_metadata import read_metadata

    make_folders(tmp_path, {"train": {"a": 12, "b": 12, "c": 12}, "test": {"a": 4, "b": 4, "c": 4}})
    (tmp_path / "config.yaml").write_text(
        "data: {train: train, test: test, validation_split: 0.3, target_size: [12, 12]}\n"
        "model:\n  layers: [Flatten]\ntraining: {epochs: 2}\nevaluation: {calibrate: true, flip_average: true}\n"
    )
    done = imgtrain("train", "config.yaml", "--output", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metadata = read_metadata(tmp_path / "run/model.keras")
    assert metadata.flip_average
    # Earlier versions of imgtrain would not average, and refuse the file.
    assert metadata.format_version == 2
    temperature = metadata.temperature
    assert f"temperature of {temperature:.3f}" in done.stdout
    # Evaluating the model file reproduces the probabilities written by the run.
    again = imgtrain("evaluate", "run", "--output", "again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    done = imgtrain("predict", "run", "test", "--output", "files.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = ("run/predictions-test.csv", "again/predictions.csv", "files.csv")
    texts = [(tmp_path / name).read_text() for name in names]
    in_run, evaluated, predicted = (
        np.array([line.split(",")[-3:] for line in text.splitlines()[1:]], float) for text in texts
    )
    assert in_run == pytest.approx(evaluated, abs=1e-6)
    assert in_run == pytest.approx(predicted, abs=1e-6)
    # Plain Keras gives the same.
    model = keras.models.load_model(tmp_path / "run/model.keras")
    files = sorted((tmp_path / "test").glob("*/*.png"))
    pixels = np.stack(
        [np.asarray(Image.open(file).resize((12, 12), Image.Resampling.BILINEAR)) for file in files]
    )
    image, mirrored = (model.predict(views, verbose=0) for views in (pixels, pixels[:, :, ::-1]))
    assert np.abs(image - mirrored).max() > 1e-3
    assert in_run == pytest.approx((image + mirrored) / 2, abs=1e-5)
    assert (tmp_path / "again/report.html").exists()
