"""Estimate the disk space, memory and time of training from the configuration and a short measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imgtrain.audit.findings import Finding
from imgtrain.audit.inventory import Inventory
from imgtrain.audit.network_size import estimate_network
from imgtrain.augment.apply import augment_batch
from imgtrain.augment.sample import sample_params
from imgtrain.config.schema import Config
from imgtrain.pixels.decode import DecodedImage, DecodeSettings
from imgtrain.pixels.decode_workers import decode_each_in_worker
from imgtrain.pixels.packed_file import space_needed
from imgtrain.run.machine import available_cores, memory_bytes
from imgtrain.text import format_bytes

__all__ = [
    "Budget",
    "Cost",
    "MeasureTraining",
    "MeasuredTraining",
    "check_cost",
    "estimate_cost",
    "with_measurement",
]

_SAMPLE = 24
# Memory of Keras and TensorFlow without the network.
_PROGRAM_BYTES = 750 << 20
# Weight, gradient and two optimizer slots.
_VALUES_PER_WEIGHT = 4
# What a run holds besides, when it takes most: the best weights, a checkpoint that is being written (weights and
# slots), the float32 copy, and the saved model, which is loaded again to compare it. In between some are freed.
_MORE_VALUES_PER_WEIGHT = 6.5
# The report and its figures.
_REPORT_BYTES = 55 << 20


@dataclass(frozen=True, slots=True)
class Budget:
    """The epochs and image size that fit into a time budget, `training.minutes`, on this machine.

    Attributes:
        minutes: The budget.
        epochs: Passes over the training images at the configured `data.target_size`, with validation.
        auto_size: (height, width) of `data.target_size: auto`.
        auto_epochs: Passes at that size, if the time is proportional to the number of pixels.
    """

    minutes: float
    epochs: float
    auto_size: tuple[int, int]
    auto_epochs: float


@dataclass(frozen=True, slots=True)
class MeasuredTraining:
    """The first steps of training, measured on this machine.

    Attributes:
        epoch_seconds: Time of one epoch with its validation, without what only happens in the first one.
        train_images_per_second: Throughput of training, augmentation included, without validation.
        memory_bytes: Maximum memory of the process so far.
        parameters: Number of parameters of the network.
        budgets: What time budgets buy.
    """

    epoch_seconds: float
    train_images_per_second: float
    memory_bytes: int
    parameters: int
    budgets: tuple[Budget, ...] = ()


MeasureTraining = Callable[[Path, Sequence[str]], MeasuredTraining | None]
"""From a configuration and its overrides to the measurement; None if there is none.

Raises ConfigError if the network cannot be built.
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimated cost of a training run on this machine.

    Attributes:
        images: Number of training images.
        cache_bytes: Size of the decoded pixels of all splits.
        memory_bytes: Maximum memory of the training process.
        available_bytes: Memory of this machine, or its cgroup limit.
        parameters: Number of parameters of the network.
        decode_images_per_second: Decoding throughput on all cores.
        augment_images_per_second: Augmentation throughput on all cores.
        train_images_per_second: Throughput of training; None if it was not measured.
        epoch_seconds: Time of one epoch with its validation; None if it was not measured.
        budgets: What time budgets buy; empty if training was not measured.
        unknown_layers: Layers that `parameters` and `memory_bytes` leave out; none if training was measured.
    """

    images: int
    cache_bytes: int
    memory_bytes: int
    available_bytes: int
    parameters: int
    decode_images_per_second: float
    augment_images_per_second: float
    train_images_per_second: float | None = None
    epoch_seconds: float | None = None
    budgets: tuple[Budget, ...] = ()
    unknown_layers: tuple[str, ...] = ()


def estimate_cost(config: Config, inventory: Inventory) -> Cost | None:
    """Return the cost without the time of an epoch; None if no image can be decoded.

    Decoding and augmentation are measured, which takes about a second; the memory follows from the layers' shapes.
    """
    if not len(inventory.decoded):
        return None
    settings = DecodeSettings.of(config.data)
    chosen = inventory.decoded[:: max(1, len(inventory.decoded) // _SAMPLE)][:_SAMPLE]
    images, decode_rate = _measure_decoding([inventory.file(index) for index in chosen], settings)
    network = estimate_network(config, classes=len(inventory.class_names))
    batch = min(config.data.batch_size, max(1, len(inventory)))
    cores = available_cores()
    augment_rate = _measure_augmentation(config, images) * cores if len(images) else 0.0
    weights = 4 * (_VALUES_PER_WEIGHT + _MORE_VALUES_PER_WEIGHT) * network.parameters
    outputs = batch * (2 * 4 * network.activations + 8 * int(np.prod(settings.shape)))
    return Cost(
        images=len(inventory.indices_of("train")),
        cache_bytes=sum(
            space_needed(len(inventory.indices_of(name)), settings) for name in inventory.split_names
        ),
        memory_bytes=_PROGRAM_BYTES + _REPORT_BYTES + round(weights) + outputs,
        available_bytes=memory_bytes(),
        parameters=network.parameters,
        decode_images_per_second=decode_rate * cores,
        augment_images_per_second=augment_rate,
        unknown_layers=network.unknown,
    )


def with_measurement(cost: Cost, measured: MeasuredTraining) -> Cost:
    """Return the cost with the time, and with the memory that follows from what the first steps took."""
    later = round(4 * _MORE_VALUES_PER_WEIGHT * measured.parameters) + _REPORT_BYTES
    return replace(
        cost,
        memory_bytes=measured.memory_bytes + later,
        parameters=measured.parameters,
        train_images_per_second=measured.train_images_per_second,
        epoch_seconds=measured.epoch_seconds,
        budgets=measured.budgets,
        unknown_layers=(),
    )


def check_cost(cost: Cost) -> list[Finding]:
    """Return a finding if the network doesn't fit into memory."""
    if cost.memory_bytes <= cost.available_bytes:
        return []
    needed, there = format_bytes(cost.memory_bytes), format_bytes(cost.available_bytes)
    return [
        Finding(
            "out-of-memory",
            "error",
            f"training needs about {needed} of memory ({cost.parameters:,} parameters); {there} available",
            "`train` would be killed by the operating system",
            "add pooling before Flatten (or use GlobalAveragePooling2D), reduce data.target_size or data.batch_size",
        )
    ]


def _measure_decoding(files: Sequence[Path], settings: DecodeSettings) -> tuple[list[np.ndarray], float]:
    """Return some images, and the decoding throughput of one core in images/s."""
    images = []
    started = None
    for outcome in decode_each_in_worker(files, settings):
        if isinstance(outcome, DecodedImage):  # all were decodable before
            images.append(outcome.pixels)
        started = (
            started or time.perf_counter()
        )  # exclude the first one, which waits for the process to start
    seconds = time.perf_counter() - started if started else 0.0
    return images, (len(images) - 1) / seconds if len(images) > 1 and seconds > 0 else 0.0


def _measure_augmentation(config: Config, images: Sequence[np.ndarray]) -> float:
    """Return the augmentation throughput of one core in images/s."""
    pixels = np.stack(images)
    height, width, _ = pixels[0].shape
    params = sample_params(
        config.augmentation,
        seed=0,
        epoch=0,
        stream_indices=np.arange(len(pixels)),
        height=height,
        width=width,
    )
    out = np.empty_like(pixels)
    augment_batch(pixels, params, config.augmentation, out=out)  # warm-up: loads the library
    started = time.perf_counter()
    augment_batch(pixels, params, config.augmentation, out=out)
    return len(pixels) / max(time.perf_counter() - started, 1e-9)
