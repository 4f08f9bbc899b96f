"""Validation images drawn from the training images: no picture and no group is on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imgtrain.dataset.groups import join_groups
from imgtrain.dataset.holdout import draw_validation, stratified_group_split, stratified_split
from imgtrain.dataset.index import make_image_folder
from imgtrain.dataset.split import Holdout, Split, Splits
from imgtrain.dataset.walk import FoundFile
from imgtrain.errors import DataError

shares = st.floats(0.05, 0.95)
seeds = st.integers(0, 2**32 - 1)
# (label, picture, group) of each image: few pictures, so that many are there several times and under two labels.
image_lists = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 25), st.integers(0, 12)), min_size=1, max_size=80
)


def make_splits(
    labels: Sequence[int], groups: Sequence[int] | None, *, share: float = 0.25, seed: int = 0
) -> Splits:
    images = [(label, FoundFile(f"{i:04d}", 0, 0)) for i, label in enumerate(sorted(labels))]
    folder = make_image_folder(Path("/train"), [*"abcd"][: max(labels) + 1], images, {})
    train = Split("train", folder, np.arange(len(labels)))
    given_groups = None if groups is None else np.array(groups)
    return Splits(train, None, None, Holdout(share, seed, given_groups, "data.validation_split"))


def draw(splits: Splits, pictures: NDArray[np.intp]) -> tuple[set[int], set[int]] | None:
    """Return the image indices of training and validation; None if nothing can be held out."""
    try:
        drawn = draw_validation(splits, pictures)
    except DataError:
        return None
    assert drawn.validation is not None
    return set(drawn.train.indices.tolist()), set(drawn.validation.indices.tolist())


@settings(max_examples=300, deadline=None)
@given(image_lists, st.booleans(), shares, seeds)
def test_no_picture_and_no_group_is_on_both_sides(
    images: list[tuple[int, int, int]], grouped: bool, share: float, seed: int
) -> None:
    labels, pictures, groups = map(np.array, zip(*sorted(images), strict=True))
    splits = make_splits(labels.tolist(), groups.tolist() if grouped else None, share=share, seed=seed)
    sides = draw(splits, pictures)
    if sides is None:
        return
    train, validation = map(sorted, sides)
    assert sorted(train + validation) == list(range(len(images))), "every image is on one side"
    assert validation
    assert not set(pictures[train]) & set(pictures[validation])
    if grouped:
        assert not set(groups[train]) & set(groups[validation])
    assert set(labels[train]) == set(labels), "a class lost its last training image"
    assert draw(splits, pictures) == sides, "the same arguments give the same"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=25), min_size=2, max_size=4), shares, seeds)
def test_every_class_gives_its_share_as_near_as_its_pictures_allow(
    copies: list[list[int]], share: float, seed: int
) -> None:
    """`copies` says, for each class, how many images show each of its pictures."""
    labels = np.repeat(np.arange(len(copies)), [sum(of_class) for of_class in copies])
    sizes = [size for of_class in copies for size in of_class]
    pictures = np.repeat(np.arange(len(sizes)), sizes)
    drawn = draw_validation(make_splits(labels.tolist(), None, share=share, seed=seed), pictures)
    assert drawn.validation is not None
    for of_class, held in zip(copies, drawn.validation.counts().tolist(), strict=False):
        assert 0 < held < sum(of_class)
        assert abs(held - share * sum(of_class)) <= max(of_class)
    assert drawn.warnings == ()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=80), shares, seeds)
def test_without_copies_the_draw_depends_on_names_alone(
    images: list[tuple[int, int]], share: float, seed: int
) -> None:
    labels, groups = map(np.array, zip(*sorted(images), strict=True))
    for given_groups in (None, groups):
        splits = make_splits(
            labels.tolist(),
            None if given_groups is None else given_groups.tolist(),
            share=share,
            seed=seed,
        )
        held = (
            stratified_split(labels, np.arange(len(labels)), share, seed)
            if given_groups is None
            else stratified_group_split(labels, given_groups, share, seed)
        )
        sides = draw(splits, np.random.default_rng(0).permutation(len(labels)))
        if held.any():
            assert sides is not None
            assert sides[1] == set(np.flatnonzero(held).tolist())
        else:
            assert sides is None


SCATTERED = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4)


@pytest.mark.parametrize(
    ("groups", "seed", "held"),
    [
        (None, 0, {5, 6, 10, 12, 15, 23}),
        (None, 1, {1, 3, 5, 12, 17, 19}),
        (SCATTERED, 0, {1, 3, 6, 13, 16, 21}),
        (SCATTERED, 1, {4, 6, 8, 10, 13, 16, 21}),
    ],
)
def test_the_draw_is_that_of_version_0_1(groups: tuple[int, ...] | None, seed: int, held: set[int]) -> None:
    labels = [0] * 12 + [1] * 7 + [2] * 5
    sides = draw(make_splits(labels, groups, seed=seed), np.arange(24))
    assert sides is not None
    assert sides[1] == held


@given(st.integers(0, 10), seeds)
def test_few_copies_change_the_side_of_few_images(pairs: int, seed: int) -> None:
    splits = make_splits([0] * 100 + [1] * 50, None, share=0.2, seed=seed)
    pictures = np.arange(150)
    pictures[1 : 2 * pairs : 2] = pictures[0 : 2 * pairs : 2]
    before, after = draw(splits, np.arange(150)), draw(splits, pictures)
    assert before is not None
    assert after is not None
    assert len(before[1] ^ after[1]) <= 2 * pairs
    assert len(after[1]) in (29, 30, 31)


def test_a_picture_under_two_labels_is_not_held_out() -> None:
    splits = make_splits([0, 0, 0, 0, 1, 1, 1, 1], None, share=0.5)
    for seed in range(10):
        splits = make_splits([0, 0, 0, 0, 1, 1, 1, 1], None, share=0.5, seed=seed)
        sides = draw(splits, np.array([0, 1, 2, 3, 3, 5, 6, 7]))
        assert sides is not None
        assert {3, 4} <= sides[0]
        assert len(sides[1]) == 4


def test_pictures_join_groups() -> None:
    # Images 1 and 2 are equal, so that patients 0 and 1 are divided together.
    splits = make_splits([0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 2, 3], share=0.5)
    sides = draw(splits, np.array([0, 1, 1, 3, 4, 5]))
    assert sides is not None
    assert {0, 1, 2, 3} <= sides[0], "the last pictures of a class are not held out"


def test_a_class_of_one_picture_keeps_all_its_copies_and_says_so() -> None:
    splits = make_splits([0, 0, 0, 1, 1], None, share=0.5)
    drawn = draw_validation(splits, np.array([0, 0, 0, 3, 4]))
    assert drawn.validation is not None
    assert drawn.validation.counts().tolist() == [0, 1]

    assert drawn.warnings == ("no validation images of class a: too few distinct images to hold one out",)


def test_classes_of_one_picture_each_are_an_error() -> None:
    splits = make_splits([0, 0, 1, 1], None)
    with pytest.raises(
        DataError, match="cannot hold out validation images: every class has only one distinct image"
    ):
        draw_validation(splits, np.array([0, 0, 2, 2]))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40))
def test_joined_groups_are_the_smallest_that_nothing_divides(pairs: list[tuple[int, int]]) -> None:
    first, second = map(np.array, zip(*pairs, strict=True))
    joined = join_groups(first, second)
    # Growing each image's group until nothing changes.
    names = {i: {i} for i in range(len(pairs))}
    for i, a in enumerate(pairs):
        for j, b in enumerate(pairs):
            if a[0] == b[0] or a[1] == b[1]:
                union = names[i] | names[j]
                for member in union:
                    names[member] = union
    for i in range(len(pairs)):
        assert set(np.flatnonzero(joined == joined[i]).tolist()) == names[i]
        assert joined[i] == min(first[list(names[i])])
