"""`imgtrain evaluate`: score a saved model on a folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imgtrain.batches.make_batches import INFERENCE_BATCH_SIZE, file_order_batches
from imgtrain.dataset.groups import assign_groups
from imgtrain.evaluation.baselines import MAJORITY, majority, warn_if_not_above_baselines
from imgtrain.evaluation.decide import decide
from imgtrain.evaluation.eval_inputs import resolve_eval_inputs
from imgtrain.evaluation.metrics import Predictions, render_predictions, score
from imgtrain.evaluation.predict import predict_split
from imgtrain.events import Emit, Message, ignore
from imgtrain.model.archive import MAX_MODEL_GIB, load_model
from imgtrain.model.preprocess import with_preprocessing
from imgtrain.pixels.load_images import load_splits
from imgtrain.run.run_directory import RunDirectory, write_json, write_text
from imgtrain.workflows.report import try_report

__all__ = ["EvaluateResult", "evaluate"]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluateResult:
    """An evaluated model.

    Attributes:
        folder: The images.
        directory: Where the files are; None if none were asked for.
        predictions: Of every image.
        metrics: The contents of `metrics.json`.
    """

    folder: Path
    directory: Path | None
    predictions: Predictions
    metrics: Mapping[str, Any]


def evaluate(
    model: Path | str,
    *,
    folder: Path | str | None = None,
    output: Path | str | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    config: Path | str | None = None,
    rescale: str | float | None = None,
    classes: tuple[str, ...] | None = None,
    emit: Emit = ignore,
) -> EvaluateResult:
    """Score a saved model on a folder of images.

    Args:
        model: A `.keras` or `.h5` file, or a run directory.
        folder: One sub-folder per class; default: the test folder that the model was trained with.
        output: A folder for `metrics.json`, `predictions.csv` and `report.html`.
        batch_size: Images in a batch.
        max_model_gib: The most memory that the model may claim before it is loaded.
        config: For a model that imgtrain did not make: the configuration that says how images are read.
        rescale: For a model that imgtrain did not make: the factor that its inputs were scaled by.
        classes: For a model that imgtrain did not make: its class names in order.
        emit: Takes events while the work goes on.

    Raises:
        ConfigError: It is not said how the images are to be read, or it is said twice.
        DataError: The images are wrong, or their folders do not fit the model's classes.
        RunFileError: The model cannot be loaded, or the output cannot be written.
    """
    loaded = load_model(Path(model), max_gib=max_model_gib)
    reading = resolve_eval_inputs(
        loaded.record,
        model=str(loaded.path),
        input_shape=loaded.shape.image_shape,
        units=loaded.shape.units,
        folder=None if folder is None else Path(folder),
        config=None if config is None else Path(config),
        rescale=rescale,
        classes=classes,
    )
    for warning in reading.warnings:
        emit(Message(warning, "warning"))
    directory = None
    if output is not None:
        directory = RunDirectory(Path(output))
        directory.refuse_if_run()
        directory.create_for_evaluation()

    part = load_splits(
        [reading.split],
        reading.settings,
        cache="auto",
        cache_directory=None,
        on_bad_image=reading.on_bad_image,
        emit=emit,
    )["evaluation"]

    network = loaded.model
    if reading.preprocessing is not None:
        network = with_preprocessing(network, reading.preprocessing, reading.settings.shape)
    batches = file_order_batches(part, reading.class_mode, batch_size)
    probabilities, loss = predict_split(network, batches, loss=reading.loss, task="evaluating", emit=emit)
    predictions = Predictions(
        paths=part.split.paths,
        labels=part.split.labels,
        probabilities=probabilities,
        predicted=decide(probabilities, reading.threshold),
        loss=loss,
        class_names=part.split.class_names,
        groups=assign_groups(part.split.group_paths, reading.group_by),
        abstain_below=reading.abstain_below,
    )
    most_frequent = majority(predictions.labels) if reading.majority_label is None else reading.majority_label
    guesses = np.full_like(predictions.labels, most_frequent)
    metrics = {"evaluation": score(predictions, baselines={MAJORITY: guesses})}
    for sentence in warn_if_not_above_baselines("evaluation", metrics["evaluation"]):
        emit(Message(sentence, "warning"))

    if directory is not None:
        write_text(directory.predictions(), render_predictions(predictions))
        write_json(directory.metrics, metrics)
        try_report(directory, part, network, emit=emit)
    written = None if directory is None else directory.path
    return EvaluateResult(part.split.folder.root, written, predictions, metrics)
