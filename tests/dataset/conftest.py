"""Small images and folders for the dataset room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def make_files(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes files of one byte below a folder and returns the folder."""

    def make(*paths: str, root: str = "data") -> Path:
        folder = tmp_path / root
        folder.mkdir(exist_ok=True)
        for path in paths:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if not path.endswith("/"):
                file.write_bytes(b"x")
            else:
                file.mkdir(exist_ok=True)
        return folder

    return make


@pytest.fixture
def photo() -> Image.Image:
    """A 40 by 28 picture with soft and hard edges in all three channels."""
    rng = np.random.default_rng(7)
    ramp = np.linspace(0, 255, 40)[None, :, None] * np.array([1.0, 0.6, 0.2])
    noise = rng.integers(0, 80, (28, 40, 3))
    return Image.fromarray(np.clip(ramp + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def image_folders(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes {class: count} random PNG pictures and returns their folder."""

    def make(classes: Mapping[str, int], root: str = "images", seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        folder = tmp_path / root
        for name, count in classes.items():
            (folder / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (9, 7, 3), np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
        return folder

    return make
