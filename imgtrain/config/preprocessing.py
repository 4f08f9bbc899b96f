"""What the preprocessing options imply, and how large an image may be for ZCA whitening.

Meanings are those of `ImageDataGenerator`: an option that needs another switches it on.
"""

from __future__ import annotations

from imgtrain.config.schema import Config, PreprocessingConfig
from imgtrain.errors import Problem

__all__ = ["MAX_ZCA_VALUES", "check_zca", "needs_featurewise_statistics", "with_implied_options"]

MAX_ZCA_VALUES = 4096
"""Values of the largest image that is whitened: the matrix of 64×64×1 weighs 64 MiB in the model, and on
two busy cores it took two minutes to fit; they grow with the square and the cube of this."""


def with_implied_options(preprocessing: PreprocessingConfig) -> PreprocessingConfig:
    """Return the options that take effect, by `ImageDataGenerator`'s rules.

    A standard deviation is taken about the mean, so `*_std_normalization` implies `*_center`. ZCA whitening
    implies `featurewise_center` and replaces `featurewise_std_normalization`.
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
    """Return whether the training images must be measured before the network is built."""
    return with_implied_options(preprocessing).featurewise_center


def check_zca(config: Config) -> list[Problem]:
    """Return the problem of images that are too large for ZCA whitening."""
    height, width, channels = config.data.image_shape
    values = height * width * channels
    if not config.preprocessing.zca_whitening or values <= MAX_ZCA_VALUES:
        return []
    side = int((MAX_ZCA_VALUES / channels) ** 0.5)
    gib = 4 * values**2 / 2**30
    return [
        Problem(
            config.where("preprocessing", "zca_whitening"),
            f"an image of {height}×{width}×{channels} has {values:,} values, ZCA whitening takes at most "
            f"{MAX_ZCA_VALUES:,}: its matrix would have {values:,}×{values:,} numbers ({gib:,.1f} GiB)",
            f"set data.target_size to [{side}, {side}] or less, or zca_whitening to false",
        )
    ]
