"""Memory and time by data set size: separate runs of `imgtrain train` on 1, 2, 4 and 8 times as many images.

    python benchmarks/growth.py FOLDER [--most 50000] [--side 150]

FOLDER needs space for the images (2 to 10 KB each) and their pixels (68 KB each at 150×150). The images are noise and
the network is small, so that the input pipeline dominates. Each run trains two epochs, validates on 10 % of the
images, and uses its own cache. Peak memory is that of the training process, without the decoding processes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np
import yaml
from PIL import Image

CLASSES = 4


def write_image(place: Path, number: int, side: int) -> None:
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    coarse[..., number % 3] |= np.uint8(64 * (number % CLASSES))
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR).save(place, quality=80)


def make_images(folder: Path, numbers: range, side: int) -> None:
    for number in numbers:
        place = folder / f"class{number % CLASSES}" / f"{number:06}.jpg"
        if not place.exists():
            write_image(place, number, side)


def run(folder: Path, count: int, side: int) -> dict[str, float]:
    """Train on hard links to the first `count` images; return total time, epoch time and peak memory."""
    data, work = folder / f"data-{count}", folder / f"work-{count}"
    for number in range(count):
        name = Path(f"class{number % CLASSES}") / f"{number:06}.jpg"
        place = data / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            os.link(folder / "images" / name, place)
    config = {
        "data": {
            "train": str(data),
            "validation_split": 0.1,
            "target_size": [side, side],
            "batch_size": 64,
            "cache_directory": str(work / "cache"),
        },
        "augmentation": {"rotation_range": 20, "zoom_range": 0.2, "horizontal_flip": True},
        "model": {
            "layers": [
                {"Conv2D": {"filters": 8, "kernel_size": 5, "strides": 4, "activation": "relu"}},
                "GlobalAveragePooling2D",
            ]
        },
        "training": {"epochs": 2, "early_stopping": None},
        "output": {"directory": str(work / "run")},
    }
    work.mkdir(exist_ok=True)
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    started = perf_counter()
    command = [sys.executable, "-m", "imgtrain", "train", str(work / "config.yaml"), "--overwrite", "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole = perf_counter() - started
    facts = json.loads((work / "run" / "run.json").read_text())
    with (work / "run" / "history.csv").open() as file:
        epoch = list(csv.DictReader(file))[-1]
    return {"whole": whole, "epoch": float(epoch["seconds"]), "memory": facts["peak_memory_mib"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=150)
    options = parser.parse_args()
    folder: Path = options.folder
    for label in range(CLASSES):
        (folder / "images" / f"class{label}").mkdir(parents=True, exist_ok=True)
    blocks = [range(start, min(start + 1000, options.most)) for start in range(0, options.most, 1000)]
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(
            make_images, *zip(*((folder / "images", b, options.side) for b in blocks), strict=True)
        ):
            pass
    print(
        f"{'images':>8} {'pixels':>10} {'whole run':>11} {'2nd epoch':>11} {'per image':>11} {'peak memory':>13}"
    )
    for times in (8, 4, 2, 1):
        count = options.most // times
        took = run(folder, count, options.side)
        pixels = count * options.side**2 * 3 / 2**30
        print(
            f"{count:>8,} {pixels:>6.2f} GiB {took['whole']:>9.1f} s {took['epoch']:>9.2f} s "
            f"{took['epoch'] / count * 1e6:>8.0f} µs {took['memory']:>9,.0f} MiB",
            flush=True,
        )
