"""`imgtrain evaluate`: score a saved model on a folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtrain.evaluation.score_names import describe_accuracy
from imgtrain.events import Emit, ignore
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE, MAX_MODEL_GIB
from imgtrain.run.model_metadata import find_model
from imgtrain.run.run_directory import RunDirectory, write_json, write_text
from imgtrain.text import printable

if TYPE_CHECKING:
    from imgtrain.evaluation.predictions import Predictions

__all__ = ["EvaluateResult", "evaluate"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EvaluateResult:
    """An evaluated model.

    Attributes:
        folder: The evaluated images.
        directory: The output folder; None if no files were written.
        predictions: Predictions for all images.
        metrics: The contents of `metrics.json`.
    """

    folder: Path
    directory: Path | None
    predictions: Predictions
    metrics: Mapping[str, Any]

    def __repr__(self) -> str:
        """Return a one-line summary."""
        headline = describe_accuracy(str(self.folder), self.metrics["evaluation"])
        return printable(f"<EvaluateResult: {headline}>")


def evaluate(
    model: Path | str,
    *,
    data: Path | str | None = None,
    output: Path | str | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    config: Path | str | None = None,
    rescale: str | float | None = None,
    classes: tuple[str, ...] | None = None,
    overwrite: bool = False,
    emit: Emit = ignore,
) -> EvaluateResult:
    """Score a saved model on a folder of images.

    Args:
        model: A `.keras` or `.h5` file, a run directory, or a model made by `imgtrain export`.
        data: One subfolder per class; default: the test folder that the model was trained with.
        output: A folder for `metrics.json`, `predictions.csv` and `report.html`.
        batch_size: Number of images per batch.
        max_model_gib: Maximum memory requirement of the model in GiB, checked before it is loaded.
        config: For models not saved by imgtrain: the configuration that defines how images are read.
        rescale: For models not saved by imgtrain: the scaling factor of the inputs.
        classes: For models not saved by imgtrain: class names in label order.
        overwrite: Replace an earlier evaluation in `output`.
        emit: Called with progress events.

    Raises:
        ConfigError: How to read the images is not specified, or specified twice.
        DataError: The images are invalid, or their folders do not match the model's classes.
        RunFileError: The model cannot be loaded, or the output already exists or cannot be written.
    """
    file = find_model(model)
    directory = None if output is None else RunDirectory(Path(output))
    if directory is not None:
        directory.raise_if_evaluated(overwrite=overwrite)

    from imgtrain.evaluation.eval_inputs import EvalOptions, inputs_from_metadata

    options = EvalOptions(
        model=str(file.path),
        folder=None if data is None else Path(data),
        config=None if config is None else Path(config),
        rescale=rescale,
        classes=classes,
    )
    inputs = None if file.metadata is None else inputs_from_metadata(file.metadata, options)

    # TensorFlow is imported from here on.
    from imgtrain.evaluation.baselines import Baselines, majority, score_beside_baselines
    from imgtrain.evaluation.predict_folder import predict_folder
    from imgtrain.evaluation.predictions import render_predictions
    from imgtrain.export.evaluate import load_any_for_evaluation
    from imgtrain.report.facts import Facts
    from imgtrain.workflows.report import try_report

    loaded = load_any_for_evaluation(file, inputs, options, max_gib=max_model_gib, emit=emit)
    if directory is not None:
        directory.create()
    inputs = loaded.inputs
    part, predictions = predict_folder(
        loaded, inputs.leaked_pictures, batch_size=batch_size, task="evaluating", emit=emit
    )
    split = part.split
    most_frequent = majority(split.labels) if inputs.majority_label is None else inputs.majority_label
    guesses = {"evaluation": Baselines(most_frequent, None).predict(part)}
    metrics = score_beside_baselines({"evaluation": predictions}, guesses, emit=emit)

    if directory is not None:
        write_text(directory.predictions(), render_predictions(predictions))
        write_json(directory.metrics, metrics)
        # Grad-CAM needs the gradients of a Keras model.
        network = loaded.network if file.export_format is None else None
        try_report(Facts(directory.path, "evaluation", metrics, predictions), part, network, emit=emit)
    written = None if directory is None else directory.path
    return EvaluateResult(split.folder.root, written, predictions, metrics)
