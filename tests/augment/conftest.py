from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def make_picture() -> Callable[..., NDArray[np.uint8]]:
    return _make_picture


def _make_picture(height: int, width: int, channels: int = 3, *, seed: int = 0) -> NDArray[np.uint8]:
    """Draw something like a photograph: smooth hills of color, two hard edges, a little noise.

    No place is saturated, and every channel differs, so that a wrong place or a wrong channel shows.
    """
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    picture = np.empty((height, width, channels))
    for channel in range(channels):
        hills = sum(
            np.sin(rows * generator.uniform(0.02, 0.2) + columns * generator.uniform(0.02, 0.2) + phase)
            for phase in generator.uniform(0, 6, 3)
        )
        picture[..., channel] = 120 + 22 * hills
    picture[height // 4 : height // 2, width // 3 : width // 2] += 40
    picture[rows * width > columns * height * 1.7 + 300] -= 35
    picture += generator.normal(0, 1, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
