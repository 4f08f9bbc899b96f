"""How close training ends to its time budget, `training.minutes`, with what `imgtrain init` writes.

    python benchmarks/budget.py FOLDER [--minutes 0.5 1 1.5] [--set key=value ...]

FOLDER contains one folder of images per class. The time is from the first timed step to the end of the last epoch,
validation included; without starting Python, decoding, and the evaluation after training.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from imgtrain.config import load_config
from imgtrain.dataset.plan import make_plan
from imgtrain.dataset.propose import propose_config
from imgtrain.events import EpochStarted, Event, Message, ModelBuilt, TrainingEnded
from imgtrain.workflows.train import train


def seconds_of_training(folder: Path, minutes: float, overrides: list[str]) -> tuple[float, str]:
    """Return the time of training, and what was planned."""
    at: dict[type, float] = {}
    planned = []

    def listen(event: Event) -> None:
        if not isinstance(event, EpochStarted):
            at[type(event)] = time.perf_counter()
        if isinstance(event, Message) and event.text.startswith("planned"):
            planned.append(event.text)

    with tempfile.TemporaryDirectory() as temporary:
        config = Path(temporary) / "config.yaml"
        config.write_text(propose_config(folder, Path(temporary), minutes=minutes))
        plan = make_plan(load_config(config, [f"output.directory={temporary}/run", *overrides]))
        train(plan, emit=listen)
    return at[TrainingEnded] - at[ModelBuilt], planned[-1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 1, 1.5])
    parser.add_argument("--set", nargs="+", default=[], dest="overrides")
    options = parser.parse_args()
    for minutes in options.minutes:
        seconds, planned = seconds_of_training(options.folder, minutes, options.overrides)
        share = seconds / (60 * minutes)
        print(
            f"{options.folder.name}: {seconds:.1f} of {60 * minutes:g} s ({share:.0%}); {planned}", flush=True
        )
