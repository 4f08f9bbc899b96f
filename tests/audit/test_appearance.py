"""Every mistake in the options for colors, detail and mixing is named once, and sound options are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgtrain.audit.appearance import check_appearance
from imgtrain.audit.inventory import Inventory
from imgtrain.config import parse_config
from imgtrain.pixels.image_stats import IMAGE_STATS

PLAIN, COLORED = ("cat", "dog"), ("apple_green", "apple_red")
EVERYTHING = {
    "randaugment": {"layers": 2, "magnitude": 9},
    "color_jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.05},
    "grayscale": 0.2,
    "gaussian_blur": [0, 2],
    "jpeg_quality": [40, 95],
    "erasing": 0.25,
    "mixup": 0.4,
    "cutmix": 1.0,
    "mix_probability": 0.5,
}


def take(
    *,
    class_names: tuple[str, ...] = PLAIN,
    mode: bytes = b"RGB",
    color: tuple[int, int, int] = (150, 120, 90),
    subject: int = 10,
    border_spread: int = 5,
    labels: tuple[int, ...] = (0, 1) * 10,
) -> Inventory:
    """Return an inventory of equal pictures: a dark square of `subject` of 16 cells on a bright background."""
    count = len(labels)
    stats = np.zeros(count, IMAGE_STATS)
    stats["mode"], stats["color"] = mode, color
    stats["border"], stats["border_spread"] = 200, border_spread
    stats["thumbnail"] = 200
    stats["thumbnail"][:, 3 : 3 + subject, 2 : 2 + subject] = 80
    return Inventory(
        root=Path(),
        paths=tuple(f"{number}.png" for number in range(count)),
        group_paths=tuple(f"{number}.png" for number in range(count)),
        split_names=("train",),
        class_names=class_names,
        splits=np.zeros(count, np.intp),
        labels=np.array(labels, np.int32),
        reasons={},
        digests=np.zeros((count, 16), np.uint8),
        sizes=np.full((count, 2), 100),
        stats=stats,
    )


def found(inventory: Inventory, augmentation: dict[str, Any], **sections: Any) -> list[tuple[str, str]]:
    config = parse_config(
        {
            "data": {"train": ".", "target_size": [100, 120]} | sections.pop("data", {}),
            "augmentation": augmentation,
            **sections,
        }
    )
    return [
        (finding.code.removeprefix("augmentation-"), finding.what.split(":")[0].removeprefix("augmentation."))
        for finding in check_appearance(config, inventory)
    ]


def test_sound_options_on_sound_pictures() -> None:
    assert found(take(), EVERYTHING) == []
    assert found(take(class_names=("fox", "red_panda")), EVERYTHING) == []
    assert found(take(subject=4, border_spread=60), EVERYTHING) == []


@pytest.mark.parametrize(
    ("augmentation", "code", "key"),
    [
        ({"color_jitter": {}}, "without-effect", "color_jitter"),
        ({"randaugment": {"magnitude": 0}}, "without-effect", "randaugment"),
        ({"gaussian_blur": [0, 0.2]}, "without-effect", "gaussian_blur"),
        ({"jpeg_quality": [99, 100]}, "without-effect", "jpeg_quality"),
        ({"mix_probability": 0.5}, "without-effect", "mix_probability"),
        ({"gaussian_blur": [1, 2]}, "contradiction", "gaussian_blur"),
        ({"jpeg_quality": [20, 40]}, "contradiction", "jpeg_quality"),
        ({"grayscale": 1}, "contradiction", "grayscale"),
        ({"erasing": 1}, "contradiction", "erasing"),
        ({"color_jitter": {"brightness": 0.95}}, "destroys-label", "color_jitter.brightness"),
        ({"color_jitter": {"brightness": 3.5}}, "destroys-label", "color_jitter.brightness"),
        ({"color_jitter": {"contrast": 1}}, "destroys-label", "color_jitter.contrast"),
        ({"gaussian_blur": [0, 7]}, "destroys-label", "gaussian_blur"),
        ({"jpeg_quality": [5, 95]}, "destroys-label", "jpeg_quality"),
    ],
)
def test_a_mistake_in_the_numbers(augmentation: dict[str, Any], code: str, key: str) -> None:
    assert found(take(), augmentation) == [(code, key)]


@pytest.mark.parametrize(
    ("inventory", "data"),
    [
        (take(color=(120, 121, 120)), {}),
        (take(), {"color_mode": "grayscale"}),
    ],
)
def test_gray_images_have_no_color_to_change(inventory: Inventory, data: dict[str, Any]) -> None:
    jitter = {"brightness": 0.2, "saturation": 0.2, "hue": 0.1}
    assert found(inventory, {"color_jitter": jitter, "grayscale": 1}, data=data) == [
        ("without-effect", "color_jitter.saturation"),
        ("without-effect", "color_jitter.hue"),
        ("without-effect", "grayscale"),
    ]


def test_one_class_cannot_be_mixed() -> None:
    inventory = take(labels=(1,) * 9)
    assert found(inventory, {"mixup": 0.4, "cutmix": 1}) == [
        ("without-effect", "mixup"),
        ("without-effect", "cutmix"),
    ]


def test_jpeg_of_black_and_white_scans() -> None:
    assert found(take(mode=b"1"), {"jpeg_quality": [40, 95]}) == [("contradiction", "jpeg_quality")]


def test_classes_that_are_told_by_their_color() -> None:
    options = {"color_jitter": {"hue": 0.2}, "grayscale": 0.1, "randaugment": {}, "erasing": 0.1}
    assert found(take(class_names=COLORED), options) == [
        ("destroys-label", "color_jitter.hue"),
        ("destroys-label", "grayscale"),
        ("destroys-label", "randaugment"),
    ]
    assert found(take(class_names=COLORED), {"color_jitter": {"hue": 0.02, "brightness": 0.2}}) == []


def test_small_subjects_may_be_erased_or_missed() -> None:
    options = {"erasing": 0.25, "cutmix": 1.0, "mixup": 0.4}
    assert found(take(subject=4), options) == [("destroys-label", "erasing"), ("destroys-label", "cutmix")]
    # A quarter of the pictures at most; those without anything on them don't count.
    assert found(take(subject=0), options) == []


def test_what_the_preprocessing_undoes() -> None:
    preprocessing = {"samplewise_center": True, "samplewise_std_normalization": True}
    jitter = {"brightness": 0.2, "contrast": 0.2, "hue": 0.01}
    assert found(take(), {"color_jitter": jitter}, preprocessing=preprocessing) == [
        ("without-effect", "color_jitter.brightness"),
        ("without-effect", "color_jitter.contrast"),
    ]
    assert found(take(), {"color_jitter": jitter}, preprocessing={"samplewise_center": True}) == []


def test_nothing_that_can_be_decoded_is_judged_by_the_numbers_alone() -> None:
    inventory = take(labels=())
    assert ("contradiction", "erasing") in found(inventory, {"erasing": 1, "jpeg_quality": [40, 95]})
