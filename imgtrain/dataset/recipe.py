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
# Minimum side that larger images are shrunk to: below it, the blocks are fewer and wider, which takes as long.
_SHRUNK_SIDE = 64
_FILTERS = (16, 32, 64, 128, 256)
# Minimum side of the last feature map.
_SMALLEST_POOLED_SIDE = 2
# Blocks with two convolutions, counted from the last; a second one in the last block costs more than it gains.
_DOUBLE_BLOCKS = (3, 2)
# (minimum number of images, batch size): larger batches are faster, but few images need many updates.
_BATCH_SIZES = ((1000, 64), (300, 32), (0, 16))
# Approximately proportional to the square root of the batch size.
_LEARNING_RATES = {16: 0.002, 32: 0.003, 64: 0.004}
# Mixing images helps in long training on photos, but reduced accuracy on small sets of medical grayscale images.
_FEWEST_PASSES_TO_MIX = 35
_FEWEST_IMAGES_TO_MIX = 300


@dataclass(frozen=True, slots=True)
class Recipe:
    """The values proposed by `init`.

    Attributes:
        target_size: (height, width) in pixels.
        batch_size: Images per batch.
        learning_rate: Maximum learning rate.
        blocks: (filters, convolutions) of each block; pooling follows the first convolution.
        dropout: Dropout rate before the output layer.
        cutmix: Whether to apply CutMix to half of the images.
        minutes: Time budget for training.
    """

    target_size: tuple[int, int]
    batch_size: int
    learning_rate: float
    blocks: tuple[tuple[int, int], ...]
    dropout: float
    cutmix: bool
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
    side = max(_COMMON_SIDE * (passes_at_common_side / _COMMON_PASSES) ** 0.25, _SHRUNK_SIDE)
    target = _fit(size, side)
    passes = passes_at_common_side * _COMMON_SIDE**2 / (target[0] * target[1])
    batch_size = next(size for fewest, size in _BATCH_SIZES if images >= fewest)
    return Recipe(
        target_size=target,
        batch_size=batch_size,
        learning_rate=_LEARNING_RATES[batch_size],
        blocks=_blocks(min(target)),
        dropout=0.2,
        cutmix=not gray and images >= _FEWEST_IMAGES_TO_MIX and passes >= _FEWEST_PASSES_TO_MIX,
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
        (width, 2 if count - position in _DOUBLE_BLOCKS else 1) for position, width in enumerate(filters)
    )
