"""What each option of `augmentation` costs: microseconds of processor time per image, all options in turns.

    python benchmarks/augmentation.py FOLDER [--rounds 20]

FOLDER contains one folder of photos per class. They are resized to 150×150 first. Each round takes the next epoch of a
batch of 32: parameters are drawn, pixels changed and mixed. Pillow's time is that of the same operations in Pillow, as
torchvision and timm call it, with NumPy where Pillow has none.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import peers
from photos import AUGMENTATION, EVERYTHING, SIDE, lay_out
from PIL import Image

from imgtrain.augment.warp import opencv_on_one_thread
from imgtrain.batches.batches import Batches
from imgtrain.config.schema import AugmentationConfig

BATCH = 32


class Photos:
    """Decoded photos in memory."""

    shape = (SIDE, SIDE, 3)

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.rglob("*.jpg"))
        self._pixels = np.stack(
            [np.asarray(Image.open(file)) for file in files[:: len(files) // BATCH][:BATCH]]
        )

    def read(self, indices: Any, out: Any = None) -> Any:
        """Return the pixels of some of them."""
        return np.take(self._pixels, indices, axis=0, out=out)


def epochs_of(photos: Photos, options: Mapping[str, Any]) -> Callable[[], object]:
    """Return a function that makes the next epoch, a single batch."""
    batches = Batches(
        pixels=photos,
        indices=np.arange(BATCH),
        labels=np.arange(BATCH, dtype=np.int32) % 10,
        class_count=10,
        class_mode="categorical",
        batch_size=BATCH,
        shuffle=True,
        augmentation=AugmentationConfig.model_validate(options),
    )
    epochs = iter(range(10**6))
    return lambda: batches.batch(next(epochs), 0)


def epochs_of_pillow(photos: Photos, *, everything: bool) -> Callable[[], object]:
    images = [Image.fromarray(pixels) for pixels in photos.read(np.arange(BATCH))]
    one_hot = np.eye(10)[np.arange(BATCH) % 10]
    augment = peers.augment_everything_with_pillow if everything else peers.augment_with_pillow

    def run() -> object:
        pixels = np.stack([np.asarray(augment(image)) for image in images])
        return peers.mix_batch(pixels, one_hot) if everything else pixels

    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        lay_out(arguments.folder, Path(temporary))
        photos = Photos(Path(temporary) / "train")
    alone = {name: {name: value} for name, value in EVERYTHING.items() if name not in AUGMENTATION}
    jitter = EVERYTHING["color_jitter"]
    parts = {f"color_jitter.{name}": {"color_jitter": {name: value}} for name, value in jitter.items()}
    stages = {
        "nothing": epochs_of(photos, {}),
        "ImageDataGenerator's options": epochs_of(photos, AUGMENTATION),
        **{name: epochs_of(photos, options) for name, options in (alone | parts).items()},
        "everything": epochs_of(photos, EVERYTHING),
        "ImageDataGenerator's options, Pillow": epochs_of_pillow(photos, everything=False),
        "everything, Pillow": epochs_of_pillow(photos, everything=True),
    }
    taken: dict[str, list[float]] = {name: [] for name in stages}
    with opencv_on_one_thread():
        for _ in range(arguments.rounds + 1):
            for name, run in stages.items():
                started = process_time()
                run()
                taken[name].append((process_time() - started) / BATCH * 1e6)
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
    print(f"{'':38}{'µs':>8}{'÷ everything':>15}")
    for name, median in medians.items():
        ratios = [time / other for time, other in zip(taken[name][1:], taken["everything"][1:], strict=True)]
        print(f"{name:38}{median:8.1f}{statistics.median(ratios):15.2f}")
