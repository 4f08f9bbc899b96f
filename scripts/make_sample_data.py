"""Generate `sample_data/`: circles, squares and triangles on noisy backgrounds, in train, validation and test folders.

    python scripts/make_sample_data.py sample_data

The output is deterministic. Like real folders, it includes photos with an EXIF orientation, grayscale images and PNGs
with an alpha channel.
"""

from __future__ import annotations

import argparse
import math
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SEED = 20
SIDE = 64
COUNTS = {"train": 120, "validation": 20, "test": 40}
SHAPES = ("circle", "square", "triangle")
# Drawn larger and downscaled for smooth edges.
OVERSAMPLING = 4
EXIF_ORIENTATION = 0x0112
ROTATED_90_CLOCKWISE = 6


def outline(
    shape: str, center: tuple[float, float], radius: float, angle: float
) -> list[tuple[float, float]]:
    """Return the corners of a shape rotated by `angle` radians; equal `radius` means equal area for all shapes."""
    corners = {"circle": 60, "square": 4, "triangle": 3}[shape]
    # The area of a regular polygon is n/2·r²·sin(2π/n); set to π·radius², so that the area doesn't reveal the class.
    reach = radius * math.sqrt(math.pi / (corners / 2 * math.sin(2 * math.pi / corners)))
    return [
        (
            center[0] + reach * math.cos(angle + 2 * math.pi * corner / corners),
            center[1] + reach * math.sin(angle + 2 * math.pi * corner / corners),
        )
        for corner in range(corners)
    ]


def draw(shape: str, rng: np.random.Generator) -> Image.Image:
    """Return one RGB image of `SIDE`×`SIDE` pixels."""
    side = SIDE * OVERSAMPLING
    # Bright on dark, so that the shape is visible in grayscale.
    background, color = rng.integers(0, 100, 3), rng.integers(150, 256, 3)
    image = Image.new("RGB", (side, side), tuple(map(int, background)))
    radius = rng.uniform(0.18, 0.30) * side
    center = tuple(rng.uniform(0.38, 0.62, 2) * side)
    ImageDraw.Draw(image).polygon(
        outline(shape, center, radius, rng.uniform(0, 2 * math.pi)), fill=tuple(map(int, color))
    )
    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    noise = rng.normal(0, 9, (SIDE, SIDE, 3))
    pixels = np.clip(np.asarray(image, dtype=float) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.6))


def save(image: Image.Image, number: int, stem: Path) -> None:
    """Save the image, every few images in a form that careless loaders get wrong."""
    if number % 15 == 3:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = ROTATED_90_CLOCKWISE
        image.transpose(Image.Transpose.ROTATE_90).save(stem.with_suffix(".JPG"), quality=85, exif=exif)
    elif number % 15 == 7:
        image.convert("L").save(stem.with_suffix(".jpg"), quality=85)
    elif number % 30 == 11:
        with_alpha = image.convert("RGBA")
        with_alpha.putalpha(255)
        with_alpha.quantize(64).convert("RGBA").save(stem.with_suffix(".png"), optimize=True)
    else:
        image.save(stem.with_suffix(".jpg"), quality=85)


def make_sample_data(folder: Path) -> None:
    """Write all images to `folder`, replacing its split folders."""
    for split_number, (split, count) in enumerate(COUNTS.items()):
        shutil.rmtree(folder / split, ignore_errors=True)
        for label, shape in enumerate(SHAPES):
            (folder / split / shape).mkdir(parents=True)
            rng = np.random.default_rng([SEED, split_number, label])
            for number in range(count):
                save(draw(shape, rng), number, folder / split / shape / f"{shape}-{number:03d}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    make_sample_data(parser.parse_args().folder)
