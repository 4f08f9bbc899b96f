"""Common setup of the benchmarks: photos resized once, three networks, all augmentations of ImageDataGenerator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

__all__ = ["AUGMENTATION", "EVERYTHING", "NETWORKS", "SIDE", "configuration", "count_images", "lay_out"]

SIDE = 150
AUGMENTATION: Mapping[str, Any] = {
    "rotation_range": 20,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "shear_range": 10,
    "zoom_range": 0.2,
    "horizontal_flip": True,
    "vertical_flip": True,
    "brightness_range": [0.8, 1.2],
    "fill_mode": "nearest",
}
"""All that ImageDataGenerator has."""

EVERYTHING: Mapping[str, Any] = {
    **AUGMENTATION,
    "randaugment": {"layers": 2, "magnitude": 9},
    "color_jitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05},
    "grayscale": 0.1,
    "gaussian_blur": [0.1, 2.0],
    "jpeg_quality": [40, 95],
    "erasing": 0.25,
    "mixup": 0.4,
    "cutmix": 1.0,
}
"""All that imgtrain has."""


def _conv(filters: int, **options: Any) -> dict[str, Any]:
    return {"Conv2D": {"filters": filters, "kernel_size": 3, "activation": "relu", **options}}


def _normalized(filters: int, convolutions: int) -> list[Any]:
    """Return a block of the network that `imgtrain init` writes."""
    conv = _conv(filters, padding="same", use_bias=False)
    del conv["Conv2D"]["activation"]
    normalize = [{"BatchNormalization": {"momentum": 0.9}}, "ReLU"]
    return [conv, {"MaxPooling2D": 2}, *normalize, *(convolutions - 1) * [conv, *normalize]]


_DENSE = {"Dense": {"units": 512, "activation": "relu"}}
NETWORKS: Mapping[str, list[Any]] = {
    "two": [
        *(_conv(16, padding="same"), {"MaxPooling2D": 2}, {"Dropout": 0.2}),
        *(_conv(32, padding="same"), {"MaxPooling2D": 2}, {"Dropout": 0.2}),
        *("Flatten", _DENSE, {"Dropout": 0.5}),
    ],
    "three": [
        *(_conv(16), {"MaxPooling2D": 2}, _conv(32), {"MaxPooling2D": 2}, _conv(64), {"MaxPooling2D": 2}),
        *("Flatten", _DENSE),
    ],
    "init": [
        *(_normalized(16, 1) + _normalized(32, 1) + _normalized(64, 2)),
        *(_normalized(128, 2) + _normalized(256, 1)),
        *("GlobalAveragePooling2D", {"Dropout": 0.2}),
    ],
}
"""The layers of three networks in configuration syntax: 22.4, 9.5 and 0.6 million weights."""


def lay_out(source: Path, target: Path) -> None:
    """Write `train` and `validation` folders of 150×150 JPEG files; every fifth image of a class is for validation."""
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        for number, file in enumerate(sorted(folder.iterdir())):
            place = target / ("train" if number % 5 else "validation") / folder.name / f"{file.stem}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(file) as image:
                upright = ImageOps.exif_transpose(image).convert("RGB")
                upright.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(place, quality=92)


def count_images(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.jpg"))


def configuration(
    folder: Path, network: str, *, augmentation: Mapping[str, Any] = AUGMENTATION, **training: Any
) -> dict[str, Any]:
    """Return the configuration of a run on the folders written by `lay_out`."""
    return {
        "data": {
            "train": str(folder / "train"),
            "validation": str(folder / "validation"),
            "target_size": [SIDE, SIDE],
            "on_leak": "warn",
        },
        "augmentation": dict(augmentation),
        "model": {"layers": NETWORKS[network]},
        "training": {"early_stopping": None, "reduce_lr_on_plateau": None, **training},
        "output": {"directory": str(folder / "run")},
    }
