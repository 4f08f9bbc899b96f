from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from imgtrain.augment.apply import augment_batch
from imgtrain.augment.sample import make_identity_params, sample_params
from imgtrain.augment.warp import warp_matrices
from imgtrain.config.schema import AugmentationConfig

LINEAR = AugmentationConfig()
EVERYTHING = AugmentationConfig(
    rotation_range=30,
    width_shift_range=0.2,
    height_shift_range=0.2,
    shear_range=20,
    zoom_range=0.3,
    brightness_range=(0.5, 1.5),
    channel_shift_range=30,
    horizontal_flip=True,
    vertical_flip=True,
)


def make_params(**numbers):
    params = make_identity_params(1)
    for name, value in numbers.items():
        params[name] = value
    return params


def warp_one(picture, augmentation=LINEAR, **numbers):
    return augment_batch(picture[None], make_params(**numbers), augmentation)[0]


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(12, 17), (13, 8)])
class TestExactMoves:
    """Moves that fetch every pixel from the middle of another: no interpolation, no rounding."""

    @pytest.fixture
    def picture(self, make_picture, height, width, channels):
        return make_picture(height, width, channels)

    @pytest.fixture
    def augmentation(self, order):
        return AugmentationConfig(interpolation_order=order)

    def test_flips(self, picture, augmentation):
        assert (warp_one(picture, augmentation, flip_horizontal=True) == picture[:, ::-1]).all()
        assert (warp_one(picture, augmentation, flip_vertical=True) == picture[::-1]).all()
        both = warp_one(picture, augmentation, flip_horizontal=True, flip_vertical=True)
        assert (both == picture[::-1, ::-1]).all()

    def test_width_is_horizontal_and_height_is_vertical(self, picture, augmentation):
        moved_left = warp_one(picture, augmentation, shift_x_pixels=3)
        assert (moved_left[:, :-3] == picture[:, 3:]).all()
        assert (moved_left[:, -3:] == picture[:, -1:]).all()
        moved_down = warp_one(picture, augmentation, shift_y_pixels=-2)
        assert (moved_down[2:] == picture[:-2]).all()
        assert (moved_down[:2] == picture[:1]).all()

    def test_half_a_turn_is_about_the_centre_of_the_picture(self, picture, augmentation):
        np.testing.assert_array_equal(warp_one(picture, augmentation, theta_degrees=180), picture[::-1, ::-1])

    def test_the_picture_is_first_moved_then_mirrored(self, picture, augmentation):
        moved = warp_one(picture, augmentation, shift_x_pixels=3, shift_y_pixels=-2)
        mirrored = warp_one(
            picture,
            augmentation,
            shift_x_pixels=3,
            shift_y_pixels=-2,
            flip_horizontal=True,
            flip_vertical=True,
        )
        assert (mirrored == moved[::-1, ::-1]).all()


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_positive_quarter_turn_is_counter_clockwise(make_picture, order):
    picture = make_picture(15, 15)
    turned = warp_one(picture, AugmentationConfig(interpolation_order=order), theta_degrees=90)
    # OpenCV's coordinates carry the error of cos 90° in float32: too little to show after rounding.
    np.testing.assert_array_equal(turned, np.rot90(picture))


def test_zoom_below_one_magnifies_along_its_own_axis():
    picture = np.zeros((9, 9, 1), np.uint8)
    picture[4, 2:7] = 200
    wide = warp_one(picture, zoom_x=0.5)[..., 0]
    assert (wide[4] == 200).all()
    assert not wide[[3, 5]].any()
    tall = warp_one(picture, zoom_y=0.5)[..., 0]
    assert (tall[4, 2:7] == 200).all()
    assert (tall[3, 2:7] == 100).all()


def test_order_3_is_keys_cubic_with_a_of_minus_three_quarters():
    picture = np.full((5, 9, 1), 100, np.uint8)
    picture[:, 4] = 200
    moved = warp_one(picture, AugmentationConfig(interpolation_order=3), shift_x_pixels=0.5)
    # Half-way between pixels the kernel is (-3, 19, 19, -3) / 32.
    assert moved[2, :, 0].tolist() == [100, 100, 91, 159, 159, 91, 100, 100, 100]


def test_the_centre_of_the_picture_stays_where_it_is_when_nothing_is_shifted():
    params = make_params(theta_degrees=33, shear_degrees=12, zoom_x=0.7, zoom_y=1.2, flip_horizontal=True)
    (matrix,) = warp_matrices(params, 40, 91)
    np.testing.assert_allclose(matrix @ [45, 19.5, 1], [45, 19.5])


class TestColors:
    def test_brightness_multiplies_and_rounds_down(self, make_picture):
        picture = make_picture(20, 30)
        brighter = warp_one(picture, brightness=1.7)
        assert (brighter == np.minimum(np.floor(picture.astype(np.float32) * np.float32(1.7)), 255)).all()
        assert (warp_one(picture, brightness=0) == 0).all()

    def test_a_channel_shift_stays_within_the_pictures_own_darkest_and_brightest(self):
        picture = np.array([[[50, 60, 70], [90, 100, 110]]], np.uint8)
        assert warp_one(picture, channel_shift=15).tolist() == [[[65, 75, 85], [105, 110, 110]]]
        assert warp_one(picture, channel_shift=-15).tolist() == [[[50, 50, 55], [75, 85, 95]]]

    def test_darkest_and_brightest_are_those_of_the_moved_picture(self):
        picture = np.full((3, 3, 1), 100, np.uint8)
        picture[:, 0] = 200
        # The bright column leaves the picture, so that nothing may become brighter than 100.
        assert (warp_one(picture, shift_x_pixels=1, channel_shift=50) == 100).all()

    def test_brightness_comes_after_the_channel_shift(self):
        picture = np.array([[[0], [100], [200]]], np.uint8)
        assert warp_one(picture, channel_shift=50.5, brightness=0.5)[0, :, 0].tolist() == [25, 75, 100]

    def test_alpha_keeps_its_brightness_but_takes_part_in_the_channel_shift(self, make_picture):
        picture = make_picture(6, 7, 4)
        darker = warp_one(picture, brightness=0.5)
        assert (darker[..., 3] == picture[..., 3]).all()
        assert (darker[..., :3] == picture[..., :3] // 2).all()
        shifted = warp_one(picture, channel_shift=5, brightness=0.5)
        assert (shifted[..., 3] == np.minimum(picture[..., 3] + 5, picture.max())).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_outside_is_filled_with_cval_in_every_channel(make_picture, channels):
    augmentation = AugmentationConfig(fill_mode="constant", cval=77)
    moved = warp_one(make_picture(6, 8, channels), augmentation, shift_x_pixels=3)
    assert (moved[:, -3:] == 77).all()


def test_a_batch_is_its_images_one_by_one_whatever_the_threads(make_picture):
    pictures = np.stack([make_picture(40, 50, seed=seed) for seed in range(12)])
    params = sample_params(EVERYTHING, seed=0, epoch=0, stream_indices=np.arange(12), height=40, width=50)
    together = augment_batch(pictures, params, EVERYTHING)
    with ThreadPoolExecutor(4) as pool:
        single = list(
            pool.map(
                lambda i: augment_batch(pictures[i : i + 1], params[i : i + 1], EVERYTHING)[0], range(12)
            )
        )
    assert (together == np.stack(single)).all()
    assert len({image.tobytes() for image in together}) == 12


def test_the_given_array_is_filled_and_the_source_stays_as_it_was(make_picture):
    pictures = np.stack([make_picture(10, 11, seed=seed) for seed in range(3)])
    before = pictures.copy()
    pictures.flags.writeable = False  # as a memory map of the cache may be
    params = make_identity_params(3)
    params["theta_degrees"][1] = 10
    params["brightness"][2] = 0.5
    out = np.zeros_like(before)
    assert augment_batch(pictures, params, LINEAR, out=out) is out
    assert (pictures == before).all()
    assert (out[0] == before[0]).all()
    assert (out[1] == warp_one(before[1], theta_degrees=10)).all()
    assert (out[2] == before[2] // 2).all()


@pytest.mark.parametrize("fill_mode", ["nearest", "reflect", "wrap", "constant"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("reach", [0.1, 0.9, 6.0])
def test_pictures_laid_out_with_their_surroundings_equal_a_warp_that_looks_at_borders(
    fill_mode, channels, reach
):
    """Small, large and absurd displacements; the last are too far to be laid out."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 31, 44, channels), dtype=np.uint8)
    augmentation = AugmentationConfig(fill_mode=fill_mode, cval=77)
    params = make_identity_params(len(pixels))
    params["theta_degrees"] = rng.uniform(-180, 180, len(params))
    params["zoom_x"], params["zoom_y"] = rng.uniform(0.5, 1 + reach, (2, len(params)))
    params["shift_x_pixels"], params["shift_y_pixels"] = rng.uniform(
        -reach * 40, reach * 40, (2, len(params))
    )
    border = {"nearest": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT, "wrap": cv2.BORDER_WRAP}
    wanted = [
        cv2.warpAffine(
            source,
            matrix,
            (44, 31),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=border.get(fill_mode, cv2.BORDER_CONSTANT),
            borderValue=(77,) * 4,
        ).reshape(31, 44, channels)
        for source, matrix in zip(pixels, warp_matrices(params, 31, 44), strict=True)
    ]
    difference = np.abs(augment_batch(pixels, params, augmentation).astype(int) - wanted)
    # Adding a whole number to a coordinate moves its last bits, and noise is as steep as a picture can be.
    assert difference.max() <= 1
    assert np.count_nonzero(difference) < 1e-3 * difference.size


def test_every_level_is_brightened_as_pillow_does():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    factors = np.concatenate([np.linspace(0, 4, 2001), [0.5, 1.5, 255.0, 1000.0]])
    params = make_identity_params(len(factors))
    params["brightness"] = factors
    got = augment_batch(np.repeat(levels, len(factors), axis=0), params, AugmentationConfig())
    for image, factor in zip(got, factors.tolist(), strict=True):
        wanted = ImageEnhance.Brightness(Image.fromarray(levels[0, :, :, 0])).enhance(factor)
        np.testing.assert_array_equal(image[:, :, 0], np.asarray(wanted), err_msg=f"factor {factor}")
