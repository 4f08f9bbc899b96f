"""Accuracy of the fast training network (bfloat16, fused updates) compared with stock Keras layers in float32.

    python benchmarks/accuracy.py FOLDER [--network three] [--seeds 5] [--epochs 12] [--learning-rate 0.0003]

FOLDER contains one folder of photos per class. Both variants train on the same batches with the same seeds. The
accuracy is measured after the last epoch on the validation images, in float32, with the network that would be saved.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from photos import NETWORKS, configuration, lay_out

from imgtrain.config import parse_config
from imgtrain.dataset.plan import make_plan
from imgtrain.evaluation.predict import predict_split
from imgtrain.model.build import build_network, float32_copy
from imgtrain.model.compile import compile_network
from imgtrain.model.runtime import start
from imgtrain.training.fit import fit
from imgtrain.workflows.library import open_batches

VARIANTS = {"bfloat16, fused": ("bfloat16", True), "float32, stock Keras": ("float32", False)}


def accuracy(options: argparse.Namespace, folder: Path, seed: int, precision: str, fast: bool) -> float:
    optimizer = {"name": "adam", "learning_rate": options.learning_rate}
    config = parse_config(
        configuration(folder, options.network, epochs=options.epochs, seed=seed, optimizer=optimizer)
    )
    start(seed)
    data = open_batches(make_plan(config))
    validation = data.validation.batches
    model = build_network(
        config,
        class_count=len(data.plan.class_names),
        statistics=None,
        precision=precision,
        for_training=fast,
    )
    compile_network(model, config, precision=precision, for_training=fast)
    fit(model, data.train.batches, None, config.training)
    probabilities, _ = predict_split(
        float32_copy(model, config), validation, loss="categorical_crossentropy", task="validation"
    )
    return float((probabilities.argmax(axis=1) == validation.labels).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="three")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--learning-rate", type=float, default=0.0003)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        lay_out(options.folder, Path(temporary))
        for name, (precision, fast) in VARIANTS.items():
            found = [
                accuracy(options, Path(temporary), seed, precision, fast) for seed in range(options.seeds)
            ]
            error = statistics.stdev(found) / np.sqrt(len(found))
            each = ", ".join(f"{value:.3f}" for value in found)
            print(
                f"{name:22} mean {statistics.mean(found):.4f}, standard error {error:.4f}   ({each})",
                flush=True,
            )
