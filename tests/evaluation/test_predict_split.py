"""The loss of a split is the one that Keras's own `evaluate` gives, however sure and wrong the model is."""

from typing import ClassVar

import numpy as np
import pytest

from imgtrain.batches.batches import Batches

pytestmark = pytest.mark.tensorflow


class InMemory:
    """Pixels of a folder that was never on disk."""

    shape = (6, 6, 3)
    bad: ClassVar = {}

    def __init__(self, pixels):
        self.pixels = pixels

    def read(self, indices, out=None):
        return self.pixels[indices]


@pytest.mark.parametrize(
    ("mode", "units", "activation", "loss"),
    [
        ("binary", 1, "sigmoid", "binary_crossentropy"),
        ("categorical", 3, "softmax", "categorical_crossentropy"),
        ("sparse", 3, "softmax", "sparse_categorical_crossentropy"),
        ("categorical", 3, "softmax", "mean_squared_error"),
    ],
)
def test_as_keras_evaluate(mode, units, activation, loss):
    from imgtrain.evaluation.predict import predict_split
    from imgtrain.model.runtime import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    # Logits far beyond what a float32 probability can tell apart from 0 and 1.
    wide = keras.initializers.RandomNormal(stddev=30.0, seed=1)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(units, activation=activation, kernel_initializer=wide),
        ]
    )
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 6, 6, 3), np.uint8)
    labels = rng.integers(0, 2 if units == 1 else 3, 50).astype(np.int32)
    batches = Batches(
        pixels=InMemory(pixels),
        indices=np.arange(50),
        labels=labels,
        class_count=2 if units == 1 else 3,
        class_mode=mode,
        batch_size=16,
    )
    model.compile(loss=loss)
    expected = model.evaluate(pixels, batches.targets(), verbose=0)
    probabilities, mean = predict_split(model, batches, loss=loss, task="x")
    assert mean == pytest.approx(expected, rel=1e-5)
    outputs = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(probabilities[:, -units:], outputs, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
