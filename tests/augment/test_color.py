"""Every color operation against Pillow's own, on pictures like photographs and on noise."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from imgtrain.augment import color

FACTORS = [0.0, 0.1, 0.55, 1.0, 1.3, 1.9]


@pytest.fixture(params=["photo", "gray photo", "noise", "gray noise", "one level"])
def picture(request, make_picture):
    rng = np.random.default_rng(3)
    return {
        "photo": make_picture(31, 44),
        "gray photo": make_picture(31, 44, 1),
        "noise": rng.integers(0, 256, (31, 44, 3), dtype=np.uint8),
        "gray noise": rng.integers(0, 256, (31, 44, 1), dtype=np.uint8),
        "one level": np.full((31, 44, 3), 77, np.uint8),
    }[request.param]


def ours(picture, operation, *arguments):
    changed = picture.copy()
    getattr(color, operation)(changed, *arguments)
    return changed


def pillows(picture, operation):
    image = Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0])
    return np.asarray(operation(image)).reshape(picture.shape)


def largest_difference(one, other):
    return np.abs(one.astype(int) - other.astype(int)).max()


@pytest.mark.parametrize("factor", FACTORS)
class TestFactors:
    """Within a level: sums that are almost the next level are rounded up, and Pillow rounds what it blends with."""

    @pytest.mark.parametrize(
        ("operation", "pillow"),
        [
            ("change_brightness", ImageEnhance.Brightness),
            ("change_contrast", ImageEnhance.Contrast),
            ("change_saturation", ImageEnhance.Color),
        ],
    )
    def test_enhance(self, picture, factor, operation, pillow):
        wanted = pillows(picture, lambda image: pillow(image).enhance(factor))
        got = ours(picture, operation, factor)
        assert largest_difference(got, wanted) <= 1
        # Rounded down like Pillow's, not to the nearest.
        if operation != "change_saturation":
            assert (got != wanted).mean() < 0.03

    def test_keras_brightness_is_exact(self, picture, factor):
        offset = color.offsets_that_floor(np.array([factor]))[0]
        wanted = pillows(picture, lambda image: ImageEnhance.Brightness(image).enhance(factor))
        for given in (offset, 0.0):
            changed = picture.copy()
            color.multiply_levels(changed, factor, offset=given)
            assert (changed == wanted).all()


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize(picture, bits):
    wanted = pillows(picture, lambda image: ImageOps.posterize(image, bits))
    assert (ours(picture, "posterize", bits) == wanted).all()


@pytest.mark.parametrize("threshold", [0, 127.5, 178.5, 255])
def test_solarize(picture, threshold):
    wanted = pillows(picture, lambda image: ImageOps.solarize(image, threshold))
    assert (ours(picture, "solarize", threshold) == wanted).all()


def test_autocontrast(picture):
    assert (ours(picture, "stretch_contrast") == pillows(picture, ImageOps.autocontrast)).all()


def test_equalize(picture):
    assert (ours(picture, "equalize") == pillows(picture, ImageOps.equalize)).all()


def test_gray(picture):
    """Within a level: OpenCV's weights have fewer digits."""
    wanted = pillows(picture, lambda image: image.convert("L").convert(image.mode))
    assert largest_difference(ours(picture, "remove_color"), wanted) <= 1


class TestHue:
    @pytest.mark.parametrize("turns", [-0.5, -0.1, 0.02, 0.3, 0.5])
    def test_it_turns_in_the_hexagon_of_hsv(self, picture, turns):
        """Pillow's HSV has 8 bits; within a level of the same formulas in float64."""
        assert largest_difference(ours(picture, "rotate_hue", turns), hue_in_float64(picture, turns)) <= 1

    def test_a_third_of_a_turn_exchanges_the_channels(self, make_picture):
        picture = make_picture(20, 30)
        assert largest_difference(ours(picture, "rotate_hue", 1 / 3), picture[..., [2, 0, 1]]) <= 1

    @pytest.mark.parametrize("turns", [-0.1, 0.3])
    def test_pillow_means_the_same(self, make_picture, turns):
        picture = make_picture(20, 30)
        hue, *rest = Image.fromarray(picture).convert("HSV").split()
        turned = Image.fromarray((np.asarray(hue) + round(255 * turns) % 256).astype(np.uint8))
        wanted = np.asarray(Image.merge("HSV", (turned, *rest)).convert("RGB"))
        # A step of Pillow's 8-bit hue is 6 levels on the steep side of the hexagon.
        assert largest_difference(ours(picture, "rotate_hue", turns), wanted) <= 8


def hue_in_float64(picture, turns):
    """Smith's HSV (1978), on the whole picture at once."""
    if picture.shape[2] == 1:
        return picture
    red, green, blue = np.moveaxis(picture / 255, -1, 0)
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    divisor = np.where(chroma > 0, chroma, 1)
    sextant = np.select(
        [value == red, value == green],
        [(green - blue) / divisor % 6, (blue - red) / divisor + 2],
        (red - green) / divisor + 4,
    )
    sextant += 6 * turns
    channels = []
    for first in (5, 3, 1):
        place = (first + sextant) % 6
        channels.append(value - chroma * np.clip(np.minimum(place, 4 - place), 0, 1))
    return np.rint(255 * np.stack(channels, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize(
    ("operation", "pillow"),
    [("change_brightness", ImageEnhance.Brightness), ("change_contrast", ImageEnhance.Contrast)],
)
def test_levels_stay_in_their_range(operation, pillow):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    wanted = pillows(levels, lambda image: pillow(image).enhance(100.0))
    assert largest_difference(ours(levels, operation, 100.0), wanted) <= 1


@pytest.mark.parametrize("operation", ["change_saturation", "rotate_hue"])
def test_gray_images_have_no_color_to_change(make_picture, operation):
    picture = make_picture(12, 13, 1)
    assert (ours(picture, operation, 0.3) == picture).all()
    assert (ours(picture, "remove_color") == picture).all()
