"""Geometric and brightness options that have no effect, contradict each other, or change the label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from imgtrain.audit.findings import Finding, Severity
from imgtrain.config.class_meaning import are_characters, find_flip_problem, sided_class
from imgtrain.config.schema import AugmentationConfig, Config

__all__ = [
    "ALTERED_LABEL",
    "CONTRADICTION",
    "NEVER_AS_TESTED",
    "NO_EFFECT",
    "WITHOUT_EFFECT",
    "WRONG_LABEL",
    "check_augmentation",
    "option_finding",
]

WITHOUT_EFFECT: tuple[str, Severity] = ("augmentation-without-effect", "note")
CONTRADICTION: tuple[str, Severity] = ("augmentation-contradiction", "warning")
ALTERED_LABEL: tuple[str, Severity] = ("augmentation-destroys-label", "warning")
NO_EFFECT = "it costs training time without any effect"
NEVER_AS_TESTED = "the network is never trained on unchanged images, but is tested on them"
WRONG_LABEL = "the network is trained on wrong labels"

_TURNED_AROUND = 90  # degrees: a 6 becomes a 9, left becomes up
_SUBJECT_LOST = 0.5  # of the side: the center moves to the edge
_LEANS = 45  # degrees of shear
_DARKEST, _BRIGHTEST = 0.1, 4.0
_SMALLEST, _LARGEST = 0.33, 3.0


def check_augmentation(config: Config, class_names: Sequence[str]) -> list[Finding]:
    """Return findings about `augmentation`, based on its values and the class names."""
    return [
        *_without_effect(config),
        *_contradicting(config),
        *_destroying(config.augmentation, class_names, config.data.size),
        *_flip_average(config, class_names),
    ]


def option_finding(code: tuple[str, Severity], key: str, what: str, harm: str, remedy: str) -> Finding:
    """Return a finding about an option of `augmentation`, by its dotted key."""
    return Finding(*code, f"augmentation.{key}: {what}", harm, remedy)


def _moves_pixels(augmentation: AugmentationConfig) -> bool:
    neutral = AugmentationConfig()
    keys = ("rotation_range", "width_shift_range", "height_shift_range", "shear_range", "zoom_range")
    moved = any(getattr(augmentation, key) != getattr(neutral, key) for key in keys)
    return moved or augmentation.randaugment is not None


def _zoom(augmentation: AugmentationConfig) -> tuple[float, float]:
    zoom = augmentation.zoom_range
    return zoom if isinstance(zoom, tuple) else (1 - zoom, 1 + zoom)


def _without_effect(config: Config) -> Iterator[Finding]:
    augmentation = config.augmentation
    given = augmentation.model_fields_set
    if not _moves_pixels(augmentation):
        for key in sorted(given & {"fill_mode", "cval", "interpolation_order"}):
            what = "has no effect without rotation, shift, shear or zoom"
            yield option_finding(WITHOUT_EFFECT, key, what, NO_EFFECT, "remove it, or enable one of these")
    elif "cval" in given and augmentation.fill_mode != "constant":
        what = f"is only used with `fill_mode: constant`, but fill_mode is {augmentation.fill_mode}"
        yield option_finding(
            WITHOUT_EFFECT, "cval", what, NO_EFFECT, "set `fill_mode: constant`, or remove cval"
        )
    if augmentation.zoom_range == (1.0, 1.0):
        yield option_finding(
            WITHOUT_EFFECT, "zoom_range", "[1, 1] never zooms", NO_EFFECT, "remove it, or widen the range"
        )
    if augmentation.brightness_range == (1.0, 1.0):
        yield option_finding(
            WITHOUT_EFFECT,
            "brightness_range",
            "[1, 1] has no effect",
            NO_EFFECT,
            "remove it, or widen the range",
        )
    if 0 < augmentation.channel_shift_range < 1:
        what = f"{augmentation.channel_shift_range:g} is less than one pixel value (0–255)"
        yield option_finding(
            WITHOUT_EFFECT,
            "channel_shift_range",
            what,
            NO_EFFECT,
            "use about 10 or more for a visible change",
        )
    for key, side in zip(("height_shift_range", "width_shift_range"), config.data.size, strict=True):
        if 0 < (pixels := _most_pixels(getattr(augmentation, key), side)) < 0.5:
            what = f"shifts by at most {pixels:.2g} of {side} pixels"
            yield option_finding(WITHOUT_EFFECT, key, what, NO_EFFECT, "remove it, or use a larger value")
    if augmentation.rotation_range > 180:
        what = f"{augmentation.rotation_range:g} degrees covers no more angles than 180"
        yield option_finding(
            WITHOUT_EFFECT,
            "rotation_range",
            what,
            "some angles occur more often than others",
            "set it to 180",
        )
    preprocessing = config.preprocessing
    if (
        augmentation.brightness_range not in (None, (1.0, 1.0))
        and preprocessing.samplewise_center
        and preprocessing.samplewise_std_normalization
    ):
        what = (
            "preprocessing normalizes every image to mean 0 and standard deviation 1, which undoes "
            "brightness changes"
        )
        yield option_finding(WITHOUT_EFFECT, "brightness_range", what, NO_EFFECT, "remove one of them")
    if config.data.balance == "oversample" and augmentation.changes_nothing:
        yield Finding(
            *WITHOUT_EFFECT,
            "data.balance: oversample repeats images of small classes, but augmentation is disabled",
            "the network can memorize the identical copies of the small classes",
            "enable augmentation, or use `training.class_weight: balanced`",
        )


def _contradicting(config: Config) -> Iterator[Finding]:
    augmentation = config.augmentation
    brightness = augmentation.brightness_range
    if brightness is not None and not brightness[0] <= 1 <= brightness[1]:
        darker = "darker" if brightness[1] < 1 else "brighter"
        what = f"[{brightness[0]:g}, {brightness[1]:g}] excludes 1: all training images become {darker}"
        yield option_finding(
            CONTRADICTION, "brightness_range", what, NEVER_AS_TESTED, "include 1 in the range"
        )
    low, high = _zoom(augmentation)
    if not low <= 1 <= high:
        larger = "magnified" if high < 1 else "shrunk"
        what = f"[{low:g}, {high:g}] excludes 1: all training images are {larger}"
        yield option_finding(CONTRADICTION, "zoom_range", what, NEVER_AS_TESTED, "include 1 in the range")
    for key in ("height_shift_range", "width_shift_range"):
        given = getattr(augmentation, key)
        if isinstance(given, tuple) and all(given):
            what = f"the list {list(given)} doesn't contain 0: all training images are shifted"
            yield option_finding(
                CONTRADICTION, key, what, NEVER_AS_TESTED, "add 0 to the list, or use a single number"
            )


def _destroying(
    augmentation: AugmentationConfig, class_names: Sequence[str], target_size: tuple[int, int]
) -> Iterator[Finding]:
    if (reason := find_flip_problem(class_names)) and augmentation.horizontal_flip:
        yield option_finding(ALTERED_LABEL, "horizontal_flip", reason, WRONG_LABEL, "set it to false")
    if augmentation.vertical_flip and (are_characters(class_names) or sided_class(class_names)):
        what = "vertically flipped digits, letters and signs are invalid or have another label"
        yield option_finding(ALTERED_LABEL, "vertical_flip", what, WRONG_LABEL, "set it to false")
    rotation = augmentation.rotation_range
    if rotation >= _TURNED_AROUND and (are_characters(class_names) or sided_class(class_names)):
        turned = (
            f"{sided_class(class_names)} points in another direction"
            if sided_class(class_names)
            else "a 6 becomes a 9, an M becomes a W"
        )
        what = f"rotated by up to {rotation:g} degrees, {turned}"
        yield option_finding(ALTERED_LABEL, "rotation_range", what, WRONG_LABEL, "set it to 15 or less")
    lost = "the subject may be outside the image, but the label remains"
    for key, side in zip(("height_shift_range", "width_shift_range"), target_size, strict=True):
        if (pixels := _most_pixels(getattr(augmentation, key), side)) >= _SUBJECT_LOST * side:
            what = f"shifts by up to {pixels:.0f} of {side} pixels"
            yield option_finding(ALTERED_LABEL, key, what, lost, "use 0.1 to 0.2 of the side")
    low, high = _zoom(augmentation)
    if low < _SMALLEST or high > _LARGEST:
        what = f"zooms in up to {1 / low:.0f} times" if low < _SMALLEST else f"zooms out to 1/{high:g}"
        yield option_finding(ALTERED_LABEL, "zoom_range", what, lost, "use 0.1 to 0.3")
    if augmentation.shear_range >= _LEANS:
        what = f"{augmentation.shear_range:g} degrees distorts the image beyond recognition"
        yield option_finding(ALTERED_LABEL, "shear_range", what, lost, "use 5 to 20")
    brightness = augmentation.brightness_range
    if brightness is not None and (brightness[0] < _DARKEST or brightness[1] > _BRIGHTEST):
        color = "black" if brightness[0] < _DARKEST else "white"
        what = f"[{brightness[0]:g}, {brightness[1]:g}] makes images almost {color}"
        yield option_finding(ALTERED_LABEL, "brightness_range", what, WRONG_LABEL, "use [0.7, 1.3]")


def _flip_average(config: Config, class_names: Sequence[str]) -> Iterator[Finding]:
    if not config.evaluation.flip_average:
        return
    if reason := find_flip_problem(class_names):
        yield Finding(
            *ALTERED_LABEL,
            f"evaluation.flip_average: {reason}",
            "half of each prediction is for an image with another label, or none",
            "set it to false",
        )
    elif not config.augmentation.horizontal_flip:
        yield Finding(
            *CONTRADICTION,
            "evaluation.flip_average: mirror images are predicted, but augmentation.horizontal_flip is false",
            "the network has never seen mirror images, and may be wrong about them",
            "enable augmentation.horizontal_flip if left and right don't matter, or set flip_average to false",
        )


def _most_pixels(given: float | tuple[float, ...], side: int) -> float:
    """Return the maximum shift in pixels; values below 1 are fractions of the side."""
    sizes = np.abs(np.atleast_1d(np.asarray(given, np.float64)))
    return float(np.where(sizes < 1, sizes * side, sizes).max())
