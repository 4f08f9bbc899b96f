"""The only wiring: what each command does, one paragraph per room.

A workflow takes a validated value, tells what goes on through `emit`, and returns a frozen result. It prints
nothing.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imgtrain.batches import Batches, ClassMode
from imgtrain.checkpoint import CheckpointFolder
from imgtrain.config.render import render_config
from imgtrain.config.schema import PreprocessingConfig
from imgtrain.dataset.gather import Images, SplitImages, decode_splits, gather_images
from imgtrain.dataset.named_files import find_named_files
from imgtrain.dataset.split import number_groups
from imgtrain.errors import ConfigError, DataError, Problem, RunFileError
from imgtrain.evaluation.answers import Answer, Unreadable, Write, answers_file, check_answers_file
from imgtrain.evaluation.baselines import MAJORITY, fit_baselines, majority, say_unbeaten
from imgtrain.evaluation.calibration import divide_logits, fit_temperature
from imgtrain.evaluation.classify import classify
from imgtrain.evaluation.decide import Decision, choose_decision, decide
from imgtrain.evaluation.metrics import Predictions, render_predictions, score
from imgtrain.evaluation.predict import predict_split, predictor
from imgtrain.evaluation.reading import read_as_asked
from imgtrain.events import Emit, ImageClassified, Message, Progress, RunOpened, ignore
from imgtrain.model.archive import MAX_MODEL_GIB, load_model, save_model
from imgtrain.model.build import build_network, check_network, float32_copy
from imgtrain.model.compiling import compile_network
from imgtrain.model.numerics import Precision, choose_precision
from imgtrain.model.preprocess import with_preprocessing
from imgtrain.model.runtime import device_name, start, versions
from imgtrain.model.size import measure_network, refusing_too_large_batches
from imgtrain.plan import Plan
from imgtrain.record import ModelRecord
from imgtrain.reporting import draw_augmentation, try_report
from imgtrain.resume import (
    EarlierRun,
    check_same_images,
    describe_origin,
    describe_resumption,
    find_earlier_run,
    saying_how_to_resume,
)
from imgtrain.run_directory import RunDirectory, now, read_json, render_csv, write_json, write_text
from imgtrain.statistics import fit_statistics, needs_statistics
from imgtrain.text import printable
from imgtrain.tracking import Trackers, check_trackers, track
from imgtrain.training.checkpoints import Checkpoints
from imgtrain.training.dataset import BatchDataset
from imgtrain.training.fit import fit
from imgtrain.training.history import Epoch, History

__all__ = [
    "EvaluateResult",
    "OpenBatches",
    "PredictResult",
    "TrainResult",
    "build_model",
    "evaluate",
    "open_batches",
    "predict",
    "train",
]

# Images in a batch when nothing is learned: larger ones cost memory and gain nothing.
INFERENCE_BATCH_SIZE = 128
# Training keeps the outputs of all layers and their gradients, inference those of two layers: where a batch was
# trained on, so many times the images fit, also in float32.
_INFERENCE_ROOM = 2
# A saved model that says something else than the trained one by more than this was not saved right.
_SAVED_TOLERANCE = 1e-5
# What `run.json` says of a run until it is known.
_NOT_KNOWN_YET: Mapping[str, Any] = {
    "epochs_run": 0,
    "best_epoch": None,
    "stopped_early": False,
    "train_images_per_second": None,
    "peak_memory_mib": None,
}


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


@dataclass(frozen=True, slots=True, eq=False)
class EvaluateResult:
    """An evaluated model.

    Attributes:
        folder: The images.
        directory: Where the files are; None if none were asked for.
        predictions: Of every image.
        metrics: The contents of `metrics.json`.
    """

    folder: Path
    directory: Path | None
    predictions: Predictions
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class PredictResult:
    """Classified files.

    Attributes:
        output: The file with the answers; None if none was asked for.
        counts: How often each answer was given; all classes, and `unsure` if it was.
        unreadable: (path, reason) of every file that could not be decoded.
    """

    output: Path | None
    counts: Mapping[str, int]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def answered(self) -> int:
        """Number of files that were classified."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, eq=False)
class OpenBatches:
    """The batches of every split, for `model.fit`, `model.evaluate` or a loop of one's own.

    Attributes:
        plan: What they were made of.
        train: Augmented and shuffled, anew in every epoch.
        validation: Unchanged images in file order; None without validation images.
        test: Unchanged images in file order; None without test images.
    """

    plan: Plan
    train: BatchDataset
    validation: BatchDataset | None
    test: BatchDataset | None


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

    with run.locked(), saying_how_to_resume(run):
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
    images = gather_images(config, plan.splits, emit)
    if earlier is not None and checkpoint is not None:
        check_same_images(earlier, images, run)
        run.create_for_evaluation()
    else:
        run.create(overwrite=overwrite or earlier is not None)
    # The weights follow from the number format: it stays, also on hardware that would choose another.
    begun_in = None if earlier is None else earlier.origin("precision")
    precision = choose_precision(begun_in or config.training.precision)
    with run.opened(
        {**_describe_run(plan, precision), **_NOT_KNOWN_YET, **describe_resumption(earlier)}
    ) as facts:
        emit(RunOpened(run.path, run.log, resumed=checkpoint is not None))
        write_text(run.config, render_config(config))

        write_json(run.data, images.describe())

        batches = _make_batches(plan, images, inference_batch_size=_inference_batch_size(plan))
        trackers.take_samples(batches["train"])
        model = _build(plan, batches["train"], precision.name, for_training=True)
        emit(measure_network(model, config))
        emit(Message(precision.reason, "warning" if precision.slow else "info"))
        named = ", ".join(f"{package} {version}" for package, version in versions().items())
        emit(Message(f"{device_name()}; {named}; seed {config.training.seed}", "detail"))

        folder = CheckpointFolder(run.checkpoints)
        origin = describe_origin(config, images, _describe_run(plan, precision))
        with refusing_too_large_batches(model, config):
            history = fit(
                model,
                batches["train"],
                batches.get("validation"),
                config.training,
                checkpoints=Checkpoints(
                    folder, origin=origin, minutes=config.training.checkpoint_minutes, earlier=checkpoint
                ),
                on_epoch=partial(_note_epochs, run, facts),
                emit=emit,
            )
        _note_epochs(run, facts, history.epochs)
        facts.update(_describe_history(history))

        model = float32_copy(model, config)
        temperature = (
            _calibrate(model, plan, images.validation, emit) if config.evaluation.calibrate else None
        )
        outputs = {part.split.name: _predict(model, plan, part, emit) for part in images.evaluated()}
        decision = _choose_decision(plan, outputs.get("validation"), emit)
        predictions = {name: _decide(output, decision) for name, output in outputs.items()}
        metrics = _score_beside_baselines(predictions, images, config.training.seed, emit)

        path = run.model(config.output.model)
        save_model(model, _make_record(plan, images, decision, temperature), path)
        _refuse_changed_model(path, model, batches["train"])
        shown = images.test or images.validation
        if shown is not None:
            name = shown.split.name
            write_text(run.predictions(name), render_predictions(predictions[name]))
        write_json(run.metrics, metrics)
        facts["peak_memory_mib"] = _peak_memory_mib()
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


def evaluate(
    model: Path | str,
    *,
    folder: Path | str | None = None,
    output: Path | str | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    config: Path | str | None = None,
    rescale: str | float | None = None,
    classes: tuple[str, ...] | None = None,
    emit: Emit = ignore,
) -> EvaluateResult:
    """Score a saved model on a folder of images.

    Args:
        model: A `.keras` or `.h5` file, or a run directory.
        folder: One sub-folder per class; default: the test folder that the model was trained with.
        output: A folder for `metrics.json`, `predictions.csv` and `report.html`.
        batch_size: Images in a batch.
        max_model_gib: The most memory that the model may claim before it is loaded.
        config: For a model that imgtrain did not make: the configuration that says how images are read.
        rescale: For a model that imgtrain did not make: the factor that its inputs were scaled by.
        classes: For a model that imgtrain did not make: its class names in order.
        emit: Takes events while the work goes on.

    Raises:
        ConfigError: It is not said how the images are to be read, or it is said twice.
        DataError: The images are wrong, or their folders do not fit the model's classes.
        RunFileError: The model cannot be loaded, or the output cannot be written.
    """
    loaded = load_model(Path(model), max_gib=max_model_gib)
    reading = read_as_asked(
        loaded.record,
        model=printable(str(loaded.path)),
        input_shape=loaded.shape.image_shape,
        units=loaded.shape.units,
        folder=None if folder is None else Path(folder),
        config=None if config is None else Path(config),
        rescale=rescale,
        classes=classes,
    )
    for warning in reading.warnings:
        emit(Message(warning, "warning"))
    directory = None
    if output is not None:
        directory = RunDirectory(Path(output))
        directory.refuse_if_run()
        directory.create_for_evaluation()

    part = decode_splits(
        [reading.split],
        reading.settings,
        cache="auto",
        cache_directory=None,
        on_bad_image=reading.on_bad_image,
        emit=emit,
    )["evaluation"]

    network = loaded.model
    if reading.preprocessing is not None:
        network = with_preprocessing(network, reading.preprocessing, reading.settings.shape)
    batches = _in_file_order(part, reading.class_mode, batch_size)
    probabilities, loss = predict_split(network, batches, loss=reading.loss, task="evaluating", emit=emit)
    predictions = Predictions(
        paths=part.split.paths,
        labels=part.split.labels,
        probabilities=probabilities,
        predicted=decide(probabilities, reading.threshold),
        loss=loss,
        class_names=part.split.class_names,
        groups=number_groups(part.split.group_paths, reading.group_by),
        abstain_below=reading.abstain_below,
    )
    most_frequent = majority(predictions.labels) if reading.majority_label is None else reading.majority_label
    guesses = np.full_like(predictions.labels, most_frequent)
    metrics = {"evaluation": score(predictions, baselines={MAJORITY: guesses})}
    for sentence in say_unbeaten("evaluation", metrics["evaluation"]):
        emit(Message(sentence, "warning"))

    if directory is not None:
        write_text(directory.predictions(), render_predictions(predictions))
        write_json(directory.metrics, metrics)
        try_report(directory, part, network, emit=emit)
    written = None if directory is None else directory.path
    return EvaluateResult(part.split.folder.root, written, predictions, metrics)


def predict(
    model: Path | str,
    names: Iterable[str],
    *,
    output: Path | str | None = None,
    top: int | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    emit: Emit = ignore,
) -> PredictResult:
    """Classify files, one after the other, in memory that does not grow with their number.

    Args:
        model: A file that imgtrain saved, or a run directory.
        names: Files, folders and patterns.
        output: A `.csv`, `.json` or `.jsonl` file; without it every answer is told as an event.
        top: Only so many of the most probable classes; None: all in a file, one in an event.
        batch_size: Images in a batch.
        max_model_gib: The most memory that the model may claim before it is loaded.
        emit: Takes events while the work goes on.

    Raises:
        ConfigError: The output's suffix is none of these, or the model was not made by imgtrain.
        DataError: There is no file to classify.
        RunFileError: The model cannot be loaded, or the output cannot be written.
    """
    if output is not None:
        check_answers_file(Path(output))
    paths = list(find_named_files(names))
    if not paths:
        raise DataError(Problem("", "there is nothing to classify: no image was found"))
    loaded = load_model(Path(model), max_gib=max_model_gib)
    if loaded.record is None:
        where = printable(str(loaded.path))
        hint = "`imgtrain evaluate` takes such models, with --rescale"
        raise ConfigError(Problem(where, "was not made by imgtrain: its classes are not known", hint))
    class_names = loaded.record.class_names
    counts = dict.fromkeys(class_names, 0)
    unreadable: list[tuple[str, str]] = []
    with ExitStack() as stack:
        write: Write = partial(_tell_answer, class_names=class_names, top=top or 1, emit=emit)
        if output is not None:
            shown = None if top is None else min(top, len(class_names))
            write = stack.enter_context(answers_file(Path(output), class_names, shown))
            emit(Progress("classifying", 0, len(paths), "files"))
        answers = classify(loaded.model, loaded.record, paths, batch_size=batch_size)
        for done, answer in enumerate(stack.enter_context(closing(answers)), start=1):
            if isinstance(answer, Unreadable):
                unreadable.append((answer.path, answer.reason))
                emit(Message(f"{printable(answer.path)}: {answer.reason}", "warning"))
            else:
                says = answer.says(class_names)
                counts[says] = counts.get(says, 0) + 1
            write(answer)
            if output is not None and (done % batch_size == 0 or done == len(paths)):
                emit(Progress("classifying", done, len(paths), "files"))
    return PredictResult(None if output is None else Path(output), counts, tuple(unreadable))


def open_batches(plan: Plan, *, emit: Emit = ignore) -> OpenBatches:
    """Return the batches of every split as `keras.utils.PyDataset`s.

    Args:
        plan: What `make_plan` returned.
        emit: Takes events while images are decoded.

    Raises:
        DataError: The images are wrong.
        RunFileError: The cache cannot be written.
    """
    images = gather_images(plan.config, plan.splits, emit)
    made = _make_batches(plan, images, inference_batch_size=plan.config.data.batch_size)
    batches = {name: BatchDataset(part) for name, part in made.items()}
    return OpenBatches(plan, batches["train"], batches.get("validation"), batches.get("test"))


def build_model(batches: OpenBatches) -> Any:
    """Return the compiled `keras.Sequential` that was planned, with fresh weights, in float32.

    Args:
        batches: What `open_batches` returned; the featurewise preprocessing is fitted on its training images.

    Raises:
        ConfigError: A layer or the optimizer does not accept its arguments or its input.
    """
    return _build(batches.plan, batches.train.batches, "float32")


def _tell_answer(answer: Answer | Unreadable, *, class_names: tuple[str, ...], top: int, emit: Emit) -> None:
    if isinstance(answer, Answer):
        ranked = tuple((class_names[label], float(answer.probabilities[label])) for label in answer.top(top))
        emit(ImageClassified(answer.path, answer.says(class_names), answer.probability, ranked))


def _dry_run(plan: Plan, emit: Emit) -> TrainResult:
    """Show the network; preprocessing, which may need statistics of the images, is left as it is by default."""
    config = plan.config.model_copy(update={"preprocessing": PreprocessingConfig()})
    model = build_network(config, class_count=len(plan.class_names), statistics=None)
    emit(measure_network(model, config))
    return TrainResult(None, model, None, {})


def _make_batches(plan: Plan, images: Images, *, inference_batch_size: int) -> dict[str, Batches]:
    """Return the batches of every split: augmented and shuffled for training, in file order for the others."""
    data, training = plan.config.data, plan.config.training
    batches = {
        part.split.name: _in_file_order(
            _validated_on(part, plan) if part.split.name == "validation" else part,
            data.class_mode,
            inference_batch_size,
        )
        for part in images.evaluated()
    }
    split = images.train.split
    batches["train"] = Batches(
        pixels=images.train.pixels,
        rows=split.rows,
        labels=split.labels,
        paths=split.paths,
        class_count=len(split.class_names),
        class_mode=data.class_mode,
        batch_size=data.batch_size,
        shuffle=data.shuffle,
        seed=training.seed,
        augmentation=plan.config.augmentation,
        balance=data.balance,
        steps=training.steps_per_epoch,
        class_weights=plan.class_weights,
    )
    return batches


def _validated_on(part: SplitImages, plan: Plan) -> SplitImages:
    """Return what is validated on after each epoch: all, or `validation_steps` batches, evenly of all classes."""
    split, steps = part.split, plan.config.training.validation_steps
    if steps is None or steps * plan.config.data.batch_size >= len(split):
        return part
    # The rows are sorted by class, so that even distances keep the classes' shares.
    places = np.linspace(0, len(split) - 1, steps * plan.config.data.batch_size).round().astype(np.intp)
    return replace(part, split=replace(split, rows=split.rows[places]))


def _inference_batch_size(plan: Plan) -> int:
    return min(INFERENCE_BATCH_SIZE, _INFERENCE_ROOM * plan.config.data.batch_size)


def _in_file_order(part: SplitImages, class_mode: ClassMode, batch_size: int) -> Batches:
    split = part.split
    return Batches(
        pixels=part.pixels,
        rows=split.rows,
        labels=split.labels,
        paths=split.paths,
        class_count=len(split.class_names),
        class_mode=class_mode,
        batch_size=batch_size,
    )


def _build(plan: Plan, train: Batches, precision: str, *, for_training: bool = False) -> Any:
    """Return the compiled network, its preprocessing fitted on the training images."""
    config = plan.config
    statistics = None
    if needs_statistics(config.preprocessing):
        statistics = fit_statistics(train.unchanged_images(), config.preprocessing)
    model = build_network(
        config,
        class_count=len(plan.class_names),
        statistics=statistics,
        precision=precision,
        for_training=for_training,
    )
    compile_network(model, config, precision=precision, for_training=for_training)
    return model


def _predict(model: Any, plan: Plan, part: SplitImages, emit: Emit) -> Predictions:
    """Return the probabilities of a split; the decision is still the most probable class."""
    batches = _in_file_order(part, plan.config.data.class_mode, _inference_batch_size(plan))
    task = f"evaluating {part.split.name}"
    with refusing_too_large_batches(model, plan.config):
        probabilities, loss = predict_split(model, batches, loss=plan.loss, task=task, emit=emit)
    return Predictions(
        paths=part.split.paths,
        labels=part.split.labels,
        probabilities=probabilities,
        predicted=decide(probabilities, None),
        loss=loss,
        class_names=plan.class_names,
        groups=number_groups(part.split.group_paths, plan.config.data.group_by),
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
    divide_logits(model, temperature)
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
        for sentence in say_unbeaten(name, metrics[name]):
            emit(Message(sentence, "warning"))
    return metrics


def _make_record(plan: Plan, images: Images, decision: Decision, temperature: float | None) -> ModelRecord:
    data = plan.config.data
    return ModelRecord(
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


def _refuse_changed_model(path: Path, model: Any, train: Batches) -> None:
    """Load the saved model as `evaluate` does, and compare what it says of a batch."""
    images = train.batch(0, 0)[0]
    saved, trained = (predictor(network)(images) for network in (load_model(path).model, model))
    difference = float(np.abs(saved - trained).max())
    if not difference <= _SAVED_TOLERANCE:
        raise RunFileError(
            Problem(
                printable(str(path)),
                f"the saved model gives other probabilities than the trained one (by {difference:.2g})",
                "set output.model to model.keras",
            )
        )


def _describe_run(plan: Plan, precision: Precision) -> dict[str, Any]:
    return {
        "model": plan.config.output.model,
        "seed": plan.config.training.seed,
        "versions": versions(),
        "device": device_name(),
        "precision": precision.name,
        "class_names": list(plan.class_names),
    }


def _note_epochs(run: RunDirectory, facts: dict[str, Any], epochs: Sequence[Epoch]) -> None:
    """Keep the history on disk, and the count of epochs in what `run.json` will say."""
    write_text(run.history, _render_history(epochs))
    facts["epochs_run"] = len(epochs)


def _describe_history(history: History) -> dict[str, Any]:
    return {
        "epochs_run": len(history.epochs),
        "best_epoch": history.best_epoch + 1,
        "stopped_early": history.stopped_early,
        "train_images_per_second": round(history.images_per_second, 1),
    }


def _render_history(epochs: Sequence[Epoch]) -> str:
    """Return a row per epoch, counted from 1 as on the screen."""
    names = list(epochs[0].logs)
    rows = (
        [epoch.number + 1, f"{epoch.seconds:.3f}", *(epoch.logs[name] for name in names)] for epoch in epochs
    )
    return render_csv(["epoch", "seconds", *names], rows)


def _peak_memory_mib() -> float:
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kibibytes / 1024, 1)
