"""`imgtrain train`: from a plan to a trained, evaluated and saved model; all that needs no TensorFlow comes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtrain.dataset.plan import Plan
from imgtrain.events import Emit, Message, ignore
from imgtrain.run.run_directory import RunDirectory, read_json
from imgtrain.training.epoch_plan import keep_epoch_plan
from imgtrain.training.resume import adding_resume_hint, find_earlier_run

if TYPE_CHECKING:
    from imgtrain.training.history import History

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
        resume: Resume an earlier run in the same directory, if there is one.
        dry_run: Check everything and build the network, but decode, train and write nothing.
        emit: Takes events while the work goes on.

    Raises:
        ConfigError: The network does not fit together, or the run to resume was configured otherwise;
            nothing was written.
        DataError: The images are wrong, or not those of the run to resume.
        RunFileError: The run directory is in the way, or something cannot be written.
        DivergedError: The loss became NaN or infinite.
        InterruptedRunError: A signal asked it to stop.
    """
    for warning in plan.warnings:
        emit(Message(warning, "warning"))
    if dry_run:
        from imgtrain.workflows.train_and_evaluate import show_network

        return TrainResult(None, show_network(plan, emit), None, {})

    run = RunDirectory(plan.directory)
    with run.locked(), adding_resume_hint(run):
        run.refuse_if_taken(overwrite=overwrite or resume)
        if resume:
            plan = replace(plan, config=keep_epoch_plan(plan.config, run))
        earlier = find_earlier_run(plan.config, run, emit) if resume else None
        if earlier is not None and earlier.is_complete:
            emit(Message("the run is completed already"))
            return TrainResult(run.path, None, None, read_json(run.metrics))

        # Only here does TensorFlow start.
        from imgtrain.workflows.train_and_evaluate import train_and_evaluate

        return train_and_evaluate(plan, run, earlier, emit)
