"""Near copies among many thumbnails."""

from __future__ import annotations

import numpy as np

from imgtrain.audit.duplicates import near_duplicate_pairs


def photos(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random thumbnails, like no others."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 200, (count, 4, 4))
    return (np.repeat(np.repeat(coarse, 4, 1), 4, 2) + rng.uniform(0, 40, (count, 16, 16))).astype(np.uint8)


def test_planted_copies_are_found_among_thousands_and_nothing_else() -> None:
    originals = photos(5_000)
    rng = np.random.default_rng(1)
    noisy = np.clip(originals[:50] + rng.normal(0, 1, (50, 16, 16)), 0, 255).astype(np.uint8)
    brighter = np.clip(originals[100:150] * 1.1, 0, 255).astype(np.uint8)
    pairs = near_duplicate_pairs(np.concatenate([originals, noisy, brighter]))
    expected = [(row, 5_000 + row) for row in range(50)] + [(100 + row, 5_050 + row) for row in range(50)]
    assert {tuple(pair) for pair in pairs.tolist()} == set(expected)


def test_overexposed_places_do_not_hide_a_copy() -> None:
    original = photos(30)
    original[0] = np.where(np.arange(16)[:, None] < 8, 240, original[0])
    copy = np.clip(original[0] * 1.1, 0, 255).astype(np.uint8)
    assert near_duplicate_pairs(np.concatenate([original, copy[None]])).tolist() == [[0, 30]]


def test_pictures_without_structure_equal_nothing() -> None:
    flat = np.stack([np.full((16, 16), level, np.uint8) for level in (0, 100, 100, 255)])
    white = np.full((2, 16, 16), 255, np.uint8)
    white[:, :3, :3] = 0  # all but a corner is overexposed
    assert near_duplicate_pairs(np.concatenate([flat, white])).shape == (0, 2)
    assert near_duplicate_pairs(flat[:0]).shape == (0, 2)


def test_thousands_of_like_frames_do_not_become_millions_of_pairs() -> None:
    rng = np.random.default_rng(2)
    frames = np.clip(photos(1) + rng.normal(0, 1, (3_000, 16, 16)), 0, 255).astype(np.uint8)
    pairs = near_duplicate_pairs(frames)
    assert len(pairs) <= 3_000 * 16
    assert len(np.unique(pairs)) == 3_000, "each has a pair"
