"""End-to-end training throughput including validation, in interleaved rounds.

    python benchmarks/training.py FOLDER [--network two|three|init] [--rounds 5] [--epochs 1] [--only "imgtrain;…"]

FOLDER contains one folder of photos per class; they are resized to 150×150 first, and every augmentation is enabled. A
round is one or more epochs. `Model.fit` waits for tf.data at the end of some epochs, and the waits grow with run time
and idle time; rounds of several epochs are closer to what users experience. PyTorch needs the `benchmarks` extra.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import peers
from photos import NETWORKS, configuration, count_images, lay_out
from side_by_side import Gate, compare, open_gate, print_table

ENDLESS = 1000


def imgtrain(folder: Path, network: str, gate: Gate, *, precision: str) -> None:
    """Run `imgtrain train` including checkpoints and files; the gate is called before every epoch."""
    from imgtrain.config import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.events import EpochStarted, Event
    from imgtrain.workflows.train import train

    def listen(event: Event) -> None:
        if isinstance(event, EpochStarted):
            gate()

    run = configuration(folder, network, epochs=ENDLESS, precision=precision)
    run["output"]["directory"] = str(folder / f"run-{precision}")
    train(make_plan(parse_config(run)), overwrite=True, emit=listen)


def keras_fit(folder: Path, network: str, gate: Gate, *, data: Callable[[Path, str], object]) -> None:
    import keras

    class AtTheGate(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            gate()

    train, validation = data(folder, "train"), data(folder, "validation")
    model = peers.keras_network(network, len(list((folder / "train").iterdir())))
    model.fit(train, validation_data=validation, epochs=ENDLESS, verbose=0, callbacks=[AtTheGate()])


def torch_loop(folder: Path, network: str, gate: Gate, *, bfloat16: bool, channels_last: bool) -> None:
    epochs = peers.torch_epochs(folder, network, bfloat16=bfloat16, channels_last=channels_last)
    while True:
        gate()
        next(epochs)


CONTENDERS: dict[str, Callable[[Path, str, Gate], None]] = {
    "imgtrain": partial(imgtrain, precision="auto"),
    "imgtrain, float32": partial(imgtrain, precision="float32"),
    "ImageDataGenerator": partial(keras_fit, data=peers.image_data_generator),
    "image_dataset_from_directory": partial(keras_fit, data=peers.image_dataset),
    "PyTorch": partial(torch_loop, bfloat16=False, channels_last=False),
    "PyTorch, channels_last": partial(torch_loop, bfloat16=False, channels_last=True),
    "PyTorch, bfloat16": partial(torch_loop, bfloat16=True, channels_last=False),
    "PyTorch, bfloat16, channels_last": partial(torch_loop, bfloat16=True, channels_last=True),
}


def every(epochs: int, gate: Gate) -> Gate:
    """Return a gate that only waits before the first of `epochs` epochs."""
    number = count()

    def pass_or_wait() -> None:
        if next(number) % epochs == 0:
            gate()

    return pass_or_wait


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="three")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1, help="epochs per round")
    parser.add_argument("--only", default=";".join(CONTENDERS), help="contenders, separated by ;")
    parser.add_argument("--as", dest="contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        gate = every(options.epochs, open_gate())
        CONTENDERS[options.contender](options.folder, options.network, gate)
        raise SystemExit
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        lay_out(options.folder, place)
        names = options.only.split(";")
        common = [str(place), "--network", options.network, "--epochs", str(options.epochs)]
        arguments = {name: [*common, "--as", name] for name in names}
        seconds = compare(__file__, arguments, rounds=options.rounds)
        trained, validated = (options.epochs * count_images(place / name) for name in ("train", "validation"))
        print(f"network {options.network}, {validated:,} images validated in each round")
        for first in (name for name in names if name.startswith("imgtrain")):
            print_table(seconds, images=trained, first=first)
