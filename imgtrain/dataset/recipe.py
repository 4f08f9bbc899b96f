"""Choose image size, network and augmentation for a folder of images and a time budget.

The networks are plain convolutions with batch normalization.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgtrain.run.machine import available_cores

__all__ = ["Recipe", "choose_recipe"]

SMALLEST_SIDE, LARGEST_SIDE = 32, 224
# Approximate throughput of these blocks at 96×96 on one core with bfloat16, in images/s. It only affects the image
# size: the number of epochs is planned from the measured time of the first steps.
_IMAGES_PER_SECOND_AND_CORE = 300
_MOST_CORES = 64
_COMMON_SIDE = 96
# Number of epochs at which the size is 96×96; additional time is divided equally between epochs and pixels.
_COMMON_PASSES = 45
_FILTERS = (16, 32, 64, 128, 256)
# Minimum side of a feature map: below it, 3×3 filters mostly see padding.
_SMALLEST_POOLED_SIDE = 3
# Number of blocks, from the end, with two convolutions.
_DOUBLE_BLOCKS = 3
# Mixing images helps in long training on photos, but reduced accuracy on small sets of medical grayscale images.
_FEWEST_PASSES_TO_MIX = 35
_FEWEST_IMAGES_TO_MIX = 300


@dataclass(frozen=True, slots=True)
class Recipe:
    """The values proposed by `init`.

    Attributes:
        target_size: (height, width) in pixels.
        batch_size: Images per batch.
        blocks: (filters, convolutions) of each block; pooling follows the first convolution.
        dropout: Dropout rate before the output layer.
        cutmix: Whether to apply CutMix to half of the images.
        warmup_epochs: Number of warm-up epochs of the learning rate.
        minutes: Time budget for training.
    """

    target_size: tuple[int, int]
    batch_size: int
    blocks: tuple[tuple[int, int], ...]
    dropout: float
    cutmix: bool
    warmup_epochs: int
    minutes: float


def choose_recipe(images: int, size: tuple[int, int], *, gray: bool, minutes: float) -> Recipe:
    """Return the recipe for a set of training images.

    Args:
        images: Number of training images, 1 or more.
        size: Their (height, width) in pixels, which determines the aspect ratio.
        gray: Whether they are grayscale.
        minutes: Time budget for training, > 0.
    """
    cores = min(available_cores(), _MOST_CORES)
    passes_at_common_side = 60 * minutes * cores * _IMAGES_PER_SECOND_AND_CORE / images
    side = _COMMON_SIDE * (passes_at_common_side / _COMMON_PASSES) ** 0.25
    target = _fit(size, side)
    passes = passes_at_common_side * _COMMON_SIDE**2 / (target[0] * target[1])
    return Recipe(
        target_size=target,
        batch_size=32 if images >= 500 else 16,
        blocks=_blocks(min(target)),
        dropout=0.2,
        cutmix=not gray and images >= _FEWEST_IMAGES_TO_MIX and passes >= _FEWEST_PASSES_TO_MIX,
        warmup_epochs=3 if passes >= 30 else 1,
        minutes=minutes,
    )


def _fit(size: tuple[int, int], side: float) -> tuple[int, int]:
    """Return (height, width) with about side² pixels and the aspect ratio of `size`, not larger than `size`."""
    height, width = size
    scale = min(1.0, side / (height * width) ** 0.5, LARGEST_SIDE / max(size))
    if scale == 1:
        return max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)
    # Multiples of 16, which pooling can halve four times; small images lose fewer pixels with smaller multiples.
    step = 16 if side >= 64 else 8
    return tuple(max(step * round(length * scale / step), SMALLEST_SIDE) for length in size)


def _blocks(side: int) -> tuple[tuple[int, int], ...]:
    """Return (filters, convolutions) of as many blocks as fit the shorter side, widest last."""
    count = 0
    while count < len(_FILTERS) and side // 2 >= _SMALLEST_POOLED_SIDE:
        side, count = side // 2, count + 1
    filters = _FILTERS[len(_FILTERS) - count :]
    return tuple(
        (width, 2 if position >= count - _DOUBLE_BLOCKS else 1) for position, width in enumerate(filters)
    )
