"""`imgtrain report`, and the report at the end of a training or an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgtrain.config.load import load_config
from imgtrain.dataset.split import Split, split_data
from imgtrain.errors import ImgtrainError
from imgtrain.evaluation.predictions import Predictions
from imgtrain.events import Emit, Message, ignore
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.load_images import SplitImages
from imgtrain.report.facts import Facts, load_facts
from imgtrain.report.gallery import Gallery, choose_images
from imgtrain.report.images import ReadPixels, draw_augmentation, pixels_of_files, pixels_of_split
from imgtrain.run.run_directory import RunDirectory, write_text

__all__ = ["try_report", "write_report"]


def write_report(directory: Path | str, *, emit: Emit = ignore) -> Path:
    """Write `report.html` of a finished run or evaluation again.

    Args:
        directory: A run directory, or the output folder of an evaluation.
        emit: Called with a warning for content that is unavailable, such as deleted images.

    Returns:
        The path of the report.

    Raises:
        RunFileError: The directory does not contain scores, or a file in it is damaged.
    """
    run = RunDirectory(Path(directory))
    facts = load_facts(run.path)
    if facts.config is None or facts.root is None or facts.predictions is None:
        return _write(facts, None, None, None)
    config = load_config(run.config)
    try:
        sheet = draw_augmentation(config, _trained_on(split_data(config).train, facts.data))
    except ImgtrainError as error:
        emit(Message(f"the report does not show the augmentation: {error.problems[0].what}", "warning"))
        sheet = None
    try:
        # TensorFlow is imported from here on.
        from imgtrain.model.archive import load_model

        model = load_model(run.path).model
    except ImgtrainError as error:
        emit(Message(f"the report does not show Grad-CAM: {error.problems[0].what}", "warning"))
        model = None
    read = pixels_of_files(facts.root, facts.predictions.paths, DecodeSettings.of(config.data), emit)
    return _write(facts, read, model, sheet)


def _trained_on(train: Split, data: Mapping[str, Any] | None) -> Split:
    """Return the training images listed in `data.json`; all images if none of those listed exists."""
    try:
        named = {image["path"] for image in (data or {})["splits"]["train"]["images"]}
    except (KeyError, TypeError):
        return train
    known = train.without([index for index in train.indices if train.folder.paths[index] not in named])
    return known if len(known) else train


def try_report(
    facts: Facts,
    part: SplitImages,
    model: Any,
    *,
    sheet: Callable[[], Image.Image | None] = lambda: None,
    emit: Emit = ignore,
) -> None:
    """Write `report.html` at the end of a training or evaluation, after all other files.

    Errors only trigger a warning, because the report can be written again.

    Args:
        facts: Contents of the report.
        part: The evaluated images.
        model: A model whose inputs are raw pixels.
        sheet: Draws the contact sheet of the augmentation.
        emit: Called with the warning.
    """
    try:
        _write(facts, pixels_of_split(part), model, sheet())
    except Exception as error:
        what = f"report.html could not be written ({type(error).__name__}: {error})"
        emit(Message(f"{what}; all other files are saved. Retry with `imgtrain report`", "warning"))


def _write(facts: Facts, read: ReadPixels | None, model: Any, sheet: Image.Image | None) -> Path:
    from imgtrain.report.page import Pictures, render_page

    pictures = None
    if facts.predictions is not None and read is not None:
        gallery = choose_images(facts.predictions)
        pixels = read(gallery.rows())
        heat = {} if model is None else _explain(model, facts.predictions, gallery, pixels)
        pictures = Pictures(gallery, pixels, heat, sheet)
    page = RunDirectory(facts.directory).report
    write_text(page, render_page(facts, pictures))
    return page


def _explain(
    model: Any, predictions: Predictions, gallery: Gallery, pixels: dict[int, NDArray[np.uint8]]
) -> dict[int, NDArray[np.float32]]:
    from imgtrain.evaluation.gradcam import grad_cam

    rows = [row for row in gallery.explained() if row in pixels]
    if not rows:
        return {}
    maps = grad_cam(model, np.stack([pixels[row] for row in rows]), predictions.predicted[rows])
    return {} if maps is None else dict(zip(rows, maps, strict=True))
