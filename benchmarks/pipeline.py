"""Throughput of input pipelines: augmented training images per second, in interleaved rounds.

    python benchmarks/pipeline.py FOLDER [--everything] [--rounds 5] [--skip NAME]

FOLDER contains one folder of photos per class. They are resized to 150×150 first; every augmentation of
ImageDataGenerator is enabled, or with `--everything` every one of imgtrain (RandAugment, color jitter, blur, JPEG,
erasing, MixUp and CutMix besides). ImageDataGenerator decodes in every epoch, the others once. PyTorch needs the
`benchmarks` extra; `--skip` leaves a pipeline out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import peers
from photos import AUGMENTATION, EVERYTHING, configuration, count_images, lay_out
from side_by_side import compare, open_gate, print_table


def imgtrain(folder: Path, *, augmentation: Mapping[str, Any] = AUGMENTATION) -> Callable[[], None]:
    from imgtrain.config import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.workflows.library import open_batches

    config = parse_config(configuration(folder, "two", augmentation=augmentation))
    batches = open_batches(make_plan(config)).train.batches
    epochs = iter(range(1000))

    def run() -> None:
        for _ in batches.read_ahead(next(epochs)):
            pass

    return run


def generator(folder: Path) -> Callable[[], None]:
    data = peers.image_data_generator(folder, "train")

    def run() -> None:
        for step in range(len(data)):
            data[step]
        data.on_epoch_end()

    return run


def one_pass(data: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in data:
            pass

    return run


CONTENDERS: dict[str, Callable[[Path], Callable[[], None]]] = {
    "imgtrain": imgtrain,
    "ImageDataGenerator": generator,
    "image_dataset_from_directory": lambda folder: one_pass(peers.image_dataset(folder, "train")),
    "PyTorch DataLoader": lambda folder: one_pass(peers.torch_loader(folder, "train")),
}
ALL = "imgtrain, everything"
EVERYTHING_CONTENDERS: dict[str, Callable[[Path], Callable[[], None]]] = {
    ALL: partial(imgtrain, augmentation=EVERYTHING),
    "imgtrain": imgtrain,
    "image_dataset_from_directory": lambda folder: one_pass(
        peers.image_dataset(folder, "train", everything=True)
    ),
    "PyTorch DataLoader": lambda folder: one_pass(peers.torch_loader(folder, "train", everything=True)),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--everything", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip", action="append", default=[])
    parser.add_argument("--as", dest="contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    contenders = EVERYTHING_CONTENDERS if options.everything else CONTENDERS
    if options.contender:
        gate = open_gate()
        run = contenders[options.contender](options.folder)
        while True:
            gate()
            run()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        lay_out(options.folder, place)
        flags = ["--everything"] if options.everything else []
        arguments = {
            name: [str(place), "--as", name, *flags] for name in contenders if name not in options.skip
        }
        seconds = compare(__file__, arguments, rounds=options.rounds)
        print_table(seconds, images=count_images(place / "train"), first=next(iter(contenders)))
