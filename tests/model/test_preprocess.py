"""Preprocessing layers against Keras's own ImageDataGenerator: `fit` on raw pixels, then `standardize`."""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from imgtrain.batches.featurewise import fit_featurewise_statistics
from imgtrain.config.preprocessing import needs_featurewise_statistics
from imgtrain.config.schema import PreprocessingConfig
from imgtrain.model.preprocess import PREPROCESSING_NAMES, preprocessing_layers
from imgtrain.model.runtime import keras

pytestmark = pytest.mark.tensorflow

SHAPE = (6, 5, 3)
SWITCHES = (
    "samplewise_center",
    "samplewise_std_normalization",
    "featurewise_center",
    "featurewise_std_normalization",
    "zca_whitening",
)
# Of the largest value. Both compute in float32, and the samplewise deviation differs by the factor 1 + ε/s, with
# ε = 1e-6 and s down to 0.07 in these images.
TOLERANCE = 3e-5
# Whitening multiplies rounding errors by up to the largest entry of its matrix times the number of values.
ZCA_TOLERANCE = 2e-3


def make_images(count: int, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """Return smooth pictures with noise: neighbouring pixels are correlated, as in photographs."""
    rng = np.random.default_rng(3)
    images = 40 * rng.normal(size=(count, 1, 1, shape[2])) + 25 * rng.normal(size=(count, *shape)) + 128
    return images.clip(0, 255).astype(np.uint8)


def keras_says(images: NDArray[np.uint8], options: dict[str, Any]) -> NDArray[np.float64]:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It says which option implies another.
        generator = ImageDataGenerator(**options)
    generator.fit(images.astype("float32"))
    return np.stack([generator.standardize(image.astype("float32")) for image in images])


def build(images: NDArray[np.uint8], options: dict[str, Any]) -> keras.Sequential:
    preprocessing = PreprocessingConfig(**options)
    statistics = (
        fit_featurewise_statistics(np.split(images, 4), preprocessing)
        if needs_featurewise_statistics(preprocessing)
        else None
    )
    shape = images.shape[1:]
    layers = preprocessing_layers(preprocessing, image_shape=shape, statistics=statistics)
    return keras.Sequential([keras.Input(shape, dtype="float32"), *layers])


def imgtrain_says(images: NDArray[np.uint8], options: dict[str, Any]) -> NDArray[np.float32]:
    return np.asarray(build(images, options)(images))


def assert_agree(images: NDArray[np.uint8], options: dict[str, Any], *, tolerance: float) -> None:
    wanted = keras_says(images, options)
    np.testing.assert_allclose(
        imgtrain_says(images, options), wanted, rtol=0, atol=tolerance * np.abs(wanted).max()
    )


@pytest.mark.parametrize("switches", list(product([False, True], repeat=len(SWITCHES))))
def test_every_combination_of_options_agrees_with_keras(switches: tuple[bool, ...]) -> None:
    options = {"rescale": 1 / 255, "zca_epsilon": 1e-3, **dict(zip(SWITCHES, switches, strict=True))}
    tolerance = ZCA_TOLERANCE if options["zca_whitening"] else TOLERANCE
    assert_agree(make_images(200), options, tolerance=tolerance)


@pytest.mark.parametrize("rescale", [1.0, 1 / 127.5, -2.0])
@pytest.mark.parametrize("shape", [(6, 5, 1), (4, 4, 4)])
def test_other_factors_and_channels_agree_with_keras(rescale: float, shape: tuple[int, int, int]) -> None:
    options = {"rescale": rescale, "samplewise_center": True, "featurewise_std_normalization": True}
    assert_agree(make_images(40, shape), options, tolerance=TOLERANCE)


def test_zca_with_fewer_images_than_values_agrees_with_keras() -> None:
    options = {"rescale": 1 / 255, "zca_whitening": True, "zca_epsilon": 1e-2}
    assert_agree(make_images(40), options, tolerance=ZCA_TOLERANCE)


def test_a_flat_image_becomes_zero() -> None:
    images = np.full((4, *SHAPE), 200, np.uint8)
    options = {"rescale": 1 / 255, "samplewise_std_normalization": True}
    # Keras gives a rounding error over its epsilon: zero but for noise.
    assert np.abs(keras_says(images, options)).max() < 0.1
    np.testing.assert_allclose(imgtrain_says(images, options), 0, atol=1e-3)


def test_a_nearly_flat_image_agrees_with_keras_in_all_but_epsilon() -> None:
    images = np.full((4, *SHAPE), 200, np.uint8)
    images[:, 0, 0, 0] = 201
    options = {"rescale": 1 / 255, "samplewise_std_normalization": True}
    # One gray value in one pixel is a standard deviation of 4e-4; ε/s is 0.25 %.
    np.testing.assert_allclose(imgtrain_says(images, options), keras_says(images, options), rtol=5e-3)


def test_float_pixels_give_what_uint8_pixels_give() -> None:
    images = make_images(8)
    model = build(images, {"samplewise_std_normalization": True, "featurewise_center": True})
    np.testing.assert_array_equal(
        model.predict(images, verbose=0), model.predict(images.astype("float32"), verbose=0)
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_all_layers_survive_both_file_formats(tmp_path: Path, suffix: str) -> None:
    images = make_images(200)
    options = dict.fromkeys(SWITCHES, True)
    # ZCA replaces the featurewise deviation: two models reach every layer.
    for chosen in (options, {**options, "zca_whitening": False}):
        model = build(images, chosen)
        path = tmp_path / f"model{suffix}"
        model.save(path)
        loaded = keras.models.load_model(path, compile=False)
        np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))


def test_names_are_reserved_and_nothing_is_trained() -> None:
    images = make_images(200)
    model = build(images, dict.fromkeys(SWITCHES, True))
    assert {layer.name for layer in model.layers} <= set(PREPROCESSING_NAMES)
    assert model.trainable_weights == []
    assert all(layer.compute_dtype == "float32" for layer in model.layers)


def test_featurewise_options_need_statistics() -> None:
    with pytest.raises(ValueError, match="statistics"):
        preprocessing_layers(PreprocessingConfig(featurewise_center=True), image_shape=SHAPE, statistics=None)
