"""The report's wiring: facts from the directory, pictures from the images, Grad-CAM from the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgtrain.augment.preview import make_versions, preview_sheet
from imgtrain.config.load import load_config
from imgtrain.config.schema import Config
from imgtrain.dataset.split import Split, split_data
from imgtrain.errors import ImgtrainError
from imgtrain.evaluation.gradcam import grad_cam
from imgtrain.evaluation.metrics import Predictions
from imgtrain.events import Emit, Message, ignore
from imgtrain.model.archive import load_model
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.load_images import SplitImages
from imgtrain.pixels.prefetch import prefetch
from imgtrain.report.facts import Facts, load_facts
from imgtrain.report.gallery import Gallery, choose_images
from imgtrain.report.page import Pictures, render_page
from imgtrain.run.run_directory import RunDirectory, write_text

__all__ = ["ReadPixels", "draw_augmentation", "pixels_of", "try_report", "write_report"]

ReadPixels = Callable[[Sequence[int]], dict[int, NDArray[np.uint8]]]
"""From rows of the predictions to the pixels (height, width, channels) of those that are there."""

_SHEET_IMAGES = 4
_SHEET_EPOCHS = 6
_DECODED_AT_ONCE = 64


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
    if facts.config is None or facts.root is None:
        return _write(run, facts, None, None, None)
    config = load_config(run.config)
    try:
        sheet = draw_augmentation(config, split_data(config).train)
    except ImgtrainError as error:
        emit(Message(f"the report shows no augmentation: {error.problems[0].what}", "warning"))
        sheet = None
    try:
        model = load_model(run.path).model
    except ImgtrainError as error:
        emit(Message(f"the report shows no Grad-CAM: {error.problems[0].what}", "warning"))
        model = None
    read = _pixels_of_files(facts.root, facts.predictions, DecodeSettings.of(config.data), emit)
    return _write(run, facts, read, model, sheet)


def try_report(
    run: RunDirectory,
    part: SplitImages | None,
    model: Any,
    *,
    sheet: Callable[[], Image.Image | None] = lambda: None,
    emit: Emit = ignore,
) -> None:
    """Write `report.html` at the end of a run or evaluation, whose files are all written.

    Whatever goes wrong here is a warning: the run is done, and the report can be made again.

    Args:
        run: The directory.
        part: The images that were evaluated.
        model: Takes raw pixels.
        sheet: Draws the contact sheet of the augmentation.
        emit: Takes the warning.
    """
    try:
        root = None if part is None else part.split.folder.root
        read = None if part is None else pixels_of(part)
        _write(run, load_facts(run.path, root=root), read, model, sheet())
    except Exception as error:
        what = f"{run.report.name} could not be written ({type(error).__name__}: {error})"
        emit(Message(f"{what}; everything else is; `imgtrain report` tries again", "warning"))


def draw_augmentation(config: Config, train: Split) -> Image.Image | None:
    """Return a small contact sheet of what the training does to its images; None if it does nothing."""
    if config.augmentation.changes_nothing:
        return None
    versions = make_versions(
        train,
        DecodeSettings.of(config.data),
        config.augmentation,
        seed=config.training.seed,
        images=_SHEET_IMAGES,
        epochs=_SHEET_EPOCHS,
    )
    return preview_sheet(versions)


def pixels_of(part: SplitImages) -> ReadPixels:
    """Return the reader of a split whose pixels are open."""

    def read(rows: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
        pixels = part.pixels.read(part.split.indices[np.asarray(rows, np.intp)])
        return dict(zip(rows, pixels, strict=True))

    return read


def _pixels_of_files(
    root: Path, predictions: Predictions | None, settings: DecodeSettings, emit: Emit
) -> ReadPixels:
    """Return the reader of a split whose files are decoded again, as far as they are still there."""

    def read(rows: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
        assert predictions is not None  # nobody asks for pictures without them
        paths = [str(root / predictions.paths[row]) for row in rows]
        found: dict[int, NDArray[np.uint8]] = {}
        waiting = iter(rows)
        with closing(prefetch(paths, settings, batch_size=_DECODED_AT_ONCE)) as batches:
            for batch in batches:
                decoded = iter(batch.pixels)
                for position, row in zip(range(len(batch.paths)), waiting, strict=False):
                    if position not in batch.reasons:
                        found[row] = next(decoded)
        if missing := len(rows) - len(found):
            emit(Message(f"the report lacks {missing} images that are no longer in {root}", "warning"))
        return found

    return read


def _write(
    run: RunDirectory, facts: Facts, read: ReadPixels | None, model: Any, sheet: Image.Image | None
) -> Path:
    pictures = None
    if facts.predictions is not None and read is not None:
        gallery = choose_images(facts.predictions)
        pixels = read(gallery.rows())
        heat = {} if model is None else _explain(model, facts.predictions, gallery, pixels)
        pictures = Pictures(gallery, pixels, heat, sheet)
    write_text(run.report, render_page(facts, pictures))
    return run.report


def _explain(
    model: Any, predictions: Predictions, gallery: Gallery, pixels: dict[int, NDArray[np.uint8]]
) -> dict[int, NDArray[np.float32]]:
    rows = [row for row in gallery.explained() if row in pixels]
    if not rows:
        return {}
    maps = grad_cam(model, np.stack([pixels[row] for row in rows]), predictions.predicted[rows])
    return {} if maps is None else dict(zip(rows, maps, strict=True))
