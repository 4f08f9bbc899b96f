"""Create the batches of loaded splits: augmented and shuffled for training, in file order for evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imgtrain.batches.batches import Batches, ClassMode
from imgtrain.config.head import training_class_mode
from imgtrain.dataset.plan import Plan
from imgtrain.dataset.split import Split
from imgtrain.pixels.load_images import Images, SplitImages
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE

__all__ = ["file_order_batches", "inference_batch_size", "make_batches"]

# Training keeps the outputs and gradients of all layers, inference only the outputs of two layers. If a batch fits into
# memory in training, inference batches can be this many times larger, even in float32.
_INFERENCE_ROOM = 2


def make_batches(plan: Plan, images: Images, *, inference_batch_size: int) -> dict[str, Batches]:
    """Return the batches of every split: augmented and shuffled for training, in file order for evaluation."""
    data, training = plan.config.data, plan.config.training
    class_mode = training_class_mode(plan.config)
    batches = {
        part.split.name: file_order_batches(
            _validation_subset(part, plan) if part.split.name == "validation" else part,
            class_mode,
            inference_batch_size,
        )
        for part in images.evaluated()
    }
    split = images.train.split
    batches["train"] = Batches(
        pixels=images.train.pixels,
        indices=split.indices,
        labels=split.labels,
        paths=split.paths,
        class_count=len(split.class_names),
        class_mode=class_mode,
        batch_size=data.batch_size,
        shuffle=data.shuffle,
        seed=training.seed,
        augmentation=plan.config.augmentation,
        balance=data.balance,
        steps=training.steps_per_epoch,
        class_weights=_class_weights(training.class_weight, split),
        label_smoothing=training.label_smoothing,
    )
    return batches


def _class_weights(
    given: Literal["balanced"] | Mapping[str, float] | None, train: Split
) -> NDArray[np.float32] | None:
    """Return the class weights; `balanced` as in scikit-learn: images / (classes × images of the class)."""
    if given is None:
        return None
    if given == "balanced":
        counts = train.counts()
        return np.asarray(counts.sum() / (len(counts) * counts), np.float32)
    return np.array([given.get(name, 1.0) for name in train.class_names], np.float32)


def _validation_subset(part: SplitImages, plan: Plan) -> SplitImages:
    """Return the images to validate on after each epoch: all, or `validation_steps` batches, stratified by class."""
    split, steps = part.split, plan.config.training.validation_steps
    if steps is None or steps * plan.config.data.batch_size >= len(split):
        return part
    # The images are sorted by class, so even spacing is stratified.
    samples = np.linspace(0, len(split) - 1, steps * plan.config.data.batch_size).round().astype(np.intp)
    return replace(part, split=replace(split, indices=split.indices[samples]))


def inference_batch_size(plan: Plan) -> int:
    """Return the batch size for inference."""
    return min(INFERENCE_BATCH_SIZE, _INFERENCE_ROOM * plan.config.data.batch_size)


def file_order_batches(part: SplitImages, class_mode: ClassMode, batch_size: int) -> Batches:
    """Return the batches of a split in file order, without augmentation."""
    split = part.split
    return Batches(
        pixels=part.pixels,
        indices=split.indices,
        labels=split.labels,
        paths=split.paths,
        class_count=len(split.class_names),
        class_mode=class_mode,
        batch_size=batch_size,
    )
