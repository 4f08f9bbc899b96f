"""The part of `imgtrain train` that needs TensorFlow: load, build, train, evaluate, save and report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from imgtrain.batches.batches import Batches
from imgtrain.batches.make_batches import inference_batch_size, make_batches
from imgtrain.config.fine_tuning import fine_tuning_config
from imgtrain.config.render import render_config
from imgtrain.config.schema import Config, PreprocessingConfig
from imgtrain.dataset.plan import Plan
from imgtrain.errors import ConfigError
from imgtrain.evaluation.evaluate_splits import Evaluation, evaluate_splits
from imgtrain.evaluation.predictions import render_predictions
from imgtrain.evaluation.saved_model import describe_model, verify_saved_model
from imgtrain.events import Emit, Message, RunOpened
from imgtrain.model.archive import save_model
from imgtrain.model.build import begin_fine_tuning, build_and_compile, build_network, float32_copy
from imgtrain.model.check_network import check_network
from imgtrain.model.measure import explain_out_of_memory, measure_network
from imgtrain.model.precision import Precision, choose_precision
from imgtrain.model.runtime import describe_environment
from imgtrain.model.runtime import start as start_tensorflow
from imgtrain.model.start_weights import StartWeights, read_start_weights, start_with
from imgtrain.pixels.load_images import Images, load_images
from imgtrain.report.facts import Facts
from imgtrain.report.images import draw_augmentation
from imgtrain.run.run_directory import RunDirectory, write_json, write_text
from imgtrain.training.checkpoint_store import CheckpointStore
from imgtrain.training.checkpointing import Checkpointer
from imgtrain.training.fit import Stage, fit
from imgtrain.training.history import History
from imgtrain.training.learning_rates import sample_rates
from imgtrain.training.resume import EarlierRun, describe_origin, describe_resumption, validate_same_images
from imgtrain.training.run_record import (
    NOT_KNOWN_YET,
    describe_history,
    describe_run,
    describe_start,
    history_rows,
    peak_memory_mib,
    record_epochs,
)
from imgtrain.training.schedule import describe_schedule, example_schedule, scheduled_rates
from imgtrain.training.steps import Steps
from imgtrain.training.time_budget import plan_for_minutes
from imgtrain.training.tracking import Trackers, check_trackers, track
from imgtrain.workflows.report import try_report
from imgtrain.workflows.train import TrainResult

__all__ = ["show_network", "train_and_evaluate"]


def show_network(plan: Plan, emit: Emit) -> Any:
    """Build the model and emit its summary, without image statistics for preprocessing.

    Raises:
        ConfigError: The layers are incompatible.
    """
    _start(plan)
    without_statistics = PreprocessingConfig(rescale=plan.config.preprocessing.rescale)
    config = plan.config.model_copy(update={"preprocessing": without_statistics})
    model = build_network(config, class_count=len(plan.class_names), statistics=None)
    emit(measure_network(model, config))
    if (schedule := example_schedule(plan)) is not None:
        emit(schedule)
    return model


def train_and_evaluate(
    plan: Plan, run: RunDirectory, earlier: EarlierRun | None, emit: Emit, *, start_from: Path | None = None
) -> TrainResult:
    """Train, evaluate and save.

    Args:
        plan: The plan to train.
        run: The run directory; must be locked.
        earlier: The run to resume; None starts a new run.
        emit: Called with progress events.
        start_from: A model file whose weights a new run starts with.

    Raises:
        ImgtrainError: See `train`.
    """
    _start(plan)
    with track(plan.config, run, emit) as trackers:
        result = _run(plan, run, earlier, trackers, trackers.listen, start_from=start_from)
        trackers.finish(result.metrics, run)
        return result


def _start(plan: Plan) -> None:
    start_tensorflow(plan.config.training.seed)
    precision = choose_precision(plan.config.training.precision).name
    problems = check_network(plan.config, class_count=len(plan.class_names), precision=precision)
    if problems := problems + check_trackers(plan.config):
        raise ConfigError(problems)


def _run(
    plan: Plan,
    run: RunDirectory,
    earlier: EarlierRun | None,
    trackers: Trackers,
    emit: Emit,
    *,
    start_from: Path | None,
) -> TrainResult:
    config = plan.config
    checkpoint = None if earlier is None else earlier.checkpoint
    # Before the run directory is cleared, because the model may be in it.
    start = None if start_from is None or checkpoint is not None else read_start_weights(start_from)
    images = load_images(config, plan.splits, emit)
    fingerprint = images.fingerprint()
    if earlier is not None and checkpoint is not None:
        validate_same_images(earlier, run, fingerprint, images.describe)
    else:
        run.clear()
    # Resume with the same precision even on hardware that defaults to another, because the weights depend on it.
    begun_in = None if earlier is None else earlier.origin("precision")
    precision = choose_precision(begun_in or config.training.precision)
    described = {**describe_run(plan, precision), **describe_start(start_from)}
    with run.opened({**described, **NOT_KNOWN_YET, **describe_resumption(config, run, earlier)}) as facts:
        emit(RunOpened(run.path, run.log, resumed=checkpoint is not None))
        write_text(run.config, render_config(config))
        write_json(run.data, images.describe())

        # Model.
        batches = make_batches(plan, images, inference_batch_size=inference_batch_size(plan))
        trackers.take_samples(batches["train"])
        model = _build(plan, batches["train"], precision, start, emit)
        steps = Steps(model, batches["train"])
        plan = _plan_epochs(plan, run, model, steps, batches, facts, emit)
        config = plan.config
        rates = scheduled_rates(config.training, model.optimizer, steps_per_epoch=len(batches["train"]))
        if rates is not None:
            emit(describe_schedule(config.training, rates, steps_per_epoch=len(batches["train"])))

        # Training.
        store = CheckpointStore(run.checkpoints)
        origin = describe_origin(config, fingerprint, described)
        with explain_out_of_memory(model, config):
            history = fit(
                model,
                batches["train"],
                batches.get("validation"),
                config.training,
                steps=steps,
                later=_second_stage(config, model, precision.name, batches, emit),
                checkpoints=Checkpointer(
                    store,
                    origin=origin,
                    minutes=config.training.checkpoint_minutes,
                    earlier=checkpoint,
                    new_stage=earlier is not None and earlier.is_new_stage,
                ),
                on_epoch=partial(record_epochs, run, facts),
                emit=emit,
            )
        record_epochs(run, facts, history.epochs)
        facts.update(describe_history(history))
        if rates is not None:
            trained = rates[: len(history.epochs) * len(batches["train"])]
            facts["learning_rates"] = sample_rates(trained, steps_per_epoch=len(batches["train"]))

        # Evaluation and saving.
        model = float32_copy(model, config)
        evaluation = evaluate_splits(model, plan, images, emit)
        path = run.model(config.output.model)
        save_model(model, describe_model(plan, images, fingerprint, evaluation), path)
        verify_saved_model(path, model, batches["train"].batch(0, 0)[0])
        for name, predictions in evaluation.predictions.items():
            write_text(run.predictions(name), render_predictions(predictions))
        write_json(run.metrics, evaluation.metrics)
        facts["peak_memory_mib"] = peak_memory_mib()

    _report(plan, run, images, model, history, evaluation, facts, emit)
    # A completed run can be resumed with more epochs, unless it stopped early.
    if history.stopped_early:
        store.remove()
    else:
        store.keep_newest()
    return TrainResult(run.path, model, history, evaluation.metrics)


def _build(plan: Plan, train: Batches, precision: Precision, start: StartWeights | None, emit: Emit) -> Any:
    """Return the network to train, and emit its size and how it is trained."""
    model = build_and_compile(plan, train, precision.name, for_training=True)
    emit(measure_network(model, plan.config))
    if start is not None:
        emit(Message(start_with(model, start, class_names=plan.class_names)))
    emit(Message(precision.reason, "warning" if precision.slow else "info"))
    emit(Message(f"{describe_environment()}; seed {plan.config.training.seed}", "detail"))
    return model


def _plan_epochs(
    plan: Plan,
    run: RunDirectory,
    model: Any,
    steps: Steps,
    batches: dict[str, Batches],
    facts: dict[str, Any],
    emit: Emit,
) -> Plan:
    """Return the plan with the epochs that fit its time budget, if any; updates `config.yaml` and `run.json`."""
    if plan.config.training.minutes is None:
        return plan
    config = plan_for_minutes(
        plan.config, model, steps, batches["train"], batches.get("validation"), facts, emit=emit
    )
    batches["train"] = batches["train"].with_steps(config.training.steps_per_epoch)
    write_text(run.config, render_config(config))
    write_json(run.run, facts)
    return replace(plan, config=config)


def _second_stage(
    config: Config, model: Any, precision: str, batches: dict[str, Batches], emit: Emit
) -> Callable[[], Stage] | None:
    """Return the function that begins the second stage of training; None if there is only one."""
    if config.training.fine_tune is None:
        return None
    later = fine_tuning_config(config)

    def begin() -> Stage:
        begin_fine_tuning(model, later, precision=precision)
        emit(
            Message(
                f"fine-tuning: {measure_network(model, later).trainable_parameters:,} trainable parameters"
            )
        )
        train = batches["train"]
        return Stage(model, train, batches.get("validation"), later.training, Steps(model, train))

    return begin


def _report(
    plan: Plan,
    run: RunDirectory,
    images: Images,
    model: Any,
    history: History,
    evaluation: Evaluation,
    facts: Mapping[str, Any],
    emit: Emit,
) -> None:
    """Write the report from the values in memory."""
    shown = images.test or images.validation
    if shown is None:
        emit(Message("no report written: there are neither validation nor test images"))
    else:
        report = Facts(
            directory=run.path,
            split=shown.split.name,
            metrics=evaluation.metrics,
            predictions=evaluation.predictions[shown.split.name],
            root=shown.split.folder.root,
            run=facts,
            data=images.describe(),
            history=history_rows(history.epochs),
            config=render_config(plan.config),
        )
        sheet = partial(draw_augmentation, plan.config, images.train.split)
        try_report(report, shown, model, sheet=sheet, emit=emit)
