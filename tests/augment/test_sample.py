from __future__ import annotations

from fnmatch import fnmatch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from imgtrain.augment.random_streams import Stream, make_generator
from imgtrain.augment.sample import PARAMS_DTYPE, epoch_order, make_identity_params, sample_params
from imgtrain.config.keras_differences import check_shift_ranges
from imgtrain.config.schema import AugmentationConfig

KERAS_OPTIONS = {
    "rotation_range": 20.0,
    "width_shift_range": 0.2,
    "height_shift_range": 12.0,
    "shear_range": 10.0,
    "zoom_range": 0.3,
    "brightness_range": (0.5, 1.5),
    "channel_shift_range": 30.0,
    "horizontal_flip": True,
    "vertical_flip": True,
}
EVERYTHING = {
    **KERAS_OPTIONS,
    "randaugment": {"layers": 3, "magnitude": 12},
    "color_jitter": {"brightness": 0.2, "contrast": 0.4, "saturation": 1.5, "hue": 0.1},
    "grayscale": 0.3,
    "gaussian_blur": (0.5, 2.0),
    "jpeg_quality": (30, 90),
    "erasing": 0.4,
}
COLUMNS = {
    "rotation_range": {"theta_degrees"},
    "width_shift_range": {"shift_x_pixels"},
    "height_shift_range": {"shift_y_pixels"},
    "shear_range": {"shear_degrees"},
    "zoom_range": {"zoom_x", "zoom_y"},
    "brightness_range": {"brightness"},
    "channel_shift_range": {"channel_shift"},
    "horizontal_flip": {"flip_horizontal"},
    "vertical_flip": {"flip_vertical"},
    "randaugment": {"operations", "arguments"},
    "color_jitter": {"jitter", "jitter_order"},
    "grayscale": {"grayscale"},
    "gaussian_blur": {"blur_sigma"},
    "jpeg_quality": {"jpeg_quality"},
    "erasing": {"erase_box", "erase_noise"},
}
COUNT = 4000


def draw(stream_indices=None, *, seed=7, epoch=3, height=100, width=200, **options):
    stream_indices = np.arange(COUNT) if stream_indices is None else np.asarray(stream_indices, np.intp)
    augmentation = AugmentationConfig(**options)
    return sample_params(
        augmentation, seed=seed, epoch=epoch, stream_indices=stream_indices, height=height, width=width
    )


# One draw for all tests of the distributions; the seed is fixed, so a test passes always or never.
ALL_PARAMS = draw(**EVERYTHING)


def assert_uniform(values, low, high):
    assert values.min() >= low
    assert values.max() <= high
    # Kolmogorov-Smirnov: finds a range that is off by 5 % of its length with this many values.
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def assert_probability(happened, probability):
    # Four standard deviations.
    assert abs(happened.mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / len(happened))


@pytest.mark.parametrize(
    ("column", "low", "high"),
    [
        ("theta_degrees", -20, 20),
        ("shift_x_pixels", -0.2 * 200, 0.2 * 200),
        ("shift_y_pixels", -12, 12),
        ("shear_degrees", -10, 10),
        ("zoom_x", 0.7, 1.3),
        ("zoom_y", 0.7, 1.3),
        ("brightness", 0.5, 1.5),
        ("channel_shift", -30, 30),
        ("blur_sigma", 0.5, 2.0),
    ],
)
def test_each_number_is_uniform_in_its_documented_range(column, low, high):
    assert_uniform(ALL_PARAMS[column], low, high)


@pytest.mark.parametrize(
    ("place", "low", "high"), [(0, 0.8, 1.2), (1, 0.6, 1.4), (2, 0.0, 2.5), (3, -0.1, 0.1)]
)
def test_jitter_is_uniform_about_what_changes_nothing(place, low, high):
    assert_uniform(ALL_PARAMS["jitter"][:, place], low, high)


def test_the_four_parts_of_the_jitter_come_in_every_order():
    counts = np.bincount(ALL_PARAMS["jitter_order"], minlength=24)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_every_jpeg_quality_of_the_range_comes_equally_often():
    qualities, counts = np.unique(ALL_PARAMS["jpeg_quality"], return_counts=True)
    assert qualities.tolist() == list(range(30, 91))
    assert stats.chisquare(counts).pvalue > 1e-3
    assert (draw(jpeg_quality=(100, 100))["jpeg_quality"] == 100).all()


@pytest.mark.parametrize("column", ["flip_horizontal", "flip_vertical"])
def test_half_of_the_draws_are_mirrored(column):
    assert_probability(ALL_PARAMS[column], 0.5)


def test_what_happens_at_times_happens_with_its_probability():
    assert_probability(ALL_PARAMS["grayscale"], 0.3)
    assert_probability(ALL_PARAMS["erase_box"].any(axis=1), 0.4)


def test_probabilities_of_0_and_1_are_kept():
    never, always = draw(color_jitter={}), draw(grayscale=1, erasing=1)
    assert not never["grayscale"].any()
    assert not never["erase_box"].any()
    assert always["grayscale"].all()
    assert always["erase_box"].any(axis=1).all()


def test_no_two_numbers_of_a_slot_depend_on_each_other():
    # The corners of a rectangle, and an operation and its argument, belong together.
    names = set(PARAMS_DTYPE.names) - {"arguments", "erase_box", "erase_noise"}
    columns = [column for name in names for column in ALL_PARAMS[name].reshape(COUNT, -1).T.astype(float)]
    numbers = np.stack([column for column in columns if np.ptp(column)])
    correlations = np.corrcoef(numbers) - np.eye(len(numbers))
    assert np.abs(correlations).max() < 5 / np.sqrt(COUNT)


def test_a_shift_below_one_is_a_fraction_of_its_own_side_and_from_one_on_it_is_pixels():
    params = draw(width_shift_range=0.5, height_shift_range=0.5)
    assert_uniform(params["shift_x_pixels"], -100, 100)
    assert_uniform(params["shift_y_pixels"], -50, 50)
    assert_uniform(draw(width_shift_range=1.0)["shift_x_pixels"], -1, 1)
    assert_uniform(draw(width_shift_range=3)["shift_x_pixels"], -3, 3)


def test_a_list_of_shifts_gives_each_value_with_either_sign_equally_often():
    params = draw(width_shift_range=(2.0, 5.0, 0.1))
    values, counts = np.unique(params["shift_x_pixels"], return_counts=True)
    np.testing.assert_allclose(values, [-20, -5, -2, 2, 5, 20])
    assert stats.chisquare(counts).pvalue > 1e-3


def test_zoom_may_be_given_as_low_and_high():
    params = draw(zoom_range=(0.5, 0.8))
    assert_uniform(params["zoom_x"], 0.5, 0.8)
    assert_uniform(params["zoom_y"], 0.5, 0.8)


def test_nothing_asked_for_changes_nothing():
    assert (draw() == make_identity_params(COUNT)).all()
    assert (draw(fill_mode="wrap", interpolation_order=3) == make_identity_params(COUNT)).all()


@pytest.mark.parametrize("option", COLUMNS)
def test_an_option_sets_its_own_numbers_and_leaves_all_others_as_they_were(option):
    alone = draw(**{option: EVERYTHING[option]})
    without = draw(**{name: value for name, value in EVERYTHING.items() if name != option})
    neutral = make_identity_params(COUNT)
    for name in PARAMS_DTYPE.names:
        own = name in COLUMNS[option]
        assert (alone[name] == (ALL_PARAMS if own else neutral)[name]).all(), name
        assert (without[name] == (neutral if own else ALL_PARAMS)[name]).all(), name


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 10**6),
    stream_indices=st.lists(st.integers(0, 300) | st.integers(0, 10**9), max_size=20),
)
def test_params_depend_on_their_own_stream_index_only(seed, epoch, stream_indices):
    together = draw(stream_indices, seed=seed, epoch=epoch, **EVERYTHING)
    for params, stream_index in zip(together, stream_indices, strict=True):
        assert (draw([stream_index], seed=seed, epoch=epoch, **EVERYTHING) == params).all()


def test_stream_indices_epochs_and_seeds_have_numbers_of_their_own():
    thetas = np.concatenate(
        [
            draw(np.arange(500), seed=seed, epoch=epoch, rotation_range=90.0)["theta_degrees"]
            for seed in (0, 1, 2**32 - 1)
            for epoch in (0, 1, 2)
        ]
    )
    assert len(np.unique(thetas)) == len(thetas)


def test_the_numbers_are_the_same_on_every_machine_and_in_every_release():
    params = draw([5], seed=1, epoch=2, **EVERYTHING)[0]
    assert params["theta_degrees"] == pytest.approx(0.8280911269993538, abs=1e-12)
    assert params["brightness"] == pytest.approx(0.9623676322214065, abs=1e-12)
    assert epoch_order(seed=1, epoch=2, count=8).tolist() == [7, 0, 5, 4, 6, 2, 3, 1]


@pytest.mark.parametrize("options", [KERAS_OPTIONS, EVERYTHING])
def test_the_options_of_version_0_1_still_draw_its_numbers(options):
    """Recorded with version 0.1.0, which had no others."""
    params = draw([0, 1, 5, 1000], height=24, width=31, **options)
    recorded = [
        (-11.66130417125958, 0.47612589675828154, 0.14905148139743218, -0.3747968230234484, 0.7218304511447945,
         1.0650145421384396, True, True, -28.602042411766607, 0.5426624867549489),
        (-18.170155355308026, -0.8484441042173225, -10.62629774026131, 7.371238499218819, 0.9478160717165722,
         1.1520555113414166, False, True, -1.5900001913135817, 1.0967234024396957),
        (17.36004596129864, -2.652158431009506, -3.7077676657049725, 2.040788051059426, 0.724403201455163,
         1.2830862873430777, True, True, -8.820217853212476, 0.732286686915834),
        (-8.910222262246092, 0.42838497944102816, -9.255132748004684, -8.94713483562813, 0.7261137179919956,
         1.1366327475332627, False, False, 1.0745413792246374, 1.208802949296374),
    ]  # fmt: skip
    for row, numbers in zip(params, recorded, strict=True):
        assert row.tolist()[: len(numbers)] == pytest.approx(numbers, abs=1e-12)


def test_each_epoch_has_an_order_of_its_own():
    orders = [epoch_order(seed=seed, epoch=epoch, count=50) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert sorted(order) == list(range(50))
    assert len({tuple(order) for order in orders}) == 4


def test_streams_of_one_epoch_do_not_meet():
    drawn = [make_generator(stream, seed=0, epoch=0).random(1000) for stream in Stream]
    assert len(np.unique(np.concatenate(drawn))) == 1000 * len(Stream)


@pytest.mark.parametrize("given_range", [0, 0.0, 0.3, 1.0, 5.0, (0.1, 0.2), (1.0, 4.0), (0.0, 3.0)])
def test_no_warning_where_keras_means_the_same(given_range):
    assert check_shift_ranges(AugmentationConfig(width_shift_range=given_range)) == []


@pytest.mark.parametrize(
    ("given_range", "expected"),
    [
        (1, "would shift nothing for an integer"),
        (5, "would shift by 0 to 4 pixels for an integer"),
        ((0.1, 3.0), "so 0.1 is a fraction of the height; ImageDataGenerator * would interpret it as pixels"),
        (
            (-5.0, -3.0),
            "so -5, -3 is pixels; ImageDataGenerator * would interpret it as a fraction of the height",
        ),
    ],
)
def test_a_warning_says_what_keras_would_have_done(given_range, expected):
    (warning,) = check_shift_ranges(AugmentationConfig(height_shift_range=given_range))
    assert warning.startswith("augmentation.height_shift_range: ")
    assert fnmatch(warning, f"*{expected}*")
