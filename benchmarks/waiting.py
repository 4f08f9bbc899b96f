"""Pipeline overhead: training compared with the training step alone on batches already in memory.

    python benchmarks/waiting.py FOLDER [--network two|three] [--rounds 10]

FOLDER contains one folder of photos per class. A round of either is one epoch of batches of 32 images. Training reads
and augments batches, emits progress events, and writes a checkpoint at the end of the epoch, without a validation
pass.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from photos import NETWORKS, configuration, count_images, lay_out
from side_by_side import Gate, compare, open_gate, print_table


def without_validation(folder: Path, network: str) -> dict[str, object]:
    config = configuration(folder, network, epochs=1000)
    del config["data"]["validation"]
    return config


def step_alone(folder: Path, network: str, gate: Gate) -> None:
    from imgtrain.config import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.model.build import build_network
    from imgtrain.model.compile import compile_network
    from imgtrain.model.precision import choose_precision
    from imgtrain.training.steps import Steps
    from imgtrain.workflows.library import open_batches

    config = parse_config(without_validation(folder, network))
    batches = open_batches(make_plan(config)).train.batches
    precision = choose_precision("auto").name
    model = build_network(
        config,
        class_count=len(list((folder / "train").iterdir())),
        statistics=None,
        precision=precision,
        for_training=True,
    )
    compile_network(model, config, precision=precision, for_training=True)
    steps, ready = Steps(model, batches), [batches.batch(0, step) for step in range(len(batches))]
    while True:
        gate()
        for batch in ready:
            steps.train(batch)


def whole_training(folder: Path, network: str, gate: Gate) -> None:
    from imgtrain.config import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.events import EpochStarted, Event
    from imgtrain.workflows.train import train

    def listen(event: Event) -> None:
        if isinstance(event, EpochStarted):
            gate()

    train(make_plan(parse_config(without_validation(folder, network))), overwrite=True, emit=listen)


CONTENDERS: dict[str, Callable[[Path, str, Gate], None]] = {
    "step alone": step_alone,
    "whole training": whole_training,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="three")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--as", dest="contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        CONTENDERS[options.contender](options.folder, options.network, open_gate())
        raise SystemExit
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        lay_out(options.folder, place)
        arguments = {name: [str(place), "--network", options.network, "--as", name] for name in CONTENDERS}
        seconds = compare(__file__, arguments, rounds=options.rounds)
        print(f"network {options.network}")
        print_table(seconds, images=count_images(place / "train"), first="whole training")
