"""The recipe that `init` writes: what must hold for any folder, and what more time buys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtrain.dataset.recipe import choose_recipe


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)


SIDES = st.integers(8, 6000)


@given(
    images=st.integers(1, 10_000_000),
    size=st.tuples(SIDES, SIDES),
    gray=st.booleans(),
    minutes=st.floats(0.01, 10_000),
)
def test_every_folder_gets_a_network_that_its_images_fit_into(images, size, gray, minutes):
    recipe = choose_recipe(images, size, gray=gray, minutes=minutes)
    assert all(32 <= side <= 240 for side in recipe.target_size)
    assert all(side <= max(given, 32) + 16 for side, given in zip(recipe.target_size, size, strict=True))
    assert recipe.blocks
    assert min(recipe.target_size) >> len(recipe.blocks) >= 2
    filters = [width for width, _ in recipe.blocks]
    assert filters == sorted(filters)
    assert filters[-1] == 256
    assert not (gray and recipe.cutmix)


def test_more_time_buys_pixels_and_passes():
    sides = [
        choose_recipe(2000, (300, 300), gray=False, minutes=minutes).target_size[0]
        for minutes in (0.5, 1, 3, 10)
    ]
    assert sides == sorted(sides)
    assert sides[0] < sides[2] == 96 < sides[3]


def test_short_training_costs_no_more_per_image() -> None:
    """Fewer pixels must not lead to fewer, wider blocks, which take longer."""

    def multiplications(minutes: float) -> int:
        recipe = choose_recipe(2000, (300, 300), gray=False, minutes=minutes)
        (height, width), channels, total = recipe.target_size, 3, 0
        for filters, convolutions in recipe.blocks:
            for number in range(convolutions):
                total += height * width * 9 * channels * filters
                channels = filters
                if number == 0:
                    height, width = height // 2, width // 2
        return total

    costs = [multiplications(minutes) for minutes in (0.25, 0.5, 1, 3, 10)]
    assert costs == sorted(costs)


def test_images_are_mixed_in_long_training_on_many_photos_only():
    assert choose_recipe(2000, (150, 150), gray=False, minutes=3).cutmix
    assert not choose_recipe(2000, (150, 150), gray=False, minutes=1).cutmix
    assert not choose_recipe(100, (150, 150), gray=False, minutes=10).cutmix


def test_small_images_stay_as_they_are_and_get_fewer_blocks():
    recipe = choose_recipe(5000, (32, 32), gray=False, minutes=3)
    assert recipe.target_size == (32, 32)
    assert recipe.blocks == ((32, 1), (64, 2), (128, 2), (256, 1))
