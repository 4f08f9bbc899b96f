"""Times the first training steps in a subprocess, so that `check` does not import TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from imgtrain.audit.cost import Budget, MeasuredTraining
from imgtrain.config.load import load_config
from imgtrain.dataset.image_size import choose_sizes
from imgtrain.dataset.plan import Plan, make_plan
from imgtrain.errors import ConfigError, ImgtrainError, Problem
from imgtrain.run.machine import peak_memory_bytes
from imgtrain.training.epoch_plan import plan_epochs
from imgtrain.training.step_time import StepTimes

__all__ = ["main", "measure_training"]

# Timeout; a few steps normally take seconds.
_MOST_SECONDS = 120
_TIMING_SECONDS = 2.0
_CONFIG_PROBLEMS = 2
_BUDGETS_MINUTES = (1, 3, 10, 30)


def measure_training(config: Path, overrides: Sequence[str]) -> MeasuredTraining | None:
    """Return the estimated time per epoch and memory usage, measured over some steps.

    Args:
        config: A configuration that `make_plan` accepts.
        overrides: As for `load_config`.

    Returns:
        The measurement; None if the images are invalid, or the process timed out or was killed.

    Raises:
        ConfigError: The layers are incompatible, or the model does not fit into memory.
    """
    command = [sys.executable, "-m", "imgtrain.workflows.measure_training", str(config), *overrides]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    if done.returncode == _CONFIG_PROBLEMS:
        raise ConfigError([Problem(**problem) for problem in json.loads(lines[-1])])
    if done.returncode != 0:
        return None
    measured = json.loads(lines[-1])
    budgets = [
        Budget(**{**budget, "auto_size": tuple(budget["auto_size"])}) for budget in measured["budgets"]
    ]
    return MeasuredTraining(**{**measured, "budgets": tuple(budgets)})


def main() -> None:
    """Print the measurement, or the problems of the configuration, as one line of JSON."""
    config, *overrides = sys.argv[1:]
    try:
        print(json.dumps(asdict(_measure(Path(config), overrides))))
    except ConfigError as error:
        print(json.dumps([asdict(problem) for problem in error.problems]))
        sys.exit(_CONFIG_PROBLEMS)
    except ImgtrainError as error:
        sys.exit(str(error))


def _measure(config: Path, overrides: Sequence[str]) -> MeasuredTraining:
    from imgtrain.batches.make_batches import inference_batch_size, make_batches
    from imgtrain.model.build import build_and_compile
    from imgtrain.model.check_network import check_network
    from imgtrain.model.precision import choose_precision
    from imgtrain.model.runtime import start
    from imgtrain.pixels.load_images import load_images
    from imgtrain.training.step_time import time_steps
    from imgtrain.training.steps import Steps

    plan = make_plan(load_config(config, overrides))
    start(plan.config.training.seed)
    precision = choose_precision(plan.config.training.precision)
    if problems := check_network(plan.config, class_count=len(plan.class_names), precision=precision.name):
        raise ConfigError(problems)
    batches = make_batches(
        plan, load_images(plan.config, plan.splits), inference_batch_size=inference_batch_size(plan)
    )
    train, validation = batches["train"], batches.get("validation")
    model = build_and_compile(plan, train, precision.name, for_training=True)
    times = time_steps(Steps(model, train), train, validation, seconds=_TIMING_SECONDS)
    return MeasuredTraining(
        epoch_seconds=len(train) * times.step + times.validation,
        train_images_per_second=train.images_per_epoch / (len(train) * times.step),
        memory_bytes=peak_memory_bytes(),
        parameters=model.count_params(),
        budgets=tuple(_plan_budgets(plan, times, train.steps_per_pass)),
    )


def _plan_budgets(plan: Plan, times: StepTimes, steps_per_pass: int) -> Iterator[Budget]:
    height, width = plan.config.data.size
    sizes = choose_sizes(plan.splits.train, _BUDGETS_MINUTES)
    for minutes, size in zip(_BUDGETS_MINUTES, sizes, strict=True):
        epochs, auto_epochs = (
            plan_epochs(
                60 * minutes,
                seconds_per_step=scale * times.step,
                seconds_per_validation=scale * times.validation,
                steps_per_pass=steps_per_pass,
            ).passes(steps_per_pass)
            for scale in (1, size[0] * size[1] / (height * width))
        )
        yield Budget(minutes, epochs, size, auto_epochs)


if __name__ == "__main__":
    main()
