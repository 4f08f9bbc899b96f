"""The evaluation after training: calibrate, predict, choose the threshold on validation images, and score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from imgtrain.batches.make_batches import file_order_batches, inference_batch_size
from imgtrain.dataset.plan import Plan
from imgtrain.evaluation.baselines import fit_baselines, score_beside_baselines
from imgtrain.evaluation.calibration import apply_temperature, fit_temperature, warn_at_bounds
from imgtrain.evaluation.decide import Decision, choose_decision
from imgtrain.evaluation.predict import predict_split, views
from imgtrain.evaluation.predictions import Predictions
from imgtrain.events import Emit, Message, ignore
from imgtrain.model.measure import explain_out_of_memory
from imgtrain.pixels.load_images import Images

__all__ = ["Evaluation", "evaluate_splits"]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Evaluation of a trained model on validation and test images.

    Attributes:
        temperature: Divisor of the logits; None without calibration.
        decision: How to choose classes from probabilities.
        predictions: Predictions by split name.
        metrics: The contents of `metrics.json`: scores by split name.
    """

    temperature: float | None
    decision: Decision
    predictions: Mapping[str, Predictions]
    metrics: Mapping[str, Any]


def evaluate_splits(model: Any, plan: Plan, images: Images, emit: Emit = ignore) -> Evaluation:
    """Evaluate a trained model on the validation and test images, if there are any.

    Args:
        model: The model in float32; `evaluation.calibrate` changes the weights of its last layer.
        plan: The trained plan.
        images: All splits; baselines are fitted on the training images.
        emit: Called with progress events.

    Raises:
        ConfigError: A batch does not fit into memory.
        RunFileError: A probability is NaN.
    """
    config, splits = plan.config, {part.split.name: part.split for part in images.evaluated()}
    batches = {
        part.split.name: file_order_batches(part, config.data.class_mode, inference_batch_size(plan))
        for part in images.evaluated()
    }
    mirrored = views(flip_average=config.evaluation.flip_average)
    temperature = None
    with explain_out_of_memory(model, config):
        predict = partial(predict_split, model, loss=plan.loss, emit=emit)
        if config.evaluation.calibrate and images.validation is None:
            what = (
                "evaluation.calibrate has no effect: there are no validation images to fit a temperature on"
            )
            emit(Message(what, "warning"))
        elif config.evaluation.calibrate:
            uncalibrated = [
                predict(batches["validation"], task="evaluating validation", mirrored=(flipped,))[0]
                for flipped in mirrored
            ]
            temperature = fit_temperature(splits["validation"].labels, *uncalibrated)
            for warning in warn_at_bounds(temperature):
                emit(Message(warning, "warning"))
            apply_temperature(model, temperature)
            emit(Message(f"calibration: logits are divided by a temperature of {temperature:.3f}"))
        outputs = {
            name: predict(part, task=f"evaluating {name}", mirrored=mirrored)
            for name, part in batches.items()
        }

    decision = choose_decision(
        config.evaluation,
        binary=config.data.class_mode == "binary",
        labels=splits["validation"].labels if "validation" in splits else None,
        probabilities=outputs["validation"][0] if "validation" in outputs else None,
    )
    for warning in decision.warnings:
        emit(Message(warning, "warning"))
    predictions = {
        name: Predictions.decided(split, *outputs[name], decision, group_by=config.data.group_by)
        for name, split in splits.items()
    }

    seed = config.training.seed
    baselines = fit_baselines(images.train, seed=seed)
    guesses = {part.split.name: baselines.predict(part) for part in images.evaluated()}
    return Evaluation(
        temperature, decision, predictions, score_beside_baselines(predictions, guesses, seed=seed, emit=emit)
    )
