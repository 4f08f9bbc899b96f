"""What to train on a folder of images in a given time: image size, network and augmentation, chosen together.

Plain normalized convolutions with a planned schedule. docs/decisions/0040-recipe.md has the measurements behind it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["Recipe", "choose_recipe"]

SMALLEST_SIDE, LARGEST_SIDE = 32, 224
# Blocks of this network train about so many images a second at 96×96 on one core with bfloat16. Only the image size
# depends on it: the number of epochs is planned from the time of the first steps.
_IMAGES_PER_SECOND_AND_CORE = 300
_MOST_CORES = 64
_COMMON_SIDE = 96
# Passes over the images at which 96×96 is the size; twice the time goes half into passes, half into pixels.
_COMMON_PASSES = 45
_FILTERS = (16, 32, 64, 128, 256)
# Pooling stops at this side: below it, a 3×3 filter sees little but padding.
_SMALLEST_POOLED_SIDE = 3
# Blocks, from the end, that have two convolutions.
_DOUBLE_BLOCKS = 3
# Mixing images pays off in long training on photos; it cost accuracy on small sets of medical greyscale images.
_FEWEST_PASSES_TO_MIX = 35
_FEWEST_IMAGES_TO_MIX = 300


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `init` writes.

    Attributes:
        target_size: Height and width in pixels.
        batch_size: Images in a batch.
        blocks: (filters, convolutions) of each block; pooling follows the first convolution.
        dropout: Rate before the output layer.
        cutmix: Whether half of the images are mixed by CutMix.
        warmup_epochs: Epochs over which the learning rate rises.
        minutes: Time budget for training.
    """

    target_size: tuple[int, int]
    batch_size: int
    blocks: tuple[tuple[int, int], ...]
    dropout: float
    cutmix: bool
    warmup_epochs: int
    minutes: float


def choose_recipe(images: int, size: tuple[int, int], *, grey: bool, minutes: float) -> Recipe:
    """Return the recipe for a set of training images.

    Args:
        images: Number of training images, 1 or more.
        size: Their height and width in pixels, at the aspect ratio to train in.
        grey: Whether they have no colour.
        minutes: Time budget for training, above 0.
    """
    cores = min(os.cpu_count() or 1, _MOST_CORES)
    passes_at_common_side = 60 * minutes * cores * _IMAGES_PER_SECOND_AND_CORE / images
    side = _COMMON_SIDE * (passes_at_common_side / _COMMON_PASSES) ** 0.25
    target = _fit(size, side)
    passes = passes_at_common_side * _COMMON_SIDE**2 / (target[0] * target[1])
    return Recipe(
        target_size=target,
        batch_size=32 if images >= 500 else 16,
        blocks=_blocks(min(target)),
        dropout=0.2,
        cutmix=not grey and images >= _FEWEST_IMAGES_TO_MIX and passes >= _FEWEST_PASSES_TO_MIX,
        warmup_epochs=3 if passes >= 30 else 1,
        minutes=minutes,
    )


def _fit(size: tuple[int, int], side: float) -> tuple[int, int]:
    """Return height and width of about side × side pixels at the aspect ratio of `size`, and not above it."""
    height, width = size
    scale = min(1.0, side / (height * width) ** 0.5, LARGEST_SIDE / max(size))
    if scale == 1:
        return max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)
    # Multiples of 16 halve four times without a rest; small images keep more of what they have.
    step = 16 if side >= 64 else 8
    return tuple(max(step * round(length * scale / step), SMALLEST_SIDE) for length in size)


def _blocks(side: int) -> tuple[tuple[int, int], ...]:
    """Return (filters, convolutions) of the blocks that the shorter side leaves room for, the widest last."""
    count = 0
    while count < len(_FILTERS) and side // 2 >= _SMALLEST_POOLED_SIDE:
        side, count = side // 2, count + 1
    filters = _FILTERS[len(_FILTERS) - count :]
    return tuple((width, 2 if place >= count - _DOUBLE_BLOCKS else 1) for place, width in enumerate(filters))
