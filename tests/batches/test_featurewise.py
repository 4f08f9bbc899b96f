from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imgtrain.batches.featurewise import FeaturewiseStatistics, fit_featurewise_statistics
from imgtrain.config.load import parse_config
from imgtrain.config.preprocessing import (
    MAX_ZCA_VALUES,
    check_zca,
    needs_featurewise_statistics,
    with_implied_options,
)
from imgtrain.config.schema import PreprocessingConfig
from imgtrain.errors import DataError

FEATUREWISE = PreprocessingConfig(featurewise_center=True, featurewise_std_normalization=True)
ZCA = PreprocessingConfig(zca_whitening=True)


def make_images(count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.parametrize("sizes", [[50], [1, 49], [7, 0, 43], [10] * 5])
def test_one_pass_gives_the_moments_of_all_images(sizes: list[int]) -> None:
    images = make_images(50, (5, 4, 3))
    batches = np.split(images, np.cumsum(sizes)[:-1])
    found = fit_featurewise_statistics(batches, FEATUREWISE)
    scaled = images / 255
    np.testing.assert_allclose(found.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-13)
    np.testing.assert_allclose(found.std, scaled.std(axis=(0, 1, 2)), rtol=1e-12)
    assert found.zca is None


def test_moments_of_bright_flat_images_keep_their_digits() -> None:
    images = np.full((400, 8, 8, 1), 255, np.uint8)
    images[0, 0, 0] = 254
    found = fit_featurewise_statistics(np.split(images, 20), FEATUREWISE)
    np.testing.assert_allclose(found.std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-9)


def test_zca_makes_pixels_uncorrelated_and_does_not_depend_on_batches() -> None:
    images = make_images(400, (4, 3, 3))
    found = fit_featurewise_statistics([images], ZCA)
    again = fit_featurewise_statistics(np.split(images, 8), ZCA)
    assert found.zca is not None
    assert again.zca is not None
    np.testing.assert_allclose(found.zca, again.zca, rtol=1e-9, atol=1e-9)
    white = ((images / 255 - found.mean).reshape(400, -1)) @ found.zca
    np.testing.assert_allclose(white.T @ white / 400, np.eye(36), atol=1e-5)


def test_zca_ignores_directions_in_which_no_image_varies() -> None:
    images = make_images(200, (3, 3, 1))
    images[:, 0] = 17
    zca = fit_featurewise_statistics([images], ZCA).zca
    assert zca is not None
    # The constant border still has its distance from the mean, in one direction.
    assert np.abs(zca).max() < 100


def test_no_image_and_mixed_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="without training images"):
        fit_featurewise_statistics([], FEATUREWISE)
    with pytest.raises(DataError, match="must have the same shape"):
        fit_featurewise_statistics([make_images(2, (3, 3, 1)), make_images(2, (4, 3, 1))], FEATUREWISE)


def test_implied_options_are_those_of_image_data_generator() -> None:
    std = with_implied_options(
        PreprocessingConfig(samplewise_std_normalization=True, featurewise_std_normalization=True)
    )
    assert std.samplewise_center
    assert std.featurewise_center
    zca = with_implied_options(PreprocessingConfig(zca_whitening=True, featurewise_std_normalization=True))
    assert zca.featurewise_center
    assert not zca.featurewise_std_normalization
    assert not needs_featurewise_statistics(PreprocessingConfig(samplewise_std_normalization=True))
    assert needs_featurewise_statistics(ZCA)
    assert needs_featurewise_statistics(PreprocessingConfig(featurewise_std_normalization=True))


@pytest.mark.parametrize(("size", "refused"), [((64, 64), False), ((64, 65), True)])
def test_zca_of_large_images_is_refused_with_the_limit(size: tuple[int, int], refused: bool) -> None:
    config = parse_config(
        {
            "data": {"train": "x", "target_size": list(size), "color_mode": "grayscale"},
            "preprocessing": {"zca_whitening": True},
        }
    )
    problems = check_zca(config)
    assert bool(problems) == refused
    if refused:
        assert f"at most {MAX_ZCA_VALUES:,}" in problems[0].what
        assert "[64, 64]" in problems[0].hint


def test_large_images_are_fine_without_zca() -> None:
    assert check_zca(parse_config({"data": {"train": "x"}})) == []


def test_neutral_statistics_change_nothing() -> None:
    neutral = FeaturewiseStatistics.neutral((2, 3, 3), zca=True)
    image = np.arange(18.0).reshape(2, 3, 3)
    white = ((image - neutral.mean) / neutral.std).reshape(1, -1) @ neutral.zca
    np.testing.assert_array_equal(white.ravel(), image.ravel())
