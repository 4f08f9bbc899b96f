"""`imgtrain train`: from a plan to a trained, evaluated and saved model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from imgtrain.batches.make_batches import file_order_batches, inference_batch_size, make_batches
from imgtrain.config.render import render_config
from imgtrain.config.schema import PreprocessingConfig
from imgtrain.dataset.groups import assign_groups
from imgtrain.dataset.plan import Plan
from imgtrain.errors import ConfigError
from imgtrain.evaluation.baselines import fit_baselines, majority, warn_if_not_above_baselines
from imgtrain.evaluation.calibration import apply_temperature, fit_temperature, warn_at_bounds
from imgtrain.evaluation.decide import Decision, choose_decision, decide
from imgtrain.evaluation.metrics import Predictions, render_predictions, score
from imgtrain.evaluation.predict import predict_split
from imgtrain.evaluation.verify_saved import verify_saved_model
from imgtrain.events import Emit, Message, RunOpened, ignore
from imgtrain.model.archive import save_model
from imgtrain.model.build import build_network, check_network, float32_copy
from imgtrain.model.build_from_plan import build_from_plan
from imgtrain.model.measure import explain_out_of_memory, measure_network
from imgtrain.model.precision import choose_precision
from imgtrain.model.runtime import device_name, start, versions
from imgtrain.pixels.load_images import Images, SplitImages, load_images
from imgtrain.run.model_metadata import ModelMetadata
from imgtrain.run.run_directory import RunDirectory, now, read_json, write_json, write_text
from imgtrain.training.checkpoint_store import CheckpointStore
from imgtrain.training.checkpointing import Checkpointer
from imgtrain.training.fit import fit
from imgtrain.training.history import History
from imgtrain.training.resume import (
    EarlierRun,
    adding_resume_hint,
    check_same_images,
    describe_origin,
    describe_resumption,
    find_earlier_run,
)
from imgtrain.training.run_facts import (
    NOT_KNOWN_YET,
    describe_history,
    describe_run,
    peak_memory_mib,
    record_epochs,
)
from imgtrain.training.tracking import Trackers, check_trackers, track
from imgtrain.workflows.report import draw_augmentation, try_report

__all__ = ["TrainResult", "train"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainResult:
    """A finished run.

    Attributes:
        directory: Where its files are; None for a dry run.
        model: The trained Keras model, as saved; None for a run that was completed before.
        history: Every epoch; None for a dry run and for a run that was completed before.
        metrics: The contents of `metrics.json`.
    """

    directory: Path | None
    model: Any
    history: History | None
    metrics: Mapping[str, Any]


def train(
    plan: Plan,
    *,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    emit: Emit = ignore,
) -> TrainResult:
    """Train, evaluate and save what was planned.

    Args:
        plan: What `make_plan` returned.
        overwrite: Replace an earlier run in the same directory.
        resume: Go on with an earlier run in the same directory, if there is one.
        dry_run: Check everything and build the network, but decode, train and write nothing.
        emit: Takes events while the work goes on.

    Raises:
        ConfigError: The network does not fit together, or the run to go on with was configured otherwise;
            nothing was written.
        DataError: The images are wrong, or not those of the run to go on with.
        RunFileError: The run directory is in the way, or something cannot be written.
        DivergedError: The loss became NaN or infinite.
        InterruptedRunError: A signal asked it to stop.
    """
    for warning in plan.warnings:
        emit(Message(warning, "warning"))
    config = plan.config
    run = RunDirectory(plan.directory)
    if not dry_run:
        run.refuse_if_alive()
    if not (dry_run or resume):
        run.refuse_if_taken(overwrite=overwrite)
    start(config.training.seed)
    if problems := check_network(config, class_count=len(plan.class_names)) + check_trackers(config):
        raise ConfigError(problems)
    if dry_run:
        return _dry_run(plan, emit)

    with run.locked(), adding_resume_hint(run):
        earlier = find_earlier_run(config, run, emit) if resume else None
        if earlier is not None and earlier.is_complete:
            emit(Message("the run is completed already"))
            return TrainResult(run.path, None, None, read_json(run.metrics))
        with track(config, run, emit) as trackers:
            result = _train(plan, run, earlier, trackers, overwrite=overwrite, emit=trackers.listen)
            trackers.finish(result.metrics, run)
            return result


def _train(
    plan: Plan,
    run: RunDirectory,
    earlier: EarlierRun | None,
    trackers: Trackers,
    *,
    overwrite: bool,
    emit: Emit,
) -> TrainResult:
    config = plan.config
    checkpoint = None if earlier is None else earlier.checkpoint
    # Before anything of an earlier run is touched.
    images = load_images(config, plan.splits, emit)
    if earlier is not None and checkpoint is not None:
        check_same_images(earlier, images, run)
        run.create_for_evaluation()
    else:
        run.create(overwrite=overwrite or earlier is not None)
    # The weights follow from the number format: it stays, also on hardware that would choose another.
    begun_in = None if earlier is None else earlier.origin("precision")
    precision = choose_precision(begun_in or config.training.precision)
    with run.opened(
        {**describe_run(plan, precision), **NOT_KNOWN_YET, **describe_resumption(earlier)}
    ) as facts:
        emit(RunOpened(run.path, run.log, resumed=checkpoint is not None))
        write_text(run.config, render_config(config))

        write_json(run.data, images.describe())

        batches = make_batches(plan, images, inference_batch_size=inference_batch_size(plan))
        trackers.take_samples(batches["train"])
        model = build_from_plan(plan, batches["train"], precision.name, for_training=True)
        emit(measure_network(model, config))
        emit(Message(precision.reason, "warning" if precision.slow else "info"))
        named = ", ".join(f"{package} {version}" for package, version in versions().items())
        emit(Message(f"{device_name()}; {named}; seed {config.training.seed}", "detail"))

        folder = CheckpointStore(run.checkpoints)
        origin = describe_origin(config, images, describe_run(plan, precision))
        with explain_out_of_memory(model, config):
            history = fit(
                model,
                batches["train"],
                batches.get("validation"),
                config.training,
                checkpoints=Checkpointer(
                    folder, origin=origin, minutes=config.training.checkpoint_minutes, earlier=checkpoint
                ),
                on_epoch=partial(record_epochs, run, facts),
                emit=emit,
            )
        record_epochs(run, facts, history.epochs)
        facts.update(describe_history(history))

        model = float32_copy(model, config)
        temperature = (
            _calibrate(model, plan, images.validation, emit) if config.evaluation.calibrate else None
        )
        outputs = {part.split.name: _predict(model, plan, part, emit) for part in images.evaluated()}
        decision = _choose_decision(plan, outputs.get("validation"), emit)
        predictions = {name: _decide(output, decision) for name, output in outputs.items()}
        metrics = _score_beside_baselines(predictions, images, config.training.seed, emit)

        path = run.model(config.output.model)
        save_model(model, _describe_model(plan, images, decision, temperature), path)
        verify_saved_model(path, model, batches["train"].batch(0, 0)[0])
        shown = images.test or images.validation
        if shown is not None:
            name = shown.split.name
            write_text(run.predictions(name), render_predictions(predictions[name]))
        write_json(run.metrics, metrics)
        facts["peak_memory_mib"] = peak_memory_mib()
    if shown is None:
        emit(Message("there is no report, because there are neither validation nor test images"))
    else:
        try_report(run, shown, model, sheet=partial(draw_augmentation, config, images.train.split), emit=emit)
    # More epochs can follow the last one, but nothing follows an early stop.
    if history.stopped_early:
        folder.remove()
    else:
        folder.keep_newest()
    return TrainResult(run.path, model, history, metrics)


def _dry_run(plan: Plan, emit: Emit) -> TrainResult:
    """Show the network; preprocessing, which may need statistics of the images, is left as it is by default."""
    config = plan.config.model_copy(update={"preprocessing": PreprocessingConfig()})
    model = build_network(config, class_count=len(plan.class_names), statistics=None)
    emit(measure_network(model, config))
    return TrainResult(None, model, None, {})


def _predict(model: Any, plan: Plan, part: SplitImages, emit: Emit) -> Predictions:
    """Return the probabilities of a split; the decision is still the most probable class."""
    batches = file_order_batches(part, plan.config.data.class_mode, inference_batch_size(plan))
    task = f"evaluating {part.split.name}"
    with explain_out_of_memory(model, plan.config):
        probabilities, loss = predict_split(model, batches, loss=plan.loss, task=task, emit=emit)
    return Predictions(
        paths=part.split.paths,
        labels=part.split.labels,
        probabilities=probabilities,
        predicted=decide(probabilities, None),
        loss=loss,
        class_names=plan.class_names,
        groups=assign_groups(part.split.group_paths, plan.config.data.group_by),
    )


def _calibrate(model: Any, plan: Plan, validation: SplitImages | None, emit: Emit) -> float | None:
    """Make the model as sure as it is right on the validation images; return its temperature."""
    if validation is None:
        emit(
            Message("evaluation.calibrate: there are no validation images to fit a temperature on", "warning")
        )
        return None
    before = _predict(model, plan, validation, emit)
    temperature = fit_temperature(before.labels, before.probabilities)
    for warning in warn_at_bounds(temperature):
        emit(Message(warning, "warning"))
    apply_temperature(model, temperature)
    emit(Message(f"the logits are divided by a temperature of {temperature:.3f}, fitted on validation"))
    return temperature


def _choose_decision(plan: Plan, validation: Predictions | None, emit: Emit) -> Decision:
    decision = choose_decision(
        plan.config.evaluation,
        binary=plan.config.data.class_mode == "binary",
        labels=None if validation is None else validation.labels,
        probabilities=None if validation is None else validation.probabilities,
    )
    for warning in decision.warnings:
        emit(Message(warning, "warning"))
    return decision


def _decide(predictions: Predictions, decision: Decision) -> Predictions:
    predicted = decide(predictions.probabilities, decision.threshold)
    return replace(predictions, predicted=predicted, abstain_below=decision.abstain_below)


def _score_beside_baselines(
    predictions: Mapping[str, Predictions], images: Images, seed: int, emit: Emit
) -> dict[str, Any]:
    """Return the scores of every split, and say where the model is not better than what needs no network."""
    baselines = fit_baselines(images.train, seed=seed)
    metrics = {}
    for part in images.evaluated():
        name = part.split.name
        metrics[name] = score(predictions[name], baselines=baselines.predict(part), seed=seed)
        for sentence in warn_if_not_above_baselines(name, metrics[name]):
            emit(Message(sentence, "warning"))
    return metrics


def _describe_model(
    plan: Plan, images: Images, decision: Decision, temperature: float | None
) -> ModelMetadata:
    data = plan.config.data
    return ModelMetadata(
        class_names=plan.class_names,
        target_size=data.target_size,
        color_mode=data.color_mode,
        class_mode=data.class_mode,
        resize=data.resize,
        interpolation=data.interpolation,
        threshold=decision.threshold,
        threshold_rule=decision.rule,
        abstain_below=decision.abstain_below,
        temperature=temperature,
        # With a split file, the folder alone does not say which of its images are test images.
        test_folder=None if data.test is None or data.split_file is not None else str(data.test),
        nested=data.nested,
        follow_links=data.follow_links,
        group_by=data.group_by,
        on_bad_image=data.on_bad_image,
        loss=plan.loss,
        majority_class=plan.class_names[majority(images.train.split.labels)],
        data_fingerprint=images.fingerprint(),
        versions=versions(),
        created=now(),
    )
