"""The images to evaluate an exported model on, and to calibrate its quantization with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.config.load import load_config
from imgtrain.dataset.split import split_data
from imgtrain.errors import ConfigError, Problem
from imgtrain.evaluation.eval_inputs import EvalOptions, inputs_for_split, inputs_from_metadata
from imgtrain.evaluation.predict_folder import EvalModel, load_folder, load_for_evaluation
from imgtrain.events import Emit
from imgtrain.export.calibration import calibration_images
from imgtrain.model.archive import load_model
from imgtrain.pixels.load_images import Images, SplitImages, load_images
from imgtrain.run.model_metadata import ModelFile
from imgtrain.run.run_directory import RunDirectory

__all__ = ["ExportInputs", "load_export_inputs"]


@dataclass(frozen=True, slots=True, eq=False)
class ExportInputs:
    """The model to export and its images.

    Attributes:
        model: The Keras model, with what its outputs mean.
        part: The images to compare both models on.
        split: What they are called: `test`, `validation` or `evaluation`.
        calibration: For `int8`: raw pixels of training images; otherwise None.
    """

    model: EvalModel
    part: SplitImages
    split: str
    calibration: NDArray[np.uint8] | None


def load_export_inputs(
    file: ModelFile, options: EvalOptions, *, calibrate: bool, max_gib: float, emit: Emit
) -> ExportInputs:
    """Load a model, and the images to compare it on: `--data`, or the test or validation images of its run.

    Args:
        file: The Keras model.
        options: The user's options.
        calibrate: Whether training images are needed.
        max_gib: Maximum memory of the model.
        emit: Called with events.

    Raises:
        ConfigError: The images are unknown.
        DataError: The images are invalid.
        RunFileError: The model cannot be loaded.
    """
    run = RunDirectory(file.path.parent)
    config = run.config if run.run.exists() and run.config.exists() else options.config
    trained: Images | None = None
    if calibrate:
        if config is None:
            what = "--quantize int8 is calibrated on training images, which are unknown for this model"
            hint = "export the model in its run directory, or give the configuration: --config CONFIG"
            raise ConfigError(Problem(file.path, what, hint))
        trained = _load_trained(config, emit)
    calibration = None if trained is None else calibration_images(trained.train)

    metadata = file.metadata
    from_folder = options.folder is not None or options.config is not None
    if metadata is None:
        model = load_for_evaluation(file, None, options, max_gib=max_gib, emit=emit)
    elif from_folder or (metadata.test_folder is not None and Path(metadata.test_folder).is_dir()):
        inputs = inputs_from_metadata(metadata, options)
        model = load_for_evaluation(file, inputs, options, max_gib=max_gib, emit=emit)
    else:
        if config is None:
            raise ConfigError(Problem(file.path, "its test images are unknown", "give images: --data FOLDER"))
        trained = trained or _load_trained(config, emit)
        part = trained.test or trained.validation
        if part is None:
            hint = "give images: --data FOLDER"
            raise ConfigError(Problem(file.path, "was trained without validation and test images", hint))
        network: Any = load_model(file, max_gib=max_gib).model
        inputs = inputs_for_split(metadata, part.split, model=str(file.path))
        return ExportInputs(EvalModel(network, inputs), part, part.split.name, calibration)
    part = load_folder(model.inputs, model.inputs.leaked_pictures, emit=emit)
    return ExportInputs(model, part, "evaluation" if from_folder else "test", calibration)


def _load_trained(config: Path, emit: Emit) -> Images:
    loaded = load_config(config)
    return load_images(loaded, split_data(loaded), emit)
