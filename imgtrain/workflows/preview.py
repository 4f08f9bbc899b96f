"""`imgtrain preview-aug`: write sample images of the augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from imgtrain.augment.preview import Versions, as_picture, preview_images, preview_sheet
from imgtrain.batches.versions import make_versions
from imgtrain.config.schema import Config
from imgtrain.dataset.holdout import draw_validation
from imgtrain.dataset.image_size import with_target_size
from imgtrain.dataset.split import split_data
from imgtrain.errors import ConfigError, Problem, RunFileError
from imgtrain.events import Emit, ignore

__all__ = ["draw_preview", "write_preview"]


def draw_preview(config: Config, *, count: int, images: int, emit: Emit = ignore) -> Image.Image:
    """Return a contact sheet of a configuration's augmentation.

    Args:
        config: A configuration, as returned by `load_config`.
        count: Number of augmented versions per image.
        images: Number of images.
        emit: Called with a warning for every file that cannot be decoded.

    Raises:
        ConfigError: See `split_data`.
        DataError: None of the files can be decoded; or see `split_data`.
    """
    return preview_sheet(_make_versions(config, count=count, images=images, emit=emit))


def write_preview(
    config: Config, *, output: Path | None, count: int, images: int, each: bool, emit: Emit = ignore
) -> Path:
    """Write the preview of a configuration's augmentation.

    Args:
        config: A configuration, as returned by `load_config`.
        output: The image file or, with `each`, the folder; None for `preview-aug.png` or `preview-aug`.
        count: Number of augmented versions per image.
        images: Number of images.
        each: Write one PNG file per version instead of a contact sheet.
        emit: Called with a warning for every file that cannot be decoded.

    Returns:
        The path of the file or folder written.

    Raises:
        ConfigError: The suffix of `output` is not a supported image format; or see `split_data`.
        DataError: None of the files can be decoded; or see `split_data`.
        RunFileError: `output` cannot be written.
    """
    output = output or Path("preview-aug" if each else "preview-aug.png")
    if not each and Image.registered_extensions().get(output.suffix.lower()) not in Image.SAVE:
        raise ConfigError(
            Problem(
                "--output",
                f"{output} is not a supported image file name",
                "use a file name that ends in .png",
            )
        )
    versions = _make_versions(config, count=count, images=images, emit=emit)
    try:
        if each:
            output.mkdir(parents=True, exist_ok=True)
            for name, pixels in preview_images(versions):
                as_picture(pixels).save(output / name)
        else:
            output.parent.mkdir(parents=True, exist_ok=True)
            preview_sheet(versions).save(output)
    except OSError as error:
        raise RunFileError(Problem(output, f"cannot be written: {error.strerror or error}")) from error
    return output


def _make_versions(config: Config, *, count: int, images: int, emit: Emit) -> Iterator[Versions]:
    splits = split_data(config)
    config = with_target_size(config, splits.train)
    train = draw_validation(splits).train
    return make_versions(config, train, images=images, epochs=count, emit=emit)
