"""`imgtrain preview-aug`: write sample images of the augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from imgtrain.augment.preview import Versions, as_picture, preview_images, preview_sheet
from imgtrain.batches.versions import make_versions
from imgtrain.config.schema import Config
from imgtrain.dataset.holdout import draw_validation
from imgtrain.dataset.image_size import with_target_size
from imgtrain.dataset.index import index_folder, make_image_folder
from imgtrain.dataset.layout import find_folder_problem, format_names
from imgtrain.dataset.split import Split, split_data
from imgtrain.dataset.walk import list_folder
from imgtrain.errors import ConfigError, DataError, Problem, RunFileError, did_you_mean
from imgtrain.events import Emit, Message, ignore

__all__ = ["draw_preview", "write_preview"]

_IMAGES = 6


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
    config: Config,
    *,
    output: Path | None,
    count: int,
    images: int | None = None,
    each: bool,
    class_name: str | None = None,
    folder: Path | None = None,
    originals: bool = True,
    emit: Emit = ignore,
) -> Path:
    """Write the preview of a configuration's augmentation.

    Args:
        config: A configuration, as returned by `load_config`.
        output: The image file or, with `each`, the folder; None for `preview-aug.png` or `preview-aug`.
        count: Number of augmented versions per image.
        images: Number of images; None for 6, or with `each` and `class_name` or `folder`, all.
        each: Write one PNG file per version instead of a contact sheet.
        class_name: Only use images of this class.
        folder: Images to use instead of the training images: a folder of class folders, or of images of one class.
        originals: With `each`, whether to write the image without augmentation, too.
        emit: Called with a warning for every file that cannot be decoded.

    Returns:
        The path of the file or folder written.

    Raises:
        ConfigError: The suffix of `output` is not a supported image format, or the class is unknown; or see
            `split_data`.
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
    if images is None and not (each and (class_name or folder)):
        images = _IMAGES
    versions = _make_versions(
        config, count=count, images=images, class_name=class_name, folder=folder, emit=emit
    )
    try:
        if each:
            output.mkdir(parents=True, exist_ok=True)
            for name, pixels in preview_images(versions, originals=originals):
                as_picture(pixels).save(output / name)
        else:
            output.parent.mkdir(parents=True, exist_ok=True)
            preview_sheet(versions).save(output)
    except OSError as error:
        raise RunFileError(Problem(output, f"cannot be written: {error.strerror or error}")) from error
    return output


def _make_versions(
    config: Config,
    *,
    count: int,
    images: int | None,
    class_name: str | None = None,
    folder: Path | None = None,
    emit: Emit,
) -> Iterator[Versions]:
    if folder is None:
        splits = split_data(config)
        train = draw_validation(splits).train
        config = with_target_size(config, splits.train)
    else:
        train = _index_given(config, folder)
        config = with_target_size(config, train)
    if class_name is not None or len(train.class_names) == 1:
        config = _without_mixing(config, emit)
    if class_name is not None:
        train = _of_class(train, class_name)
    return make_versions(
        config, train, images=len(train) if images is None else images, epochs=count, emit=emit
    )


def _index_given(config: Config, folder: Path) -> Split:
    """Return the images of a folder of class folders or, without subfolders, of one class named like the folder."""
    folder = folder.absolute()
    if reason := find_folder_problem(folder):
        raise DataError(Problem("--data", *reason))
    top = list_folder(folder)
    if top.images and not top.folders:
        index = make_image_folder(folder, (folder.name,), [(0, image) for image in top.images], top.strays)
    else:
        data = config.data
        index = index_folder(folder, nested=data.nested, follow_links=data.follow_links, where="--data")
    return Split("train", index, np.arange(len(index), dtype=np.intp))


def _of_class(train: Split, class_name: str) -> Split:
    if class_name not in train.class_names:
        hint = f"{did_you_mean(class_name, train.class_names)} The classes are {format_names(train.class_names, 20)}"
        raise ConfigError(Problem("--class", f"{class_name!r} is not one of the classes", hint.lstrip()))
    return train.without(train.indices[train.labels != train.class_names.index(class_name)])


def _without_mixing(config: Config, emit: Emit) -> Config:
    """Return the configuration without MixUp and CutMix, whose images would also show other classes."""
    if not config.augmentation.mixes:
        return config
    emit(Message("mixup and cutmix are left out: mixed images belong to several classes"))
    augmentation = config.augmentation.model_copy(update={"mixup": None, "cutmix": None})
    return config.model_copy(update={"augmentation": augmentation})
