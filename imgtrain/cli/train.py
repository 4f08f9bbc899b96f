"""`imgtrain train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtrain.cli.options import ConfigPath, Overrides, Quiet, Verbose
from imgtrain.errors import ConfigError, Problem

if TYPE_CHECKING:
    from imgtrain.config import Config

__all__ = ["train"]


def train(
    config: ConfigPath,
    overrides: Overrides = [],  # noqa: B006  (typer copies it)
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run directory.", show_default=False)
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume a stopped or killed run; start a new one if there is none."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Run directory or model file whose weights initialize all layers that fit.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything and show the model, without training or writing anything."
        ),
    ] = False,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr",
            help="Learning rate range test: train on a few batches with increasing learning rates, plot the loss "
            "and suggest a rate. No model is saved; the curve is written to the folder --output.",
        ),
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(help="Time budget: the same as --set training.minutes=…", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="The same as --set training.epochs=…", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="The same as --set data.batch_size=…", show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            "--lr",
            help="The same as --set training.optimizer.learning_rate=…",
            show_default=False,
        ),
    ] = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train, evaluate and save a classifier.

    Example: imgtrain train configs/sample.yaml --set training.epochs=3
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite are mutually exclusive")
    for option, given in (("--resume", resume), ("--overwrite", overwrite), ("--dry-run", dry_run)):
        if find_lr and given:
            raise ConfigError(f"--find-lr and {option} are mutually exclusive")
    from imgtrain.cli.display import Display
    from imgtrain.config import load_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.training.run_settings import config_of_run, options_of_run
    from imgtrain.workflows.train import train as train_plan

    aliases = {
        "--minutes": ("training.minutes", minutes),
        "--epochs": ("training.epochs", epochs),
        "--batch-size": ("data.batch_size", batch_size),
        "--learning-rate": ("training.optimizer.learning_rate", learning_rate),
    }
    typed = {
        f"{key}={value}": f"{option} {value}" for option, (key, value) in aliases.items() if value is not None
    }
    if (of_run := config_of_run(config)) is not None:
        if not resume:
            hint = f"use --resume to continue it, or train its configuration: imgtrain train {of_run}"
            raise ConfigError(Problem(config, "is a run directory", hint))
        config, output = of_run, output or config

    def load(options: Sequence[str]) -> Config:
        loaded = load_config(config, [*options, *overrides, *typed], typed=typed)
        if output is None or find_lr:
            return loaded
        place = loaded.output.model_copy(update={"directory": output.absolute()})
        return loaded.model_copy(update={"output": place})

    with Display(verbose=verbose, quiet=quiet) as display:
        loaded = load([])
        if resume and (options := options_of_run(loaded, display.show)):
            loaded = load(options)
        plan = make_plan(loaded)
        if find_lr:
            from imgtrain.workflows.find_learning_rate import find_learning_rate

            display.show_found_rate(find_learning_rate(plan, output, emit=display.show))
            return
        result = train_plan(
            plan,
            overwrite=overwrite,
            resume=resume,
            dry_run=dry_run,
            start_from=start_from,
            emit=display.show,
        )
        display.show_result(result)
