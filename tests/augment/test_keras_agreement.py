"""The warp against Keras's own `ImageDataGenerator`, option by option, with the same numbers.

Two of Keras's bugs are not reproduced, and the comparison goes around them:

- `width_shift_range` moves vertically in Keras. `apply_transform` itself is right: its `tx` is horizontal, so
  that our horizontal shift is given to it as `tx`.
- Pictures that are not square turn about a wrong point. Square ones are compared with Keras directly, the
  others with a reference written here from Keras's documentation, on SciPy as in Keras, about the true center.
  The reference is itself compared with Keras on square pictures.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import ndimage

from imgtrain.augment.apply import augment_batch
from imgtrain.augment.sample import make_identity_params, sample_params
from imgtrain.config.schema import AugmentationConfig

pytestmark = pytest.mark.tensorflow

SQUARE = (64, 64)
SHAPES = [SQUARE, (48, 80), (81, 50)]

# Levels by which float32 arithmetic, on places and on pixels, may be off at a steep edge.
FLOAT32 = 0.02
ROUNDING = 0.5 + FLOAT32

MOVES = {
    "rotation": {"theta_degrees": 23.0},
    "rotation backwards": {"theta_degrees": -71.0},
    "width shift": {"shift_x_pixels": 7.3},
    "height shift": {"shift_y_pixels": -5.6},
    "shear": {"shear_degrees": 17.0},
    "zoom in": {"zoom_x": 0.823, "zoom_y": 0.714},
    "zoom out": {"zoom_x": 1.287, "zoom_y": 1.113},
    "horizontal flip": {"flip_horizontal": True},
    "vertical flip": {"flip_vertical": True},
    "all moves": {
        "theta_degrees": -15.0,
        "shift_x_pixels": 4.4,
        "shift_y_pixels": 6.1,
        "shear_degrees": -12.0,
        "zoom_x": 1.2,
        "zoom_y": 0.9,
        "flip_horizontal": True,
        "flip_vertical": True,
    },
}
COLORS = {
    "brighter": {"brightness": 1.4},
    "darker": {"brightness": 0.55},
    "channel shift": {"channel_shift": 21.7},
    "channel shift down": {"channel_shift": -33.2},
    "both": {"channel_shift": 21.7, "brightness": 1.1},
}


def make_params(numbers):
    params = make_identity_params(1)
    for name, value in numbers.items():
        params[name] = value
    return params


def ours(picture, params, **options):
    return augment_batch(picture[None], params, AugmentationConfig(**options))[0].astype(np.float64)


def keras_parameters(params):
    return {
        "theta": params["theta_degrees"],
        "tx": params["shift_x_pixels"],
        "ty": params["shift_y_pixels"],
        "shear": params["shear_degrees"],
        "zx": params["zoom_x"],
        "zy": params["zoom_y"],
        "flip_horizontal": bool(params["flip_horizontal"]),
        "flip_vertical": bool(params["flip_vertical"]),
        "channel_shift_intensity": float(params["channel_shift"]) or None,
        "brightness": None if params["brightness"] == 1 else float(params["brightness"]),
    }


def apply_keras(picture, parameters, **options):
    """Return what `ImageDataGenerator` makes of the picture, before rescaling; float, and not rounded."""
    from imgtrain.model.runtime import tf

    generator = tf.keras.preprocessing.image.ImageDataGenerator(**options)
    with warnings.catch_warnings():
        # Keras calls SciPy's and Pillow's functions in ways that are on their way out.
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.asarray(generator.apply_transform(picture.astype(np.float32), parameters), np.float64)


def keras(picture, params, **options):
    assert picture.shape[0] == picture.shape[1], "Keras turns others about a wrong point"
    return apply_keras(picture, keras_parameters(params[0]), **options)


def fetched_from(params, height, width):
    """Return (x, y), each (height, width): where Keras documents that the pixels come from.

    The center is corrected. These are steps on points, which share no formula with the code under test.
    """
    (one,) = params
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    x, y = x - center_x, y - center_y
    x, y = -x if one["flip_horizontal"] else x, -y if one["flip_vertical"] else y
    x, y = x * one["zoom_x"], y * one["zoom_y"]
    shear = np.deg2rad(one["shear_degrees"])
    x, y = x - np.sin(shear) * y, np.cos(shear) * y
    x, y = x + one["shift_x_pixels"], y + one["shift_y_pixels"]
    theta = np.deg2rad(one["theta_degrees"])
    x, y = np.cos(theta) * x - np.sin(theta) * y, np.sin(theta) * x + np.cos(theta) * y
    return x + center_x, y + center_y


def outside_pixels(params, height, width):
    """Return how far outside the middles of the outermost pixels each place is fetched; negative inside."""
    x, y = fetched_from(params, height, width)
    return np.max([-x, x - (width - 1), -y, y - (height - 1)], axis=0)


def reference(picture, params, *, fill_mode="nearest", cval=0.0, interpolation_order=1):
    """Move the picture as documented, by SciPy as in Keras; colors are left alone."""
    x, y = fetched_from(params, *picture.shape[:2])
    return np.stack(
        [
            ndimage.map_coordinates(channel, [y, x], order=interpolation_order, mode=fill_mode, cval=cval)
            for channel in np.moveaxis(picture.astype(np.float64), -1, 0)
        ],
        axis=-1,
    )


@pytest.mark.parametrize("fill_mode", ["nearest", "reflect"])
@pytest.mark.parametrize("numbers", MOVES.values(), ids=MOVES)
class TestMoves:
    """Order 1, `nearest` and `reflect`: both sides interpolate exactly, so only our rounding is between."""

    @pytest.mark.parametrize("channels", [1, 3])
    def test_square_as_keras(self, make_picture, numbers, fill_mode, channels):
        picture, params = make_picture(*SQUARE, channels), make_params(numbers)
        expected = keras(picture, params, fill_mode=fill_mode)
        np.testing.assert_allclose(
            ours(picture, params, fill_mode=fill_mode), expected, rtol=0, atol=ROUNDING
        )
        # Keras computes in float32, the reference in float64.
        np.testing.assert_allclose(
            reference(picture, params, fill_mode=fill_mode), expected, rtol=0, atol=FLOAT32
        )

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("channels", [1, 3])
    def test_any_shape_as_documented(self, make_picture, numbers, fill_mode, shape, channels):
        picture, params = make_picture(*shape, channels), make_params(numbers)
        expected = reference(picture, params, fill_mode=fill_mode)
        np.testing.assert_allclose(
            ours(picture, params, fill_mode=fill_mode), expected, rtol=0, atol=ROUNDING
        )


@pytest.mark.parametrize("numbers", MOVES.values(), ids=MOVES)
@pytest.mark.parametrize(
    "options", [{"fill_mode": "constant", "cval": 200.0}, {"fill_mode": "wrap"}], ids=["constant", "wrap"]
)
class TestOutside:
    """`constant` and `wrap`: SciPy has its own conventions for places between the last pixel and the next.

    We blend the outermost pixel with what lies beyond it, as SciPy does in its modes `grid-constant` and
    `grid-wrap`. In Keras's `constant` a place beyond the middle of the last pixel is all `cval`, and the period of
    its `wrap` is a pixel shorter than the picture, other than documented (`abcd|abcd|abcd`).
    """

    @pytest.mark.parametrize("shape", SHAPES)
    def test_any_shape_as_the_grid_modes_of_scipy(self, make_picture, numbers, options, shape):
        picture, params = make_picture(*shape), make_params(numbers)
        in_scipy = options | {"fill_mode": f"grid-{options['fill_mode']}"}
        np.testing.assert_allclose(
            ours(picture, params, **options), reference(picture, params, **in_scipy), rtol=0, atol=ROUNDING
        )

    def test_square_as_keras_but_for_the_rim_and_the_period(self, make_picture, numbers, options):
        picture, params = make_picture(*SQUARE), make_params(numbers)
        changed, expected = ours(picture, params, **options), keras(picture, params, **options)
        outside = outside_pixels(params, *SQUARE)
        inside = outside < -1e-6
        assert inside.mean() > 0.5
        assert np.abs(changed - expected)[inside].max() <= ROUNDING
        if options["fill_mode"] == "constant":
            assert (changed[outside >= 1] == 200).all()
            assert (expected[outside >= 1] == 200).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("numbers", MOVES.values(), ids=MOVES)
def test_order_0_takes_the_same_pixels(make_picture, numbers, shape):
    """Only a place half-way between two pixels may be fetched from either."""
    picture, params = make_picture(*shape), make_params(numbers)
    changed = ours(picture, params, interpolation_order=0)
    expected = (
        keras(picture, params, interpolation_order=0)
        if shape == SQUARE
        else reference(picture, params, interpolation_order=0)
    )
    x, y = fetched_from(params, *shape)
    halfway = (np.abs(x % 1 - 0.5) < 1e-3) | (np.abs(y % 1 - 0.5) < 1e-3)
    assert halfway.mean() < 0.05
    assert (changed == expected)[~halfway].all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("numbers", MOVES.values(), ids=MOVES)
def test_order_3_is_another_cubic(make_picture, numbers, shape):
    """OpenCV's cubic looks at 4 x 4 pixels, SciPy's spline at all.

    They overshoot differently beside an edge: by some hundredths of its height (40 levels here, so by up to 3,
    and the rounding). Elsewhere they differ by little more than the mean of the rounding, a quarter level.
    """
    picture, params = make_picture(*shape), make_params(numbers)
    changed = ours(picture, params, interpolation_order=3)
    expected = (
        keras(picture, params, interpolation_order=3)
        if shape == SQUARE
        else reference(picture, params, interpolation_order=3)
    )
    difference = np.abs(changed - expected)
    assert difference.mean() < 0.5
    assert difference.max() < 3.5


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("numbers", COLORS.values(), ids=COLORS)
class TestColors:
    def test_alone_as_keras(self, make_picture, numbers, channels):
        """Whole levels in: equal, but for the rounding of a channel shift that no brightness truncates."""
        picture, params = make_picture(*SQUARE, channels), make_params(numbers)
        tolerance = 0 if "brightness" in numbers else 0.5 + FLOAT32
        np.testing.assert_allclose(ours(picture, params), keras(picture, params), rtol=0, atol=tolerance)

    @pytest.mark.parametrize("fill_mode", ["nearest", "reflect"])
    def test_after_all_moves_as_keras(self, make_picture, numbers, channels, fill_mode):
        """We round after the move and Keras goes on with fractions.

        Channel shift: half a level after the move and half a level after the shift. Brightness: Keras drops
        the fraction where we round it, one level, which the factor enlarges before it is rounded down.
        """
        picture, params = make_picture(*SQUARE, channels), make_params(MOVES["all moves"] | numbers)
        tolerance = np.ceil(numbers["brightness"]) if "brightness" in numbers else 1 + FLOAT32
        changed, expected = (
            ours(picture, params, fill_mode=fill_mode),
            keras(picture, params, fill_mode=fill_mode),
        )
        np.testing.assert_allclose(changed, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("stream_index", range(12))
def test_sampled_params_with_every_option_as_keras(make_picture, stream_index):
    ranges = AugmentationConfig(
        rotation_range=40,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=20,
        zoom_range=0.3,
        channel_shift_range=40,
        brightness_range=(0.6, 1.4),
        horizontal_flip=True,
        vertical_flip=True,
    )
    height, width = SQUARE
    params = sample_params(
        ranges, seed=3, epoch=1, stream_indices=np.array([stream_index]), height=height, width=width
    )
    picture = make_picture(*SQUARE, seed=stream_index)
    changed, expected = ours(picture, params), keras(picture, params)
    np.testing.assert_allclose(changed, expected, rtol=0, atol=np.ceil(params["brightness"][0]))


@pytest.mark.parametrize(
    "numbers", [{"shift_x_pixels": 7.0}, {"theta_degrees": 30.0}], ids=["shift", "rotation"]
)
def test_the_comparison_would_notice_the_two_bugs(make_picture, numbers):
    """Keras's own reading of a width shift, and of a center, is far outside the tolerance."""
    picture, params = make_picture(48, 80), make_params(numbers)
    parameters = keras_parameters(params[0])
    parameters["tx"], parameters["ty"] = parameters["ty"], parameters["tx"]
    assert np.abs(ours(picture, params) - apply_keras(picture, parameters)).mean() > 5
