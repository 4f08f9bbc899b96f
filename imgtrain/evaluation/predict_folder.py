"""Predict a folder of images with a saved model, for `evaluate` and `compare`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from imgtrain.batches.make_batches import file_order_batches
from imgtrain.evaluation.decide import Decision
from imgtrain.evaluation.eval_inputs import EvalInputs, EvalOptions, inputs_from_options
from imgtrain.evaluation.predict import predict_split, views
from imgtrain.evaluation.predictions import Predictions
from imgtrain.events import Emit, Message, ignore
from imgtrain.model.archive import load_model
from imgtrain.model.preprocess import with_preprocessing
from imgtrain.pixels.load_images import SplitImages, leave_out_pictures, load_splits
from imgtrain.run.model_metadata import ModelFile

__all__ = ["EvalModel", "load_folder", "load_for_evaluation", "predict_folder", "predict_images"]


@dataclass(frozen=True, slots=True, eq=False)
class EvalModel:
    """A model that takes raw pixels, and the images to evaluate it on.

    Attributes:
        network: The Keras model, or a function from raw pixels to outputs.
        inputs: The images, and how to interpret the model's outputs.
    """

    network: Any
    inputs: EvalInputs


def load_for_evaluation(
    file: ModelFile, inputs: EvalInputs | None, options: EvalOptions, *, max_gib: float, emit: Emit = ignore
) -> EvalModel:
    """Load a model.

    Args:
        file: The model.
        inputs: Result of `inputs_from_metadata`; None for a model not saved by imgtrain.
        options: The user's options; used if `inputs` is None.
        max_gib: Maximum memory requirement of the model in GiB, checked before it is loaded.
        emit: Called with warnings.

    Raises:
        ConfigError: How to read the images is not specified.
        DataError: The images are invalid, or their folders do not match the model's classes.
        RunFileError: The model cannot be loaded.
    """
    loaded = load_model(file, max_gib=max_gib)
    if inputs is None:
        inputs = inputs_from_options(options, loaded.shape.image_shape, loaded.shape.units)
    for warning in inputs.warnings:
        emit(Message(warning, "warning"))
    network = loaded.model
    if inputs.preprocessing is not None:
        network = with_preprocessing(network, inputs.preprocessing, inputs.settings.shape)
    return EvalModel(network, inputs)


def predict_folder(
    model: EvalModel, leaked_pictures: Collection[str], *, batch_size: int, task: str, emit: Emit = ignore
) -> tuple[SplitImages, Predictions]:
    """Return the images and the model's predictions.

    Args:
        model: The model and its images.
        leaked_pictures: Pixel hashes of images to exclude because a model was trained on them.
        batch_size: Number of images per batch.
        task: Name of the task in progress messages.
        emit: Called with progress events.

    Raises:
        DataError: The images are invalid.
        RunFileError: A probability is NaN.
    """
    part = load_folder(model.inputs, leaked_pictures, emit=emit)
    return part, predict_images(model, part, batch_size=batch_size, task=task, emit=emit)


def load_folder(inputs: EvalInputs, leaked_pictures: Collection[str], *, emit: Emit = ignore) -> SplitImages:
    """Return the images of an evaluation.

    Raises:
        DataError: The images are wrong.
    """
    part = load_splits(
        [inputs.split],
        inputs.settings,
        cache="auto",
        cache_directory=None,
        on_bad_image=inputs.on_bad_image,
        emit=emit,
    )[inputs.split.name]
    return leave_out_pictures(part, leaked_pictures, emit)


def predict_images(
    model: EvalModel, part: SplitImages, *, batch_size: int, task: str, emit: Emit = ignore
) -> Predictions:
    """Return the model's predictions of loaded images.

    Raises:
        RunFileError: A probability is NaN.
    """
    inputs = model.inputs
    batches = file_order_batches(part, inputs.class_mode, batch_size)
    probabilities, loss = predict_split(
        model.network,
        batches,
        loss=inputs.loss,
        task=task,
        mirrored=views(flip_average=inputs.flip_average),
        emit=emit,
    )
    decision = Decision(inputs.threshold, abstain_below=inputs.abstain_below)
    return Predictions.decided(part.split, probabilities, loss, decision, group_by=inputs.group_by)
