"""`imgtrain train --find-lr`: a learning rate range test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imgtrain.config.render import render_value
from imgtrain.dataset.plan import Plan
from imgtrain.errors import ConfigError, Problem, RunFileError
from imgtrain.events import Emit, Message, ignore
from imgtrain.run.run_directory import RunDirectory, render_csv, write_text
from imgtrain.training.rate_range import RateRange

__all__ = ["FoundRate", "find_learning_rate"]


@dataclass(frozen=True, slots=True, eq=False)
class FoundRate:
    """Result of a learning rate range test.

    Attributes:
        directory: Folder of `learning-rates.csv` and `learning-rates.png`.
        tested: The learning rates and losses.
        suggestion: The suggested learning rate; None if the loss does not decrease.
        line: The line for the configuration's section `training`; None without a suggestion.
    """

    directory: Path
    tested: RateRange
    suggestion: float | None
    line: str | None


def find_learning_rate(plan: Plan, output: Path | None = None, *, emit: Emit = ignore) -> FoundRate:
    """Train a new network on some batches with increasing learning rates, and suggest one.

    No model is saved, and the run directory is not changed.

    Args:
        plan: A plan, as returned by `make_plan`.
        output: Folder for the results; None for `<run directory>-learning-rates`.
        emit: Called with progress events.

    Raises:
        ConfigError: The layers are incompatible, or the optimizer has no learning rate.
        DataError: The images are invalid.
        RunFileError: The output is a run directory, or cannot be written.
    """
    directory = output or plan.directory.with_name(f"{plan.directory.name}-learning-rates")
    if RunDirectory(directory).run.exists():
        raise RunFileError(
            Problem(directory, "is a run directory, which is not changed", "choose another --output")
        )
    for warning in plan.warnings:
        emit(Message(warning, "warning"))

    # TensorFlow is imported from here on.
    from imgtrain.batches.make_batches import inference_batch_size, make_batches
    from imgtrain.model.build import build_and_compile
    from imgtrain.model.check_network import check_network
    from imgtrain.model.measure import explain_out_of_memory
    from imgtrain.model.precision import choose_precision
    from imgtrain.model.runtime import start
    from imgtrain.pixels.load_images import load_images
    from imgtrain.report.rate_figure import save_rate_figure
    from imgtrain.training.find_rate import try_rates

    config = plan.config
    start(config.training.seed)
    precision = choose_precision(config.training.precision).name
    if problems := check_network(config, class_count=len(plan.class_names), precision=precision):
        raise ConfigError(problems)
    images = load_images(config, plan.splits, emit)
    train = make_batches(plan, images, inference_batch_size=inference_batch_size(plan))["train"]
    model = build_and_compile(plan, train, precision, for_training=True)
    with explain_out_of_memory(model, config):
        tested = try_rates(model, train, accumulate=config.training.gradient_accumulation, emit=emit)

    RunDirectory(directory).create()
    rows = zip(tested.rates.tolist(), tested.losses.tolist(), tested.smoothed.tolist(), strict=True)
    write_text(directory / "learning-rates.csv", render_csv(["learning_rate", "loss", "smoothed_loss"], rows))
    suggestion = tested.suggest(scheduled=config.training.schedule is not None)
    save_rate_figure(tested, suggestion, directory / "learning-rates.png")
    return FoundRate(directory, tested, suggestion, _render_line(plan, suggestion))


def _render_line(plan: Plan, rate: float | None) -> str | None:
    if rate is None:
        return None
    optimizer = plan.config.training.optimizer
    arguments = {**optimizer.arguments, "learning_rate": rate}
    items = ", ".join(f"{name}: {render_value(value)}" for name, value in arguments.items())
    return f"optimizer: {{name: {optimizer.name.lower()}, {items}}}"
