from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtrain.augment.erase import NOISE_BYTES, choose_rectangles, erase

UNIFORM = st.floats(0, 1, exclude_max=True)


@settings(max_examples=200, deadline=None)
@given(
    numbers=st.tuples(UNIFORM, UNIFORM, UNIFORM, UNIFORM),
    height=st.integers(1, 400),
    width=st.integers(1, 400),
)
def test_every_rectangle_is_inside_the_image_and_not_empty(numbers, height, width):
    left, top, right, bottom = choose_rectangles(np.array(numbers)[:, None], height, width)[:, 0]
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@pytest.mark.parametrize(("height", "width"), [(200, 200), (120, 300), (1000, 50)])
def test_areas_and_ratios_are_those_of_the_paper(height, width):
    uniforms = np.random.default_rng(0).random((4, 20_000))
    left, top, right, bottom = choose_rectangles(uniforms, height, width)
    areas = (right - left) * (bottom - top) / (height * width)
    ratios = (bottom - top) / (right - left)
    # Sides are whole pixels.
    assert areas.min() > 0.017
    assert areas.max() < 0.35
    assert abs(areas.mean() - (0.02 + 0.33) / 2) < 0.005
    if height == width:
        assert ratios.min() > 0.28
        assert ratios.max() < 3.5
        # The logarithm of the ratio is symmetric about 0.
        assert abs(np.log(ratios).mean()) < 0.02


def test_every_place_of_the_image_is_erased_at_times():
    uniforms = np.random.default_rng(0).random((4, 2000))
    erased = np.zeros((30, 40), np.intp)
    for left, top, right, bottom in choose_rectangles(uniforms, 30, 40).T:
        erased[top:bottom, left:right] += 1
    # No side is left out or preferred.
    assert erased.min() > 0
    np.testing.assert_allclose(erased[0].sum() / erased[-1].sum(), 1, atol=0.25)
    np.testing.assert_allclose(erased[:, 0].sum() / erased[:, -1].sum(), 1, atol=0.25)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_rectangle_is_noise_and_the_rest_stays(make_picture, channels):
    picture = make_picture(60, 80, channels)
    erased = picture.copy()
    erase(erased, (10, 5, 60, 55), noise_start=3)
    outside = np.ones(picture.shape[:2], bool)
    outside[5:55, 10:60] = False
    assert (erased[outside] == picture[outside]).all()
    noise = erased[~outside]
    counts = np.bincount(noise.ravel(), minlength=256)
    assert counts.min() > 0 or noise.size < 10_000
    assert abs(noise.mean() - 127.5) < 4
    again, other = picture.copy(), picture.copy()
    erase(again, (10, 5, 60, 55), noise_start=3)
    erase(other, (10, 5, 60, 55), noise_start=4)
    assert (again == erased).all()
    assert (other != erased).any()


def test_noise_that_ends_begins_again():
    picture = np.zeros((40, 50, 3), np.uint8)
    erase(picture, (0, 0, 50, 40), noise_start=NOISE_BYTES - 1000)
    assert (picture != 0).mean() > 0.99
    begun = np.zeros((40, 50, 3), np.uint8)
    erase(begun, (0, 0, 50, 40), noise_start=0)
    assert (picture.ravel()[1000:] == begun.ravel()[:-1000]).all()


def test_an_image_may_be_larger_than_the_noise():
    picture = np.zeros((700, 800, 3), np.uint8)
    erase(picture, (0, 0, 800, 700), noise_start=5)
    assert np.bincount(picture.ravel(), minlength=256).min() > 0.9 * picture.size / 256
