"""Sharpness and JPEG against Pillow, the blur against SciPy."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from imgtrain.augment.filters import blur, change_sharpness, compress


@pytest.fixture(params=["photo", "gray photo", "noise", "gray noise", "narrow", "one pixel"])
def picture(request, make_picture):
    rng = np.random.default_rng(3)
    return {
        "photo": make_picture(31, 44),
        "gray photo": make_picture(31, 44, 1),
        "noise": rng.integers(0, 256, (31, 44, 3), dtype=np.uint8),
        "gray noise": rng.integers(0, 256, (31, 44, 1), dtype=np.uint8),
        "narrow": rng.integers(0, 256, (2, 9, 3), dtype=np.uint8),
        "one pixel": np.full((1, 1, 3), 200, np.uint8),
    }[request.param]


def as_pillow(picture):
    return Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0])


def largest_difference(one, other):
    return np.abs(one.astype(int) - other.reshape(one.shape).astype(int)).max()


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.73, 1.0, 1.27, 1.9])
def test_sharpness_is_pillows(picture, factor):
    """Within a level: Pillow rounds the smoothed picture before it blends."""
    wanted = np.asarray(ImageEnhance.Sharpness(as_pillow(picture)).enhance(factor))
    change_sharpness(picture, factor)
    assert largest_difference(picture, wanted) <= 1


@pytest.mark.parametrize("quality", [1, 30, 75, 100])
def test_jpeg_is_pillows(picture, quality):
    """Exactly, as long as both have libjpeg-turbo."""
    file = io.BytesIO()
    as_pillow(picture).save(file, "JPEG", quality=quality)
    wanted = np.asarray(Image.open(file))
    compress(picture, quality)
    assert largest_difference(picture, wanted) == 0


@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.0, 2.3, 7.0])
def test_the_blur_is_a_gaussian(picture, sigma):
    """The same kernel in float64, but for the rounding."""
    wanted = np.stack(
        [
            ndimage.gaussian_filter(
                channel.astype(np.float64), sigma, mode="mirror", radius=int(np.ceil(3 * sigma))
            )
            for channel in np.moveaxis(picture, -1, 0)
        ],
        axis=-1,
    )
    blur(picture, sigma)
    # Rounding, and float32.
    assert np.abs(picture - wanted).max() <= 0.501


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.1, 1.7, 4.0, 20.0])
def test_the_blur_keeps_the_brightness(sigma):
    white = np.full((9, 12, 3), 255, np.uint8)
    blur(white, sigma)
    assert (white == 255).all()
