"""Preprocessing options implied by others, and the maximum image size for ZCA whitening.

As in `ImageDataGenerator`, an option that requires another one enables it.
"""

from __future__ import annotations

from imgtrain.config.schema import Config, PreprocessingConfig
from imgtrain.errors import Problem
from imgtrain.text import format_bytes

__all__ = ["MAX_ZCA_VALUES", "check_zca", "needs_featurewise_statistics", "with_implied_options"]

MAX_ZCA_VALUES = 4096
"""Maximum number of values per image for ZCA whitening. For 64×64×1, the matrix takes 64 MiB in the model and two
minutes to fit on two busy cores; size and time grow with the square and the cube of this."""


def with_implied_options(preprocessing: PreprocessingConfig) -> PreprocessingConfig:
    """Return the options with implied ones enabled, by `ImageDataGenerator`'s rules.

    `*_std_normalization` implies `*_center`. ZCA whitening implies `featurewise_center` and replaces
    `featurewise_std_normalization`.
    """
    zca = preprocessing.zca_whitening
    featurewise_std = preprocessing.featurewise_std_normalization and not zca
    return preprocessing.model_copy(
        update={
            "samplewise_center": preprocessing.samplewise_center
            or preprocessing.samplewise_std_normalization,
            "featurewise_center": preprocessing.featurewise_center or featurewise_std or zca,
            "featurewise_std_normalization": featurewise_std,
        }
    )


def needs_featurewise_statistics(preprocessing: PreprocessingConfig) -> bool:
    """Return whether statistics of the training images are needed to build the network."""
    return with_implied_options(preprocessing).featurewise_center


def check_zca(config: Config) -> list[Problem]:
    """Return a problem if the images are too large for ZCA whitening."""
    height, width, channels = config.data.image_shape
    values = height * width * channels
    if not config.preprocessing.zca_whitening or values <= MAX_ZCA_VALUES:
        return []
    side = int((MAX_ZCA_VALUES / channels) ** 0.5)
    return [
        Problem(
            config.where("preprocessing", "zca_whitening"),
            f"ZCA whitening supports at most {MAX_ZCA_VALUES:,} values per image; {height}×{width}×{channels} has "
            f"{values:,}, for which its matrix would take {format_bytes(4 * values**2)}",
            f"set data.target_size to [{side}, {side}] or smaller, or zca_whitening to false",
        )
    ]
