"""Cost per image of each stage in microseconds of wall time: decode, cache, read, sample, warp, transfer, step.

    python benchmarks/stages.py FOLDER [--network three] [--rounds 15]

FOLDER contains one folder of photos per class. Decoding is measured on the original files and on the same photos
resized to 150×150, on all cores; everything after it on 150×150, with every augmentation enabled. Reading, sampling
and warping are measured on one thread; in training they overlap with the training step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from photos import NETWORKS, SIDE, configuration, lay_out

from imgtrain.augment.apply import augment_batch
from imgtrain.augment.sample import sample_params
from imgtrain.config import parse_config
from imgtrain.dataset.index import index_folder
from imgtrain.dataset.plan import make_plan
from imgtrain.model.build import build_network
from imgtrain.model.compile import compile_network
from imgtrain.model.precision import choose_precision
from imgtrain.model.runtime import tf
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.image_store import open_image_store
from imgtrain.training.steps import Steps
from imgtrain.workflows.library import open_batches

BATCH = 32


def seconds(work: Callable[[], object], rounds: int) -> float:
    work()
    taken = []
    for _ in range(rounds):
        started = perf_counter()
        work()
        taken.append(perf_counter() - started)
    return statistics.median(taken)


def tell(stage: str, taken: float, images: int) -> None:
    print(f"{stage:44} {taken / images * 1e6:9.1f} µs", flush=True)


def decode_all(folder: Path, cache: str, place: Path) -> tuple[float, int]:
    images = index_folder(folder)
    started = perf_counter()
    open_image_store(images, DecodeSettings(SIDE, SIDE), cache=cache, cache_directory=place)  # type: ignore[arg-type]
    return perf_counter() - started, len(images)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="three")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        lay_out(options.folder, place)
        decode_all(place / "validation", "memory", place)  # starts the decoders
        tell("decode, original files", *decode_all(options.folder, "memory", place))
        in_memory, count = decode_all(place / "train", "memory", place)
        tell("decode, files of 150×150", in_memory, count)
        on_disk, _ = decode_all(place / "train", "disk", place / "cache")
        tell("write to the cache, without decoding", max(0.0, on_disk - in_memory), count)
        again, _ = decode_all(place / "train", "disk", place / "cache")
        tell("open and verify the cache (later runs)", again, count)

        config = parse_config(configuration(place, options.network))
        batches = open_batches(make_plan(config)).train.batches
        rng = np.random.default_rng(0)
        indices = rng.permutation(count)[:BATCH]
        pixels, out = np.empty((2, BATCH, SIDE, SIDE, 3), np.uint8)
        drawn = sample_params(
            config.augmentation, seed=0, epoch=0, stream_indices=indices, height=SIDE, width=SIDE
        )

        def draw() -> object:
            return sample_params(
                config.augmentation, seed=0, epoch=0, stream_indices=indices, height=SIDE, width=SIDE
            )

        tell("read", seconds(lambda: batches.pixels.read(indices, pixels), options.rounds), BATCH)
        tell("sample the augmentation", seconds(draw, options.rounds), BATCH)
        tell(
            "warp",
            seconds(lambda: augment_batch(pixels, drawn, config.augmentation, out), options.rounds),
            BATCH,
        )
        tell("a whole batch, one thread", seconds(lambda: batches.batch(0, 3), options.rounds), BATCH)
        batch = batches.batch(0, 3)
        tell("hand-over", seconds(lambda: tf.convert_to_tensor(batch[0]), options.rounds), BATCH)
        precision = choose_precision("auto").name
        model = build_network(
            config,
            class_count=batch[1].shape[1],
            statistics=None,
            precision=precision,
            for_training=True,
        )
        compile_network(model, config, precision=precision, for_training=True)
        steps = Steps(model, batches)
        tell(f"step, {precision}", seconds(lambda: steps.train(batch), 3 * options.rounds), BATCH)
        large = [np.concatenate([part] * 4) for part in batch]
        tell(
            "validation, batches of 128",
            seconds(lambda: steps.validate(tuple(large)), options.rounds),
            4 * BATCH,
        )
