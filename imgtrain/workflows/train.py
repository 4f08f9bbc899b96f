"""`imgtrain train`: train, evaluate and save a model. Everything that does not need TensorFlow runs first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtrain.dataset.plan import Plan
from imgtrain.evaluation.score_names import describe_accuracy
from imgtrain.events import Emit, Message, ignore
from imgtrain.run.model_metadata import find_model_file
from imgtrain.run.run_directory import RunDirectory, read_json
from imgtrain.text import format_minutes, printable
from imgtrain.training.epoch_plan import keep_epoch_plan
from imgtrain.training.resume import adding_resume_hint, find_earlier_run, find_start

if TYPE_CHECKING:
    from imgtrain.training.history import History

__all__ = ["TrainResult", "train"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TrainResult:
    """A finished run.

    Attributes:
        directory: The run directory; None for a dry run.
        model: The trained Keras model, as saved; None if the run was already completed.
        history: All epochs; None for a dry run or if the run was already completed.
        metrics: The contents of `metrics.json`.
    """

    directory: Path | None
    model: Any
    history: History | None
    metrics: Mapping[str, Any]

    def __repr__(self) -> str:
        """Return a one-line summary."""
        scores = (f", {describe_accuracy(name, metrics)}" for name, metrics in self.metrics.items())
        return printable(f"<TrainResult: {self.directory or 'dry run'}{''.join(scores)}>")


def train(
    plan: Plan,
    *,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    start_from: Path | str | None = None,
    emit: Emit = ignore,
) -> TrainResult:
    """Train, evaluate and save a model.

    Args:
        plan: A plan, as returned by `make_plan`.
        overwrite: Replace an existing run in the same directory.
        resume: Resume the run in the same directory, if there is one.
        dry_run: Check the configuration and build the model, without decoding images, training or writing files.
        start_from: A run directory or model file whose weights a new run starts with; a resumed run keeps its own.
        emit: Called with progress events.

    Raises:
        ConfigError: The layers are incompatible, or the run to resume has a different configuration. Nothing is
            written.
        DataError: The images are invalid, or differ from those of the run to resume.
        RunFileError: The run directory already exists, or a file cannot be written.
        DivergedError: The loss became NaN or infinite.
        InterruptedRunError: Ctrl-C or SIGTERM was received.
    """
    for warning in plan.warnings:
        emit(Message(warning, "warning"))
    if plan.auto_size:
        height, width = plan.config.data.size
        minutes = plan.config.training.minutes
        assert minutes is not None
        emit(Message(f"data.target_size: auto is [{height}, {width}] for {format_minutes(minutes)}"))
    start = None if start_from is None else find_model_file(start_from).absolute()
    if dry_run:
        from imgtrain.workflows.train_and_evaluate import show_network

        return TrainResult(None, show_network(plan, emit), None, {})

    run = RunDirectory(plan.directory)
    with run.locked():
        run.raise_if_taken(overwrite=overwrite or resume)
        with adding_resume_hint(run):
            if resume:
                plan = replace(plan, config=keep_epoch_plan(plan.config, run, auto_size=plan.auto_size))
            earlier = find_earlier_run(plan.config, run, emit) if resume else None
            if earlier is not None:
                start = find_start(earlier, start)
            if earlier is not None and earlier.is_complete:
                emit(Message("the run is already completed"))
                return TrainResult(run.path, None, None, read_json(run.metrics))

            # TensorFlow is imported from here on.
            from imgtrain.workflows.train_and_evaluate import train_and_evaluate

            return train_and_evaluate(plan, run, earlier, emit, start_from=start)
