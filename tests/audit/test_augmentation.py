"""Every mistake in the numbers of the augmentation is named once, and sound numbers are not."""

from __future__ import annotations

from typing import Any

import pytest

from imgtrain.audit.augmentation import check_augmentation
from imgtrain.config import parse_config

PLAIN, DIGITS, SIDED = ("cat", "dog"), ("0", "1", "2"), ("turn_left", "turn_right")


def found(class_names: tuple[str, ...], **augmentation: Any) -> list[tuple[str, str]]:
    config = parse_config({"data": {"train": ".", "target_size": [32, 64]}, "augmentation": augmentation})
    return [
        (finding.code.removeprefix("augmentation-"), finding.what.split(":")[0].removeprefix("augmentation."))
        for finding in check_augmentation(config, class_names)
    ]


@pytest.mark.parametrize(
    ("class_names", "augmentation", "code", "key"),
    [
        (PLAIN, {"fill_mode": "reflect"}, "without-effect", "fill_mode"),
        (PLAIN, {"rotation_range": 5, "cval": 9}, "without-effect", "cval"),
        (PLAIN, {"zoom_range": [1, 1]}, "without-effect", "zoom_range"),
        (PLAIN, {"brightness_range": [1, 1]}, "without-effect", "brightness_range"),
        (PLAIN, {"channel_shift_range": 0.5}, "without-effect", "channel_shift_range"),
        (PLAIN, {"height_shift_range": 0.01}, "without-effect", "height_shift_range"),
        (PLAIN, {"rotation_range": 270}, "without-effect", "rotation_range"),
        (PLAIN, {"brightness_range": [0.3, 0.8]}, "contradiction", "brightness_range"),
        (PLAIN, {"zoom_range": [1.2, 1.5]}, "contradiction", "zoom_range"),
        (PLAIN, {"width_shift_range": [0.1, 0.2]}, "contradiction", "width_shift_range"),
        (DIGITS, {"horizontal_flip": True}, "destroys-label", "horizontal_flip"),
        (SIDED, {"horizontal_flip": True}, "destroys-label", "horizontal_flip"),
        (DIGITS, {"vertical_flip": True}, "destroys-label", "vertical_flip"),
        (DIGITS, {"rotation_range": 90}, "destroys-label", "rotation_range"),
        (SIDED, {"rotation_range": 180}, "destroys-label", "rotation_range"),
        (PLAIN, {"width_shift_range": 0.5}, "destroys-label", "width_shift_range"),
        (PLAIN, {"height_shift_range": 20}, "destroys-label", "height_shift_range"),
        (PLAIN, {"zoom_range": 0.9}, "destroys-label", "zoom_range"),
        (PLAIN, {"shear_range": 60}, "destroys-label", "shear_range"),
        (PLAIN, {"brightness_range": [0, 1.2]}, "destroys-label", "brightness_range"),
    ],
)
def test_a_mistake(class_names: tuple[str, ...], augmentation: dict[str, Any], code: str, key: str) -> None:
    assert found(class_names, **augmentation) == [(code, key)]


@pytest.mark.parametrize(
    ("class_names", "augmentation"),
    [
        (PLAIN, {}),
        (PLAIN, {"horizontal_flip": True, "vertical_flip": True, "rotation_range": 180}),
        (
            DIGITS,
            {"rotation_range": 15, "width_shift_range": 0.1, "height_shift_range": 3, "zoom_range": 0.2},
        ),
        (PLAIN, {"randaugment": {}, "fill_mode": "constant", "cval": 9}),
        (PLAIN, {"rotation_range": 20, "fill_mode": "constant", "cval": 128, "brightness_range": [0.7, 1.3]}),
        (PLAIN, {"width_shift_range": [0, 0.1], "shear_range": 10, "channel_shift_range": 20}),
    ],
)
def test_sound_numbers(class_names: tuple[str, ...], augmentation: dict[str, Any]) -> None:
    assert found(class_names, **augmentation) == []


@pytest.mark.parametrize(
    ("class_names", "flip", "codes"),
    [
        (PLAIN, True, []),
        (PLAIN, False, ["augmentation-contradiction"]),
        (SIDED, False, ["augmentation-destroys-label"]),
    ],
)
def test_mirror_images_are_averaged_but_were_never_trained_on(
    class_names: tuple[str, ...], flip: bool, codes: list[str]
) -> None:
    config = parse_config(
        {
            "data": {"train": "."},
            "augmentation": {"horizontal_flip": flip},
            "evaluation": {"flip_average": True},
        }
    )
    findings = check_augmentation(config, class_names)
    assert [finding.code for finding in findings] == codes
    assert all(finding.what.startswith("evaluation.flip_average") for finding in findings)


def test_what_the_preprocessing_undoes() -> None:
    config = parse_config(
        {
            "data": {"train": "."},
            "augmentation": {"brightness_range": [0.7, 1.3]},
            "preprocessing": {"samplewise_center": True, "samplewise_std_normalization": True},
        }
    )
    (finding,) = check_augmentation(config, PLAIN)
    assert "undoes brightness changes" in finding.what
