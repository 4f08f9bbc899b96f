"""The pixels that the report shows: of images that are open, of files that are read again, of the augmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgtrain.augment.preview import preview_sheet
from imgtrain.batches.versions import make_versions
from imgtrain.config.schema import Config
from imgtrain.dataset.split import Split
from imgtrain.events import Emit, Message, ignore
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.load_images import SplitImages
from imgtrain.pixels.prefetch import prefetch

__all__ = ["ReadPixels", "draw_augmentation", "pixels_of_files", "pixels_of_split"]

ReadPixels = Callable[[Sequence[int]], dict[int, NDArray[np.uint8]]]
"""From rows of the predictions to the pixels (height, width, channels) of those that are there."""

_SHEET_IMAGES = 4
_SHEET_EPOCHS = 6
_DECODED_AT_ONCE = 64


def pixels_of_split(part: SplitImages) -> ReadPixels:
    """Return the reader of a split whose pixels are open."""

    def read(rows: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
        pixels = part.pixels.read(part.split.indices[np.asarray(rows, np.intp)])
        return dict(zip(rows, pixels, strict=True))

    return read


def pixels_of_files(
    root: Path, paths: Sequence[str], settings: DecodeSettings, emit: Emit = ignore
) -> ReadPixels:
    """Return the reader of a split whose files are decoded again, if they still exist.

    Args:
        root: The folder of the images.
        paths: Relative path of every image, in the order of the predictions.
        settings: How images are decoded.
        emit: Called with a warning that counts the missing images.
    """

    def read(rows: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
        found: dict[int, NDArray[np.uint8]] = {}
        waiting = iter(rows)
        files = [str(root / paths[row]) for row in rows]
        with closing(prefetch(files, settings, batch_size=_DECODED_AT_ONCE)) as batches:
            for batch in batches:
                decoded = iter(batch.pixels)
                for position, row in zip(range(len(batch.paths)), waiting, strict=False):
                    if position not in batch.reasons:
                        found[row] = next(decoded)
        if missing := len(rows) - len(found):
            emit(Message(f"the report lacks {missing} images that are no longer in {root}", "warning"))
        return found

    return read


def draw_augmentation(config: Config, train: Split) -> Image.Image | None:
    """Return a small contact sheet of what the training does to its images; None if it does nothing."""
    if config.augmentation.changes_nothing:
        return None
    return preview_sheet(make_versions(config, train, images=_SHEET_IMAGES, epochs=_SHEET_EPOCHS))
