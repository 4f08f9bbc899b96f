"""The loss of a split equals that of Keras's `evaluate`, even for confident mistakes."""

from typing import ClassVar

import numpy as np
import pytest

from imgtrain.batches.batches import Batches

pytestmark = pytest.mark.tensorflow


class InMemory:
    """Images in memory instead of a folder."""

    shape = (6, 6, 3)
    bad: ClassVar = {}

    def __init__(self, pixels):
        self.pixels = pixels

    def read(self, indices, out=None):
        return self.pixels[indices]


EVERY_HEAD = pytest.mark.parametrize(
    ("mode", "units", "activation", "loss"),
    [
        ("binary", 1, "sigmoid", "binary_crossentropy"),
        ("categorical", 3, "softmax", "categorical_crossentropy"),
        ("sparse", 3, "softmax", "sparse_categorical_crossentropy"),
        ("categorical", 3, "softmax", "mean_squared_error"),
    ],
)


def build(units, activation, *, stddev):
    from imgtrain.model.runtime import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    wide = keras.initializers.RandomNormal(stddev=stddev, seed=1)
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(units, activation=activation, kernel_initializer=wide),
        ]
    )


def batches_of(pixels, mode, units):
    labels = np.random.default_rng(0).integers(0, 2 if units == 1 else 3, 50).astype(np.int32)
    return Batches(
        pixels=InMemory(pixels),
        indices=np.arange(50),
        labels=labels,
        class_count=2 if units == 1 else 3,
        class_mode=mode,
        batch_size=16,
    )


@EVERY_HEAD
def test_as_keras_evaluate(mode, units, activation, loss):
    from imgtrain.evaluation.predict import predict_split

    # Logits far beyond what a float32 probability can tell apart from 0 and 1.
    model = build(units, activation, stddev=30.0)
    pixels = np.random.default_rng(1).integers(0, 256, (50, 6, 6, 3), np.uint8)
    batches = batches_of(pixels, mode, units)
    model.compile(loss=loss)
    expected = model.evaluate(pixels, batches.targets(), verbose=0)
    probabilities, mean = predict_split(model, batches, loss=loss, task="x")
    assert mean == pytest.approx(expected, rel=1e-5)
    outputs = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(probabilities[:, -units:], outputs, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@EVERY_HEAD
def test_the_mean_over_mirror_images(mode, units, activation, loss):
    from imgtrain.evaluation.predict import predict_split, predictor, views
    from imgtrain.model.runtime import keras

    both = views(flip_average=True)
    pixels = np.random.default_rng(1).integers(0, 256, (50, 6, 6, 3), np.uint8)
    batches = batches_of(pixels, mode, units)
    model = build(units, activation, stddev=0.3)
    probabilities, mean = predict_split(model, batches, loss=loss, task="x", mirrored=both)
    images, mirrored = (model.predict(part, verbose=0) for part in (pixels, pixels[:, :, ::-1]))
    assert np.abs(images - mirrored).max() > 0.1
    expected = (images + mirrored) / 2
    np.testing.assert_allclose(probabilities[:, -units:], expected, atol=1e-6)
    np.testing.assert_array_equal(predictor(model, mirrored=both)(pixels[:16]), probabilities[:16, -units:])
    assert mean == pytest.approx(
        float(np.mean(keras.losses.get(loss)(batches.targets(), expected))), rel=1e-5
    )

    # Where image and mirror image are the same, so is the loss, also of logits beyond float32 probabilities.
    model = build(units, activation, stddev=30.0)
    batches = batches_of(np.concatenate([pixels[:, :, :3], pixels[:, :, 2::-1]], axis=2), mode, units)
    once, twice = (
        predict_split(model, batches, loss=loss, task="x", mirrored=mirrored)[1]
        for mirrored in ((False,), both)
    )
    assert twice == pytest.approx(once, rel=1e-5)
