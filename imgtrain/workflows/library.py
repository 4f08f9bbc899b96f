"""Python API for custom training loops: the batches and the model of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imgtrain.batches.make_batches import make_batches
from imgtrain.dataset.plan import Plan
from imgtrain.events import Emit, ignore
from imgtrain.model.build import build_and_compile
from imgtrain.pixels.load_images import load_images
from imgtrain.training.keras_dataset import BatchDataset

__all__ = ["OpenBatches", "build_model", "open_batches"]


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
