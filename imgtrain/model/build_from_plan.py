"""The compiled network of a plan, its preprocessing fitted on the training images."""

from __future__ import annotations

from typing import Any

from imgtrain.batches.batches import Batches
from imgtrain.batches.featurewise import fit_featurewise_statistics
from imgtrain.config.preprocessing import needs_featurewise_statistics
from imgtrain.dataset.plan import Plan
from imgtrain.model.build import build_network
from imgtrain.model.compile import compile_network

__all__ = ["build_from_plan"]


def build_from_plan(plan: Plan, train: Batches, precision: str, *, for_training: bool = False) -> Any:
    """Return the compiled network, its preprocessing fitted on the training images."""
    config = plan.config
    statistics = None
    if needs_featurewise_statistics(config.preprocessing):
        statistics = fit_featurewise_statistics(train.unchanged_images(), config.preprocessing)
    model = build_network(
        config,
        class_count=len(plan.class_names),
        statistics=statistics,
        precision=precision,
        for_training=for_training,
    )
    compile_network(
        model,
        config,
        precision=precision,
        for_training=for_training,
        mixed_labels=config.augmentation.mixes,
    )
    return model
