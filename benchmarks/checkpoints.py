"""Cost of checkpoints: epochs with and without, for 22 million parameters and 2,000 images of 150×150.

    python benchmarks/checkpoints.py FOLDER

FOLDER is on the disk to be measured; the checkpoints (about 600 MB) are not deleted. The images are random pixels,
which train as fast as photos. The CPU time of a checkpoint is that of the writing thread.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imgtrain.batches.batches import Batches
from imgtrain.config import parse_config
from imgtrain.events import EpochEnded, Event
from imgtrain.model.build import build_network
from imgtrain.model.compile import compile_network
from imgtrain.model.precision import choose_precision
from imgtrain.training.checkpoint_store import Checkpoint, CheckpointStore
from imgtrain.training.checkpointing import Checkpointer
from imgtrain.training.fit import fit

IMAGES, SIDE, CLASSES, EPOCHS = 2000, 150, 4, 12
CONFIG: Mapping[str, Any] = {
    "data": {"train": "unused", "target_size": [SIDE, SIDE]},
    "augmentation": {"rotation_range": 20, "horizontal_flip": True, "brightness_range": [0.8, 1.2]},
    "model": {
        "layers": [
            {"Conv2D": {"filters": 16, "kernel_size": 3, "padding": "same", "activation": "relu"}},
            {"MaxPooling2D": 2},
            {"Dropout": 0.2},
            {"Conv2D": {"filters": 32, "kernel_size": 3, "padding": "same", "activation": "relu"}},
            {"MaxPooling2D": 2},
            {"Dropout": 0.2},
            "Flatten",
            {"Dense": {"units": 512, "activation": "relu"}},
            {"Dropout": 0.5},
        ]
    },
    "training": {"epochs": EPOCHS, "early_stopping": {"monitor": "loss", "patience": EPOCHS}},
}


class RandomPixels:
    """Replaces the pixel cache."""

    shape = (SIDE, SIDE, 3)

    def __init__(self) -> None:
        self._pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, *self.shape), dtype=np.uint8)

    def read(self, indices: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Return the pixels of some images."""
        return self._pixels.take(indices, axis=0, out=out)


class MeasuredFolder(CheckpointStore):
    """Records the time of each checkpoint."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.seconds: list[tuple[float, float]] = []

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and record the time."""
        wall, processor = time.perf_counter(), time.thread_time()
        super().save(checkpoint)
        self.seconds.append((time.perf_counter() - wall, time.thread_time() - processor))


def train_once(folder: MeasuredFolder | None) -> Sequence[tuple[float, float]]:
    """Return (wall, processor) seconds of every epoch after the first, in which TensorFlow builds its graphs."""
    config = parse_config(CONFIG)
    precision = choose_precision("auto").name
    model = build_network(
        config, class_count=CLASSES, statistics=None, precision=precision, for_training=True
    )
    compile_network(model, config, precision=precision, for_training=True)
    numbers = np.arange(IMAGES)
    batches = Batches(
        pixels=RandomPixels(),
        indices=numbers,
        labels=(numbers % CLASSES).astype(np.int32),
        class_count=CLASSES,
        class_mode="categorical",
        batch_size=32,
        shuffle=True,
        augmentation=config.augmentation,
    )
    marks: list[tuple[float, float]] = []

    def emit(event: Event) -> None:
        if isinstance(event, EpochEnded):
            marks.append((time.perf_counter(), time.process_time()))

    checkpoints = None if folder is None else Checkpointer(folder, origin={}, minutes=5)
    fit(model, batches, None, config.training, checkpoints=checkpoints, emit=emit)
    return [tuple(row) for row in np.diff(np.array(marks), axis=0)]


def main() -> None:
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    folder = MeasuredFolder(place / "checkpoints")
    for name, measured in (("without", train_once(None)), ("with", train_once(folder))):
        wall, processor = np.mean(measured, axis=0)
        print(f"{name}: {wall:.2f} s per epoch, {processor:.2f} s of CPU time")
    wall, processor = np.mean(folder.seconds, axis=0)
    print(f"a checkpoint: {wall:.2f} s beside the training, {processor:.2f} s of CPU time")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
