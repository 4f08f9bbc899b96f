"""A saved model's predictions for a folder of images, as `evaluate` and `compare` make them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from imgtrain.batches.make_batches import file_order_batches
from imgtrain.evaluation.decide import Decision
from imgtrain.evaluation.eval_inputs import EvalInputs, EvalOptions, inputs_of_other_model
from imgtrain.evaluation.predict import predict_split, views
from imgtrain.evaluation.predictions import Predictions
from imgtrain.events import Emit, Message, ignore
from imgtrain.model.archive import load_model
from imgtrain.model.preprocess import with_preprocessing
from imgtrain.pixels.load_images import SplitImages, leave_out_pictures, load_splits
from imgtrain.run.model_metadata import ModelFile

__all__ = ["LoadedModel", "load_for_evaluation", "predict_folder"]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model that takes raw pixels, and the images that it is to be evaluated on.

    Attributes:
        network: The Keras model.
        inputs: The images, and what the model's outputs for them mean.
    """

    network: Any
    inputs: EvalInputs


def load_for_evaluation(
    file: ModelFile, inputs: EvalInputs | None, asked: EvalOptions, *, max_gib: float, emit: Emit = ignore
) -> LoadedModel:
    """Load a model.

    Args:
        file: The model.
        inputs: What the model's own metadata says of its images; None for a model that imgtrain did not make.
        asked: What the user said.
        max_gib: The most memory that the model may claim before it is loaded.
        emit: Takes warnings.

    Raises:
        ConfigError: It is not said how the images are to be read.
        DataError: The images are wrong, or their folders do not fit the model's classes.
        RunFileError: The model cannot be loaded.
    """
    loaded = load_model(file, max_gib=max_gib)
    if inputs is None:
        inputs = inputs_of_other_model(asked, loaded.shape.image_shape, loaded.shape.units)
    for warning in inputs.warnings:
        emit(Message(warning, "warning"))
    network = loaded.model
    if inputs.preprocessing is not None:
        network = with_preprocessing(network, inputs.preprocessing, inputs.settings.shape)
    return LoadedModel(network, inputs)


def predict_folder(
    model: LoadedModel, leaked_pictures: Collection[str], *, batch_size: int, task: str, emit: Emit = ignore
) -> tuple[SplitImages, Predictions]:
    """Return the images and the model's predictions of them.

    Args:
        model: The model and its images.
        leaked_pictures: Pixel digests of images to leave out, because a model was trained on them.
        batch_size: Images in a batch.
        task: What the progress is called.
        emit: Takes events while the work goes on.

    Raises:
        DataError: The images are wrong.
        RunFileError: A probability is NaN.
    """
    inputs = model.inputs
    part = load_splits(
        [inputs.split],
        inputs.settings,
        cache="auto",
        cache_directory=None,
        on_bad_image=inputs.on_bad_image,
        emit=emit,
    )[inputs.split.name]
    part = leave_out_pictures(part, leaked_pictures, emit)
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
    return part, Predictions.decided(part.split, probabilities, loss, decision, group_by=inputs.group_by)
