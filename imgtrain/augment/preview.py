"""Draw training images next to their augmented versions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from imgtrain.pixels.fonts import fit_text, load_font, shorten

__all__ = ["Versions", "as_picture", "describe_label", "preview_images", "preview_sheet"]

_LARGEST_CELL = 256  # pixels of the longer side; larger images are scaled down
_SMALLEST_CELL = 96  # smaller images are enlarged to about this
_MOST_SHEET_PIXELS = 64_000_000
_GAP = 8
_LINE = 24
_PAPER, _INK, _FAINT = "white", "#1a1a1a", "#707070"
_NAME_CHARACTERS = 24  # of up to four bytes, twice in a file name, which may have 255 bytes


@dataclass(frozen=True, slots=True, eq=False)
class Versions:
    """An image and its augmented versions.

    Attributes:
        class_name: Its class.
        path: Relative to the split's folder.
        pixels: The original, followed by the version of each epoch, shape (1 + epochs, height, width, channels).
        labels: Of each of them, as `describe_label` returns it; empty if images are not mixed.
    """

    class_name: str
    path: str
    pixels: NDArray[np.uint8]
    labels: tuple[tuple[str, ...], ...] = ()


def describe_label(shares: NDArray[np.float32], class_names: Sequence[str]) -> tuple[str, ...]:
    """Return a label in words, largest share first: `cats 63 %`, `dogs 37 %`; a single class without percentage.

    Args:
        shares: Share of each class, shape (classes,); shares that round to 0 % are omitted.
        class_names: In label order.
    """
    percent = np.rint(100 * shares).astype(int)
    mixed = [label for label in np.argsort(-percent, kind="stable").tolist() if percent[label]]
    if len(mixed) == 1:
        return (class_names[mixed[0]],)
    return tuple(f"{class_names[label]} {percent[label]} %" for label in mixed)


def preview_images(
    versions: Iterable[Versions], *, originals: bool = True
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield (file name, pixels of shape (height, width, channels)) of every version, with or without the originals.

    The names end in `.png`, are unique, sort in the order of the sheet, and are valid on any file system.
    """
    for number, image in enumerate(versions, start=1):
        class_name = _file_name_part(image.class_name)
        stem = _file_name_part(PurePosixPath(image.path).stem)
        for epoch, pixels in enumerate(image.pixels):
            if epoch == 0 and not originals:
                continue
            what = f"epoch-{epoch:03d}" if epoch else "0-original"
            yield f"{number:04d}-{class_name}-{stem}-{what}.png", pixels


def preview_sheet(versions: Iterable[Versions]) -> Image.Image:
    """Draw one row per image with its class and file name, starting with the original.

    For mixed images, the label of each version is written below it, one line per class.

    Args:
        versions: At least one image; all with the same shape and number of epochs.

    Returns:
        An RGB image.
    """
    lines = list(versions)
    columns, height, width, _ = lines[0].pixels.shape
    label_lines = max((len(label) for image in lines for label in image.labels), default=0)
    texts = _LINE * (1 + label_lines)
    cell_width, cell_height = _cell_size(width, height, columns=columns, lines=len(lines), texts=texts)
    font = load_font()
    step_x, step_y = cell_width + _GAP, texts + cell_height + _GAP
    sheet = Image.new("RGB", (_GAP + columns * step_x, _GAP + _LINE + len(lines) * step_y), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column in range(columns):
        title = f"epoch {column}" if column else "original"
        pen.text((_GAP + column * step_x, _GAP), fit_text(title, cell_width, font), _INK, font)
    for line, image in enumerate(lines):
        top = _GAP + _LINE + line * step_y
        room = sheet.width - 2 * _GAP
        class_name = fit_text(image.class_name, room // 2, font)
        pen.text((_GAP, top), class_name, _INK, font)
        taken = math.ceil(font.getlength(class_name + "  "))
        file_name = image.path.removeprefix(f"{image.class_name}/")
        pen.text((_GAP + taken, top), fit_text(file_name, room - taken, font), _FAINT, font)
        for column, pixels in enumerate(image.pixels):
            # Nearest-neighbor scaling shows exactly the network's input.
            enlarged = cell_width > width
            picture = _on_paper(as_picture(pixels)).resize(
                (cell_width, cell_height), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
            )
            sheet.paste(picture, (_GAP + column * step_x, top + _LINE))
        for column, label in enumerate(image.labels):
            for below, text in enumerate(label, start=1):
                corner = (_GAP + column * step_x, top + _LINE * below + cell_height)
                pen.text(corner, fit_text(text, cell_width, font), _INK, font)
    return sheet


def _cell_size(width: int, height: int, *, columns: int, lines: int, texts: int) -> tuple[int, int]:
    """Return (width, height) in pixels to draw each image at, limited so that the sheet can be opened."""
    longer = max(width, height)
    for side in range(_LARGEST_CELL, 0, -1):
        scale: float = side / longer
        if scale >= 1:
            scale = min(math.floor(scale), math.ceil(_SMALLEST_CELL / longer))
        cell = max(1, round(width * scale)), max(1, round(height * scale))
        if columns * (cell[0] + _GAP) * lines * (cell[1] + texts + _GAP) <= _MOST_SHEET_PIXELS:
            break
    return cell


def as_picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return pixels, shape (height, width, channels), as a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _on_paper(picture: Image.Image) -> Image.Image:
    """Return the image in RGB on the background color."""
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, _PAPER), picture)
    return picture.convert("RGB")


def _file_name_part(text: str) -> str:
    """Keep letters, digits, dots and dashes."""
    return shorten(re.sub(r"[^\w.-]+", "_", text.encode("utf-8", "replace").decode()), _NAME_CHARACTERS)
