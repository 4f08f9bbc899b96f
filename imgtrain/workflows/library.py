"""Python API for custom training loops: the batches and the model of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imgtrain.batches.make_batches import make_batches
from imgtrain.config.schema import TrainingConfig
from imgtrain.dataset.layout import format_names
from imgtrain.dataset.plan import Plan
from imgtrain.errors import ConfigError, DataError, Problem
from imgtrain.events import Emit, Message, ignore
from imgtrain.model.build import build_and_compile
from imgtrain.pixels.load_images import load_images
from imgtrain.training.custom_batches import CustomBatches, class_names_of
from imgtrain.training.fit import fit as fit_batches
from imgtrain.training.history import History
from imgtrain.training.keras_dataset import BatchDataset

__all__ = ["OpenBatches", "build_model", "fit", "open_batches"]


@dataclass(frozen=True, slots=True, eq=False)
class OpenBatches:
    """The batches of every split, for `model.fit`, `model.evaluate` or a custom loop.

    Attributes:
        plan: The plan that the batches were made from.
        train: Training batches, shuffled and augmented differently in every epoch.
        validation: Images in file order, not augmented; None without validation images.
        test: Images in file order, not augmented; None without test images.
    """

    plan: Plan
    train: BatchDataset
    validation: BatchDataset | None
    test: BatchDataset | None


def open_batches(plan: Plan, *, emit: Emit = ignore) -> OpenBatches:
    """Return the batches of every split as `keras.utils.PyDataset`s.

    Args:
        plan: A plan, as returned by `make_plan`.
        emit: Called with progress events while images are decoded.

    Raises:
        DataError: The images are invalid.
        RunFileError: The cache cannot be written.
    """
    images = load_images(plan.config, plan.splits, emit)
    made = make_batches(plan, images, inference_batch_size=plan.config.data.batch_size)
    batches = {name: BatchDataset(part, class_names=plan.class_names) for name, part in made.items()}
    return OpenBatches(plan, batches["train"], batches.get("validation"), batches.get("test"))


def build_model(batches: OpenBatches) -> Any:
    """Return the planned model as a compiled, newly initialized `keras.Sequential` in float32.

    Args:
        batches: Batches, as returned by `open_batches`; featurewise preprocessing is fitted on the training images.

    Raises:
        ConfigError: A layer or the optimizer does not accept its arguments or its input.
    """
    return build_and_compile(batches.plan, batches.train.batches, "float32")


def fit(model: Any, train: Any, validation: Any, training: TrainingConfig, *, emit: Emit = ignore) -> History:
    """Train a compiled model on any data sets, and restore the weights of the best epoch.

    Args:
        model: A compiled Keras model with one input and one output.
        train: A `BatchDataset`, another `keras.utils.PyDataset`, or a batched `tf.data.Dataset`.
        validation: As `train`; None for none.
        training: Number of epochs, schedule and callbacks.
        emit: Called with progress events.

    Raises:
        ConfigError: The model is not compiled, or a data set cannot be used.
        DataError: A batch doesn't fit the model.
        DivergedError: A loss or metric became NaN or infinite.
        InterruptedRunError: Ctrl-C or SIGTERM was received.
    """
    if not getattr(model, "compiled", False):
        raise ConfigError(
            Problem("model", "is not compiled", "call model.compile, or use imgtrain.build_model")
        )
    names = [class_names_of(dataset) for dataset in (train, validation)]
    if all(names) and names[0] != names[1]:
        what = f"has the classes {format_names(names[1])}; the training data has {format_names(names[0])}"
        raise DataError(Problem("validation", what))
    if validation is None:
        for section in ("early_stopping", "reduce_lr_on_plateau"):
            callback = getattr(training, section)
            if callback is not None and callback.monitor.startswith("val_"):
                training = training.model_copy(update={section: None})
                emit(Message(f"no validation data: training.{section} is not used", "warning"))
    steps = {"train": training.steps_per_epoch, "validation": training.validation_steps}
    batches: dict[str, Any] = {
        name: dataset.batches
        if isinstance(dataset, BatchDataset)
        else CustomBatches(dataset, model, name=name, steps=steps[name])
        for name, dataset in (("train", train), ("validation", validation))
        if dataset is not None
    }
    return fit_batches(model, batches["train"], batches.get("validation"), training, emit=emit)
