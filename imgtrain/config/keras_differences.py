"""Where an option means something else than `ImageDataGenerator` would have made of it."""

from __future__ import annotations

from imgtrain.config.schema import AugmentationConfig

__all__ = ["check_shift_ranges"]


def check_shift_ranges(augmentation: AugmentationConfig) -> list[str]:
    """Say where `ImageDataGenerator` would have read a shift range in another way.

    Here a shift below 1 is a fraction and one from 1 on is pixels. Keras makes a whole number n one of
    0 to n - 1 pixels, and reads a whole list as fractions if its largest value is below 1, else as pixels.

    Returns:
        One sentence for each range that differs, without a final stop.
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
                    f"augmentation.{name}: in a list every value is judged for itself, so "
                    f"{', '.join(differing)} is {here_is}; ImageDataGenerator would go by the largest value "
                    f"and take it as {keras_reads}"
                )
        elif isinstance(given, int) and given >= 1:
            keras_moves = f"by a whole number of pixels below {given}" if given > 1 else "nothing"
            warnings.append(
                f"augmentation.{name}: {given} moves by up to {given} pixels either way; ImageDataGenerator "
                f"would move {keras_moves} for a whole number, and mean the same as here by {given}.0"
            )
    return warnings
