"""Augmented images per second by number of threads.

    python benchmarks/threads.py FOLDER [--rounds 7]

FOLDER contains one folder of photos per class; they are resized to 150×150 first, and every augmentation is enabled.
Each number of threads reads three epochs per round, interleaved; the median is reported.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from time import perf_counter

from photos import configuration, lay_out

from imgtrain.config import parse_config
from imgtrain.dataset.plan import make_plan
from imgtrain.workflows.library import open_batches

THREADS = (1, 2, 3, 4, 8)
EPOCHS = 3

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        lay_out(options.folder, Path(temporary))
        batches = open_batches(make_plan(parse_config(configuration(Path(temporary), "two")))).train.batches
        rates: dict[int, list[float]] = {threads: [] for threads in THREADS}
        for _ in range(options.rounds + 1):
            for threads in THREADS:
                started = perf_counter()
                images = sum(
                    len(batch[0])
                    for epoch in range(EPOCHS)
                    for batch in batches.read_ahead(epoch, workers=threads)
                )
                rates[threads].append(images / (perf_counter() - started))
        for threads, measured in rates.items():
            print(f"{threads} threads: {statistics.median(measured[1:]):,.0f} images/s")
