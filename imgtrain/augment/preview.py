"""What the augmentation does, for people to look at: originals beside what training makes of them.

The parameters and the warp are those of training: version j of an image is what epoch j trains on. Only the images
that are shown are decoded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from imgtrain.augment.apply import augment_batch
from imgtrain.augment.random_streams import Stream, make_generator
from imgtrain.augment.sample import sample_params
from imgtrain.errors import ConfigError, DataError, Problem, RunFileError
from imgtrain.events import Emit, Message, ignore
from imgtrain.pixels.decode import DecodeSettings, UndecodableImage
from imgtrain.pixels.decode_workers import decode_in_worker
from imgtrain.pixels.fonts import fit_text, load_font, shorten

if TYPE_CHECKING:
    from imgtrain.config.schema import AugmentationConfig, Config
    from imgtrain.dataset.split import Split

__all__ = ["Versions", "make_versions", "preview_images", "preview_sheet", "write_preview"]

_LARGEST_CELL = 256  # pixels of the longer side; larger images are scaled down
_SMALLEST_CELL = 96  # smaller images are enlarged to about this
_MOST_SHEET_PIXELS = 64_000_000
_GAP = 8
_LINE = 24
_PAPER, _INK, _FAINT = "white", "#1a1a1a", "#707070"
_NAME_CHARACTERS = 24  # of up to four bytes, twice in a file name, which may have 255 bytes


@dataclass(frozen=True, slots=True, eq=False)
class Versions:
    """One image, and what becomes of it in training.

    Attributes:
        class_name: Its class.
        path: Relative to the split's folder.
        pixels: The original, then the version of each epoch, shape (1 + epochs, height, width, channels).
    """

    class_name: str
    path: str
    pixels: NDArray[np.uint8]


def write_preview(
    config: Config, *, output: Path | None, count: int, images: int, each: bool, emit: Emit = ignore
) -> Path:
    """Write the preview of a configuration's augmentation.

    Args:
        config: What `load_config` returned.
        output: The picture file or, with `each`, the folder; None for `preview-aug.png` or `preview-aug`.
        count: Augmented versions of each image.
        images: How many images.
        each: Write a PNG of every version instead of one sheet.
        emit: Takes a warning for every file that cannot be decoded.

    Returns:
        What was written.

    Raises:
        ConfigError: `output` has a suffix that is no picture's; or see `split_data`.
        DataError: No file can be decoded; or see `split_data`.
        RunFileError: `output` cannot be written.
    """
    from imgtrain.dataset.split import split_data

    output = output or Path("preview-aug" if each else "preview-aug.png")
    shown = str(output)
    if not each and Image.registered_extensions().get(output.suffix.lower()) not in Image.SAVE:
        raise ConfigError(Problem("--output", f"{shown} is not the name of a picture file", "end it in .png"))
    versions = make_versions(
        split_data(config).train,
        DecodeSettings.of(config.data),
        config.augmentation,
        seed=config.training.seed,
        images=images,
        epochs=count,
        emit=emit,
    )
    try:
        if each:
            output.mkdir(parents=True, exist_ok=True)
            for name, pixels in preview_images(versions):
                _as_picture(pixels).save(output / name)
        else:
            output.parent.mkdir(parents=True, exist_ok=True)
            preview_sheet(versions).save(output)
    except OSError as error:
        raise RunFileError(Problem(shown, f"cannot be written: {error.strerror or error}")) from error
    return output


def make_versions(
    split: Split,
    settings: DecodeSettings,
    augmentation: AugmentationConfig,
    *,
    seed: int,
    images: int,
    epochs: int,
    emit: Emit = ignore,
) -> Iterator[Versions]:
    """Choose some images, spread over the classes, and yield what the first epochs train on, in file order.

    Args:
        split: The training images.
        settings: How files become pixels.
        augmentation: What happens to the pixels.
        seed: The seed of the training; the choice of the images follows it too.
        images: How many images; all, if there are fewer.
        epochs: How many epochs.
        emit: Takes a warning for every file that cannot be decoded; another is chosen instead.

    Raises:
        DataError: No file can be decoded.
    """
    originals: dict[int, NDArray[np.uint8]] = {}
    unreadable = []
    for position in _spread_over_classes(split.labels, seed=seed):
        if len(originals) == images:
            break
        index = int(split.indices[position])
        file = split.folder.file(index)
        try:
            originals[index] = decode_in_worker(file, settings).pixels
        except UndecodableImage as error:
            unreadable.append(Problem(str(file), error.reason))
            emit(Message(str(unreadable[-1]), "warning"))
    if not originals:
        raise DataError(unreadable)
    for index, original in sorted(originals.items()):
        versions = np.repeat(original[None], 1 + epochs, axis=0)
        for epoch in range(epochs):
            params = sample_params(
                augmentation,
                seed=seed,
                epoch=epoch,
                stream_indices=np.array([index]),  # as in Batches
                height=settings.height,
                width=settings.width,
            )
            augment_batch(original[None], params, augmentation, out=versions[1 + epoch : 2 + epoch])
        yield Versions(split.class_names[split.folder.labels[index]], split.folder.paths[index], versions)


def preview_images(versions: Iterable[Versions]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield every picture by itself: (file name, pixels of shape (height, width, channels)).

    The names end in `.png`, differ, sort in the order of the sheet, and are safe on any file system.
    """
    for number, image in enumerate(versions, start=1):
        class_name = _file_name_part(image.class_name)
        stem = _file_name_part(PurePosixPath(image.path).stem)
        for epoch, pixels in enumerate(image.pixels):
            what = f"epoch-{epoch:03d}" if epoch else "0-original"
            yield f"{number:04d}-{class_name}-{stem}-{what}.png", pixels


def preview_sheet(versions: Iterable[Versions]) -> Image.Image:
    """Draw a line of pictures for each image under its class and file name, the original at the left.

    Args:
        versions: At least one image; all of the same shape and with as many epochs.

    Returns:
        An RGB picture.
    """
    lines = list(versions)
    columns, height, width, _ = lines[0].pixels.shape
    cell_width, cell_height = _cell_size(width, height, columns=columns, lines=len(lines))
    font = load_font()
    step_x, step_y = cell_width + _GAP, _LINE + cell_height + _GAP
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
            # Enlarged pixels stay sharp squares, so that people see what the network sees.
            enlarged = cell_width > width
            picture = _on_paper(_as_picture(pixels)).resize(
                (cell_width, cell_height), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
            )
            sheet.paste(picture, (_GAP + column * step_x, top + _LINE))
    return sheet


def _spread_over_classes(labels: NDArray[np.int32], *, seed: int) -> Iterator[int]:
    """Yield the positions of all images in random order, such that the classes take turns."""
    generator = make_generator(Stream.PREVIEW, seed=seed, epoch=0)
    shuffled = generator.permutation(len(labels))
    ranks = generator.permutation(int(labels.max()) + 1)[labels[shuffled]]
    counts = np.bincount(ranks)
    by_class = np.argsort(ranks, kind="stable")
    turns = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    yield from map(int, shuffled[by_class[np.argsort(turns, kind="stable")]])


def _cell_size(width: int, height: int, *, columns: int, lines: int) -> tuple[int, int]:
    """Return (width, height) in pixels at which each image is drawn, such that the sheet can still be opened."""
    longer = max(width, height)
    for side in range(_LARGEST_CELL, 0, -1):
        scale: float = side / longer
        if scale >= 1:
            scale = min(math.floor(scale), math.ceil(_SMALLEST_CELL / longer))
        cell = max(1, round(width * scale)), max(1, round(height * scale))
        if columns * (cell[0] + _GAP) * lines * (cell[1] + _LINE + _GAP) <= _MOST_SHEET_PIXELS:
            break
    return cell


def _as_picture(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _on_paper(picture: Image.Image) -> Image.Image:
    """Return the picture in RGB, with the paper shining through where it is transparent."""
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, _PAPER), picture)
    return picture.convert("RGB")


def _file_name_part(text: str) -> str:
    """Keep letters, digits, dots and dashes."""
    return shorten(re.sub(r"[^\w.-]+", "_", text.encode("utf-8", "replace").decode()), _NAME_CHARACTERS)
