"""Color, detail and mixing options that have no effect, contradict the data, or change the label.

The checks use the values of the options, the class names, and properties of the images: whether they have color, and
how much of the image the subject covers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from imgtrain.audit.augmentation import (
    ALTERED_LABEL,
    CONTRADICTION,
    NEVER_AS_TESTED,
    NO_EFFECT,
    WITHOUT_EFFECT,
    WRONG_LABEL,
    option_finding,
)
from imgtrain.audit.findings import Finding
from imgtrain.audit.inventory import Inventory
from imgtrain.config.class_meaning import color_class
from imgtrain.config.schema import AugmentationConfig, ColorJitterConfig, Config

__all__ = ["check_appearance"]

_LUMA = np.array([0.299, 0.587, 0.114])
_MOST = 0.95  # share of the images treated as all
_EQUAL_CHANNELS = 2  # maximum difference between the mean channels of a gray image, in levels
_FLAT_BORDER = 16  # maximum standard deviation of a uniform background, in levels
_STANDS_OUT = 32  # minimum difference from the background, in levels
_SMALL_SUBJECT = 0.1  # of the image area; an erased rectangle covers 0.02 to 0.33
_MANY = 0.25  # of the images
_WEAKEST_BLUR = 0.25  # pixels: no level changes below this
_VISIBLE_BLUR = 0.5
_COARSE_BLUR = 1 / 16  # of the shorter side: removes details smaller than a fifth of it
_BEST_JPEG, _POOR_JPEG, _WORST_JPEG = 99, 50, 10
_DARKEST, _BRIGHTEST, _FLATTEST = 0.1, 4.0, 0.1
_RECOLORED = 0.1  # of the color circle: red becomes orange or pink


def check_appearance(config: Config, inventory: Inventory) -> list[Finding]:
    """Return findings about the options that change colors, detail and labels."""
    augmentation = config.augmentation
    train = np.intersect1d(inventory.indices_of("train"), inventory.decoded)
    stats = inventory.stats[train]
    has_color = config.data.color_mode != "grayscale" and not _are_gray(stats)
    return [
        *_weak(augmentation),
        *_undone(config),
        *_without_color(config, has_color=has_color),
        *_one_class(augmentation, inventory),
        *_always(augmentation, has_color=has_color),
        *_scans(augmentation, stats),
        *_too_strong(augmentation, min(config.data.size)),
        *_recolored(augmentation, inventory.class_names),
        *_small_subjects(augmentation, stats),
    ]


def _weak(augmentation: AugmentationConfig) -> Iterator[Finding]:
    jitter, blur, quality = augmentation.color_jitter, augmentation.gaussian_blur, augmentation.jpeg_quality
    if jitter == ColorJitterConfig():
        what = "brightness, contrast, saturation and hue are all 0"
        yield option_finding(WITHOUT_EFFECT, "color_jitter", what, NO_EFFECT, "set one of them, or remove it")
    if augmentation.randaugment is not None and augmentation.randaugment.magnitude == 0:
        what = "with magnitude 0, only autocontrast and equalize have an effect"
        yield option_finding(WITHOUT_EFFECT, "randaugment", what, NO_EFFECT, "use 9")
    if blur is not None and blur[1] < _WEAKEST_BLUR:
        what = f"a standard deviation of up to {blur[1]:g} pixels changes no pixel value"
        yield option_finding(WITHOUT_EFFECT, "gaussian_blur", what, NO_EFFECT, "use [0, 2]")
    if quality is not None and quality[0] >= _BEST_JPEG:
        what = f"quality {quality[0]} to {quality[1]} is not visible"
        yield option_finding(WITHOUT_EFFECT, "jpeg_quality", what, NO_EFFECT, "use [40, 95]")
    if "mix_probability" in augmentation.model_fields_set and not augmentation.mixes:
        what = "neither mixup nor cutmix is set"
        yield option_finding(WITHOUT_EFFECT, "mix_probability", what, NO_EFFECT, "set one, or remove it")


def _undone(config: Config) -> Iterator[Finding]:
    jitter, preprocessing = config.augmentation.color_jitter, config.preprocessing
    if jitter is None or not (preprocessing.samplewise_center and preprocessing.samplewise_std_normalization):
        return
    for key in ("brightness", "contrast"):
        if getattr(jitter, key):
            what = "preprocessing normalizes every image to mean 0 and standard deviation 1, which undoes it"
            remedy = "remove one of them"
            yield option_finding(WITHOUT_EFFECT, f"color_jitter.{key}", what, NO_EFFECT, remedy)


def _without_color(config: Config, *, has_color: bool) -> Iterator[Finding]:
    if has_color:
        return
    augmentation = config.augmentation
    jitter = augmentation.color_jitter or ColorJitterConfig()
    options = {
        "color_jitter.saturation": jitter.saturation,
        "color_jitter.hue": jitter.hue,
        "grayscale": augmentation.grayscale,
    }
    why = "data.color_mode is grayscale" if config.data.color_mode == "grayscale" else "the images are gray"
    for key in (key for key, value in options.items() if value):
        what = f"{why}: there is no color to change"
        yield option_finding(WITHOUT_EFFECT, key, what, NO_EFFECT, "remove it")


def _one_class(augmentation: AugmentationConfig, inventory: Inventory) -> Iterator[Finding]:
    if np.count_nonzero(inventory.counts("train")) > 1:
        return
    for key in ("mixup", "cutmix"):
        if getattr(augmentation, key) is not None:
            what = "all training images have the same class: mixing doesn't change their labels"
            yield option_finding(WITHOUT_EFFECT, key, what, NO_EFFECT, "add images of other classes")


def _always(augmentation: AugmentationConfig, *, has_color: bool) -> Iterator[Finding]:
    blur, quality = augmentation.gaussian_blur, augmentation.jpeg_quality
    if blur is not None and blur[0] >= _VISIBLE_BLUR:
        what = f"[{blur[0]:g}, {blur[1]:g}] blurs every training image"
        yield option_finding(CONTRADICTION, "gaussian_blur", what, NEVER_AS_TESTED, "start the range at 0")
    if quality is not None and quality[1] < _POOR_JPEG:
        what = f"every training image has compression artifacts (quality {quality[1]} or less)"
        yield option_finding(CONTRADICTION, "jpeg_quality", what, NEVER_AS_TESTED, "end the range at 95")
    if augmentation.grayscale == 1 and has_color:
        what = "every training image loses its color, but validation and test images keep theirs"
        remedy = "set `data.color_mode: grayscale`, or use 0.1 to 0.2"
        yield option_finding(CONTRADICTION, "grayscale", what, NEVER_AS_TESTED, remedy)
    if augmentation.erasing == 1:
        what = "every training image has an erased rectangle"
        yield option_finding(CONTRADICTION, "erasing", what, NEVER_AS_TESTED, "use 0.1 to 0.5")


def _scans(augmentation: AugmentationConfig, stats: NDArray[np.void]) -> Iterator[Finding]:
    if augmentation.jpeg_quality is None or not len(stats):
        return
    black_and_white = np.mean(stats["mode"] == b"1")
    if black_and_white > 0.5:
        what = (
            f"{black_and_white:.0%} of the images are black and white; JPEG adds gray artifacts to every edge"
        )
        yield option_finding(CONTRADICTION, "jpeg_quality", what, NEVER_AS_TESTED, "remove it")


def _too_strong(augmentation: AugmentationConfig, side: int) -> Iterator[Finding]:
    jitter, blur = augmentation.color_jitter or ColorJitterConfig(), augmentation.gaussian_blur
    if 1 - jitter.brightness < _DARKEST or 1 + jitter.brightness > _BRIGHTEST:
        what = f"{jitter.brightness:g} makes images almost {'white' if jitter.brightness > 3 else 'black'}"
        yield option_finding(ALTERED_LABEL, "color_jitter.brightness", what, WRONG_LABEL, "use 0.2 to 0.4")
    if 1 - jitter.contrast < _FLATTEST:
        what = f"{jitter.contrast:g} makes images almost uniformly gray"
        yield option_finding(ALTERED_LABEL, "color_jitter.contrast", what, WRONG_LABEL, "use 0.2 to 0.4")
    if blur is not None and blur[1] > _COARSE_BLUR * side:
        what = f"{blur[1]:g} of {side} pixels removes all details smaller than {3 * blur[1]:.0f} pixels"
        remedy = f"use {side / 100:.1g} to {side / 32:.1g} pixels"
        yield option_finding(ALTERED_LABEL, "gaussian_blur", what, WRONG_LABEL, remedy)
    if augmentation.jpeg_quality is not None and augmentation.jpeg_quality[0] < _WORST_JPEG:
        what = f"quality {augmentation.jpeg_quality[0]} replaces details by blocks of 8×8 pixels"
        yield option_finding(ALTERED_LABEL, "jpeg_quality", what, WRONG_LABEL, "start the range at 30")


def _recolored(augmentation: AugmentationConfig, class_names: tuple[str, ...]) -> Iterator[Finding]:
    colored = color_class(class_names)
    if not colored:
        return
    jitter = augmentation.color_jitter or ColorJitterConfig()
    options = {
        "color_jitter.hue": (jitter.hue > _RECOLORED, "in another hue", "set it to 0.05 or less"),
        "grayscale": (augmentation.grayscale > 0, "without color", "set it to 0"),
        "randaugment": (
            augmentation.randaugment is not None,
            "solarized or without saturation",
            "remove it, or use color_jitter",
        ),
    }
    for key, (applies, how, remedy) in options.items():
        if applies:
            what = f"{how}, {colored} would have another label"
            yield option_finding(ALTERED_LABEL, key, what, WRONG_LABEL, remedy)


def _small_subjects(augmentation: AugmentationConfig, stats: NDArray[np.void]) -> Iterator[Finding]:
    share = _share_of_small_subjects(stats)
    if share < _MANY:
        return
    where = f"in {share:.0%} of the images the subject covers less than {_SMALL_SUBJECT:.0%} of the area"
    if augmentation.erasing:
        what = (
            f"{where}: a rectangle of up to a third of the area can hide the subject, but the label remains"
        )
        remedy = "crop the images to their subjects, or set it to 0"
        yield option_finding(ALTERED_LABEL, "erasing", what, WRONG_LABEL, remedy)
    if augmentation.cutmix is not None:
        what = f"{where}: many pasted rectangles only contain background, but change the label by their area"
        remedy = "crop the images to their subjects, or use mixup"
        yield option_finding(ALTERED_LABEL, "cutmix", what, WRONG_LABEL, remedy)


def _are_gray(stats: NDArray[np.void]) -> bool:
    """Return whether almost all images are gray, whatever the color mode of the files."""
    spread = np.ptp(stats["color"].astype(np.intp), axis=1)
    return bool(len(stats)) and bool(np.mean(spread <= _EQUAL_CHANNELS) >= _MOST)


def _share_of_small_subjects(stats: NDArray[np.void]) -> float:
    """Return the share of images in which everything that differs from the background fits into a small rectangle.

    Images without a uniform border are not counted, because their subject is unknown.
    """
    if not len(stats):
        return 0.0
    background = stats["border"] @ _LUMA
    stands_out = np.abs(stats["thumbnail"] - background[:, None, None]) > _STANDS_OUT
    area = _extent(stands_out.any(axis=2)) * _extent(stands_out.any(axis=1))
    small = (stats["border_spread"] <= _FLAT_BORDER) & (area > 0) & (area < _SMALL_SUBJECT)
    return float(small.mean())


def _extent(occupied: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n,) the fraction of each row between its first and last True, for (n, cells)."""
    cells = occupied.shape[1]
    extent = cells - occupied.argmax(axis=1) - occupied[:, ::-1].argmax(axis=1)
    share: NDArray[np.float64] = np.where(occupied.any(axis=1), extent / cells, 0.0)
    return share
