"""The metadata of the saved model, and a check that it predicts the same as the trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.dataset.plan import Plan
from imgtrain.errors import Problem, RunFileError
from imgtrain.evaluation.baselines import majority
from imgtrain.evaluation.evaluate_splits import Evaluation
from imgtrain.evaluation.predict import predictor
from imgtrain.model.archive import load_model
from imgtrain.model.runtime import versions
from imgtrain.pixels.load_images import Images
from imgtrain.run.machine import memory_bytes
from imgtrain.run.model_metadata import ModelMetadata
from imgtrain.run.run_directory import now

__all__ = ["describe_model", "verify_saved_model"]

# Maximum difference between probabilities before saving and after loading.
_SAVED_TOLERANCE = 1e-5


def describe_model(plan: Plan, images: Images, fingerprint: str, evaluation: Evaluation) -> ModelMetadata:
    """Return the metadata to store in the model file, for evaluation and prediction.

    Args:
        plan: The trained plan.
        images: The images of all splits.
        fingerprint: Fingerprint of the images.
        evaluation: Evaluation of the trained model.
    """
    data = plan.config.data
    flip_average = plan.config.evaluation.flip_average
    return ModelMetadata(
        format_version=2 if flip_average or data.background is not None else 1,
        class_names=plan.class_names,
        target_size=data.size,
        color_mode=data.color_mode,
        class_mode=data.class_mode,
        resize=data.resize,
        interpolation=data.interpolation,
        background=data.background,
        threshold=evaluation.decision.threshold,
        threshold_rule=evaluation.decision.rule,
        abstain_below=evaluation.decision.abstain_below,
        temperature=evaluation.temperature,
        flip_average=flip_average,
        # With other sources of labels or splits, the folder alone does not determine the test images.
        test_folder=str(data.test) if data.test is not None and data.has_class_folders else None,
        leaked_pictures=() if images.test is None else images.test.dropped_pictures(),
        nested=data.nested,
        follow_links=data.follow_links,
        group_by=data.group_by,
        on_bad_image=data.on_bad_image,
        loss=plan.loss,
        majority_class=plan.class_names[majority(images.train.split.labels)],
        data_fingerprint=fingerprint,
        versions=versions(),
        created=now(),
    )


def verify_saved_model(path: Path, model: Any, images: NDArray[np.uint8]) -> None:
    """Load the saved model as `evaluate` does, and compare its probabilities with those of the trained network.

    Args:
        path: The saved model.
        model: The trained network.
        images: Raw pixels, (b, height, width, channels).

    Raises:
        RunFileError: The probabilities differ.
    """
    # The size limit for untrusted models does not apply.
    loaded = load_model(path, max_gib=memory_bytes() / 2**30)
    saved, trained = (predictor(network)(images) for network in (loaded.model, model))
    difference = float(np.abs(saved - trained).max())
    if not difference <= _SAVED_TOLERANCE:
        raise RunFileError(
            Problem(
                path,
                f"the saved model's probabilities differ from those of the trained network by {difference:.2g}",
                "set output.model to model.keras",
            )
        )
