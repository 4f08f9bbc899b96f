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
    """Write `report.html` of a finished run, or of an evaluation's output, again.

    Args:
        directory: The run directory.
        emit: Takes a warning for what can no longer be shown, such as images that have gone.

    Returns:
        The page.

    Raises:
        RunFileError: The directory holds no scores, or a file in it is damaged.
    """
    run = RunDirectory(Path(directory))
    facts = load_facts(run.path)
    if facts.config is None or facts.root is None or facts.predictions is None:
        return _write(facts, None, None, None)
    config = load_config(run.config)
    try:
        sheet = draw_augmentation(config, _trained_on(split_data(config).train, facts.data))
    except ImgtrainError as error:
        emit(Message(f"the report shows no augmentation: {error.problems[0].what}", "warning"))
        sheet = None
    try:
        # Only here does TensorFlow start.
        from imgtrain.model.archive import load_model

        model = load_model(run.path).model
    except ImgtrainError as error:
        emit(Message(f"the report shows no Grad-CAM: {error.problems[0].what}", "warning"))
        model = None
    read = pixels_of_files(facts.root, facts.predictions.paths, DecodeSettings.of(config.data), emit)
    return _write(facts, read, model, sheet)


def _trained_on(train: Split, data: Mapping[str, Any] | None) -> Split:
    """Return the images that `data.json` names as training images; all, if it names none that is still there."""
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
    """Write `report.html` at the end of a training or evaluation, whose files are all written.

    Whatever goes wrong here is a warning: the run is done, and the report can be made again.

    Args:
        facts: What the page says.
        part: The images that were evaluated.
        model: Takes raw pixels.
        sheet: Draws the contact sheet of the augmentation.
        emit: Takes the warning.
    """
    try:
        _write(facts, pixels_of_split(part), model, sheet())
    except Exception as error:
        what = f"report.html could not be written ({type(error).__name__}: {error})"
        emit(Message(f"{what}; everything else is; `imgtrain report` tries again", "warning"))


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
