"""Exported models beside the Keras model: agreement, size and latency of every format and quantization.

    python benchmarks/export.py FOLDER [--models MODELS] [--epochs 12] [--only two-classes]

FOLDER contains one folder of photos per class. Three networks are trained on it first, and kept in MODELS for the next
time: two classes in an `.h5` file, all classes in a `.keras` file, and a MobileNetV2 backbone, initialized randomly.
Half of the photos are validation images, on which the exported models are compared with the Keras model. Prints the
tables of docs/export.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imgtrain

CONVOLUTIONS = [
    {"Conv2D": {"filters": 16, "kernel_size": 3, "padding": "same", "activation": "relu"}},
    {"MaxPooling2D": 2},
    {"Conv2D": {"filters": 32, "kernel_size": 3, "padding": "same", "activation": "relu"}},
    {"MaxPooling2D": 2},
    {"Conv2D": {"filters": 64, "kernel_size": 3, "padding": "same", "activation": "relu"}},
    {"MaxPooling2D": 2},
    "Flatten",
    {"Dense": {"units": 256, "activation": "relu"}},
]
BLOCKS = [
    layer
    for filters in (32, 64, 128)
    for layer in (
        {"Conv2D": {"filters": filters, "kernel_size": 3, "padding": "same", "use_bias": False}},
        "BatchNormalization",
        {"Activation": "relu"},
        {"MaxPooling2D": 2},
    )
] + ["GlobalAveragePooling2D"]
NETWORKS: dict[str, dict[str, Any]] = {
    "two-classes": {"classes": 2, "file": "model.h5", "size": 96, "model": {"layers": CONVOLUTIONS}},
    "all-classes": {"classes": None, "file": "model.keras", "size": 96, "model": {"layers": BLOCKS}},
    "backbone": {
        "classes": None,
        "file": "model.keras",
        "size": 96,
        "model": {"backbone": {"name": "MobileNetV2", "weights": None, "trainable": True}},
    },
}
FORMATS = [
    *(("litert", quantize) for quantize in ("none", "float16", "dynamic", "int8")),
    *(("onnx", quantize) for quantize in ("none", "float16", "dynamic", "int8")),
    ("saved_model", "none"),
]


def train(name: str, folder: Path, models: Path, epochs: int) -> Path:
    network = NETWORKS[name]
    run = models / name
    if not (run / "metrics.json").exists():
        classes = sorted(path for path in folder.iterdir() if path.is_dir())[: network["classes"]]
        data = models / f"{name}-data"
        data.mkdir(parents=True, exist_ok=True)
        for path in classes:
            if not (data / path.name).exists():
                (data / path.name).symlink_to(path.absolute())
        config = imgtrain.parse_config(
            {
                "data": {
                    "train": str(data),
                    "follow_links": True,
                    "validation_split": 0.5,
                    "target_size": [network["size"]] * 2,
                    "class_mode": "binary" if network["classes"] == 2 else "categorical",
                },
                "model": network["model"],
                "training": {"epochs": epochs},
                "output": {"directory": str(run), "model": network["file"]},
            }
        )
        imgtrain.train(imgtrain.make_plan(config), overwrite=True)
    return run


def show(name: str, run: Path, rows: slice) -> None:
    print(f"\n**{name}**\n")
    print(
        "| | size, MiB | accuracy lost, 95 % CI | equal decisions | largest difference | batch 1 | batch 32 |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for form, quantize in FORMATS[rows]:
        with tempfile.TemporaryDirectory() as scratch:
            suffix = {"litert": ".tflite", "onnx": ".onnx", "saved_model": ""}[form]
            figures = imgtrain.export_model(
                run, format=form, quantize=quantize, output=Path(scratch) / f"model{suffix}", max_loss=100
            ).figures
        print(describe(figures), flush=True)


def describe(figures: Mapping[str, Any]) -> str:
    """Return a row of the table; latency as a share of that of Keras, which was measured in turns."""
    latency = figures["latency"]
    shares = [
        f"{latency['exported'][n]['median_ms'] / latency['keras'][n]['median_ms']:.2f}" for n in ("1", "32")
    ]
    low, high = (0.0 - 100 * limit for limit in reversed(figures["accuracy_difference_ci95"]))
    quantized = "" if figures["quantize"] == "none" else f", {figures['quantize']}"
    cells = [
        f"`{figures['format']}`{quantized}",
        f"{figures['size_bytes'] / 2**20:.2f} ({figures['size_bytes'] / figures['keras_size_bytes']:.0%})",
        f"{0.0 - 100 * figures['accuracy_difference']:.1f} ({low:.1f} to {high:.1f})",
        f"{100 * figures['equal_decisions']:.1f} %",
        f"{figures['largest_difference']:.1g}",
        *shares,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", choices=NETWORKS, action="append")
    parser.add_argument("--formats", default="0:", help="slice of the rows: 0:4")
    options = parser.parse_args()
    rows = slice(*(int(end) if end else None for end in options.formats.split(":")))
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.only or NETWORKS:
            run = train(name, options.folder, options.models or Path(temporary), options.epochs)
            show(name, run, rows)
