"""Training steps of a network with batch normalization, without data loading, in interleaved rounds.

    python benchmarks/normalization.py [--order norm|pool] [--side 96] [--rounds 5] [--only "imgtrain;…"]

Five blocks of 16 to 256 filters, batch size 32, AdamW, bfloat16 where not stated otherwise. A block is
Conv-BatchNorm-ReLU-Pool (`norm`) or Conv-Pool-BatchNorm-ReLU (`pool`). PyTorch needs the `benchmarks` extra.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from side_by_side import Gate, compare, open_gate, print_table

BATCH, STEPS, CLASSES = 32, 30, 6
FILTERS = (16, 32, 64, 128, 256)
RATE, DECAY = 1e-3, 0.05


def blocks(order: str) -> list[Any]:
    """Return the network in the configuration's form."""
    normalize, pool = ["BatchNormalization", "ReLU"], [{"MaxPooling2D": 2}]
    layers: list[Any] = []
    for filters in FILTERS:
        layers.append(
            {"Conv2D": {"filters": filters, "kernel_size": 3, "padding": "same", "use_bias": False}}
        )
        layers += [*normalize, *pool] if order == "norm" else [*pool, *normalize]
    return [*layers, "GlobalAveragePooling2D"]


def images(side: int) -> tuple[Any, Any]:
    """Return one batch of random images and labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (BATCH, side, side, 3), np.uint8)
    return pixels, rng.integers(0, CLASSES, BATCH)


def keras_steps(order: str, side: int, gate: Gate, *, fast: bool, precision: str) -> None:
    """Train with imgtrain's layers and updates, or with those of Keras."""
    from imgtrain.config import parse_config
    from imgtrain.model.build import build_network
    from imgtrain.model.compile import compile_network
    from imgtrain.model.runtime import tf

    config = parse_config(
        {
            "data": {"train": ".", "target_size": [side, side]},
            "model": {"layers": blocks(order)},
            "training": {"optimizer": {"name": "adamw", "learning_rate": RATE, "weight_decay": DECAY}},
        }
    )
    model = build_network(
        config, class_count=CLASSES, statistics=None, precision=precision, for_training=fast
    )
    compile_network(model, config, precision=precision, for_training=fast)
    model.optimizer.build(model.trainable_variables)
    step = tf.function(lambda batch: model.train_step(batch)["loss"], autograph=False)
    pixels, labels = images(side)
    batch = (tf.constant(pixels), tf.constant(np.eye(CLASSES, dtype=np.float32)[labels]))
    step(batch)
    while True:
        gate()
        for _ in range(STEPS):
            step(batch).numpy()


def torch_steps(order: str, side: int, gate: Gate, *, bfloat16: bool, channels_last: bool) -> None:
    """Train the same network with PyTorch."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    layers: list[Any] = []
    channels = 3
    for filters in FILTERS:
        normalize = [torch.nn.BatchNorm2d(filters), torch.nn.ReLU(inplace=True)]
        pool = [torch.nn.MaxPool2d(2)]
        layers.append(torch.nn.Conv2d(channels, filters, 3, padding=1, bias=False))
        layers += [*normalize, *pool] if order == "norm" else [*pool, *normalize]
        channels = filters
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, CLASSES)]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = torch.nn.Sequential(*layers).to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY, fused=True)
    loss_of = torch.nn.CrossEntropyLoss()
    pixels, labels = images(side)
    inputs, targets = torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = loss_of(model((inputs.float() / 255).contiguous(memory_format=layout)), targets)
        loss.backward()
        optimizer.step()

    step()
    while True:
        gate()
        for _ in range(STEPS):
            step()


CONTENDERS: dict[str, Callable[[str, int, Gate], None]] = {
    "imgtrain": partial(keras_steps, fast=True, precision="bfloat16"),
    "imgtrain, float32": partial(keras_steps, fast=True, precision="float32"),
    "Keras": partial(keras_steps, fast=False, precision="bfloat16"),
    "Keras, float32": partial(keras_steps, fast=False, precision="float32"),
    "PyTorch, float32": partial(torch_steps, bfloat16=False, channels_last=False),
    "PyTorch, float32, channels_last": partial(torch_steps, bfloat16=False, channels_last=True),
    "PyTorch": partial(torch_steps, bfloat16=True, channels_last=False),
    "PyTorch, channels_last": partial(torch_steps, bfloat16=True, channels_last=True),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--order", choices=("norm", "pool"), default="norm")
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=";".join(CONTENDERS), help="contenders, separated by ;")
    parser.add_argument("--as", dest="contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        CONTENDERS[options.contender](options.order, options.side, open_gate())
        raise SystemExit
    common = ["--order", options.order, "--side", str(options.side)]
    names = options.only.split(";")
    seconds = compare(__file__, {name: [*common, "--as", name] for name in names}, rounds=options.rounds)
    print(f"order {options.order}, {options.side}×{options.side}")
    print_table(seconds, images=BATCH * STEPS, first="imgtrain")
