"""Options that `ImageDataGenerator` would interpret differently."""

from __future__ import annotations

from imgtrain.config.schema import AugmentationConfig

__all__ = ["check_shift_ranges"]


def check_shift_ranges(augmentation: AugmentationConfig) -> list[str]:
    """Return warnings about shift ranges that `ImageDataGenerator` would interpret differently.

    Here shifts below 1 are fractions and shifts of 1 or more are pixels. Keras interprets an integer n as 0 to
    n - 1 pixels, and a list as fractions if its largest value is below 1, otherwise as pixels.

    Returns:
        One sentence per range, without a final period.
    """
    warnings = []
    for name, side in (("width_shift_range", "width"), ("height_shift_range", "height")):
        given = getattr(augmentation, name)
        if isinstance(given, tuple):
            pixels, fraction = "pixels", f"a fraction of the {side}"
            keras_reads, here_is = (pixels, fraction) if max(given) >= 1 else (fraction, pixels)
            differing = [f"{value:g}" for value in given if value and (abs(value) >= 1) != (max(given) >= 1)]
            if differing:
                warnings.append(
                    f"augmentation.{name}: list values are interpreted individually, so "
                    f"{', '.join(differing)} is {here_is}; ImageDataGenerator uses the largest value to decide "
                    f"and would interpret it as {keras_reads}"
                )
        elif isinstance(given, int) and given >= 1:
            keras_shift = f"by 0 to {given - 1} pixels" if given > 1 else "nothing"
            warnings.append(
                f"augmentation.{name}: {given} shifts by up to {given} pixels in either direction; ImageDataGenerator "
                f"would shift {keras_shift} for an integer; use {given}.0 for the same meaning in both"
            )
    return warnings
