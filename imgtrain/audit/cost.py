"""Estimate the disk space, memory and time of training from the configuration and a short measurement."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgtrain.audit.findings import Finding
from imgtrain.audit.inventory import Inventory
from imgtrain.audit.network_size import NetworkSize, estimate_network
from imgtrain.augment.apply import augment_batch
from imgtrain.augment.sample import sample_params
from imgtrain.config.schema import Config
from imgtrain.pixels.decode import DecodedImage, DecodeSettings
from imgtrain.pixels.decode_workers import decode_each_in_worker
from imgtrain.pixels.packed_file import space_needed
from imgtrain.run.machine import available_cores, memory_bytes
from imgtrain.text import format_bytes

__all__ = ["Cost", "check_cost", "estimate_cost"]

_SAMPLE = 24
_MATRIX = 768
# A training step costs about three forward passes; small layers reach about a third of the throughput of a large
# matrix product on the same cores.
_STEP_PASSES = 3
_EFFICIENCY = 1 / 3
# Memory of Keras and TensorFlow without the network.
_PROGRAM_BYTES = 900 << 20
# Weight, gradient and two optimizer slots.
_VALUES_PER_WEIGHT = 4


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
        train_images_per_second: Throughput of the training step; None if a layer cannot be estimated.
        epoch_seconds: Time of one epoch; None if a layer cannot be estimated.
        unknown_layers: Layers that cannot be estimated.
    """

    images: int
    cache_bytes: int
    memory_bytes: int
    available_bytes: int
    parameters: int
    decode_images_per_second: float
    augment_images_per_second: float
    train_images_per_second: float | None
    epoch_seconds: float | None
    unknown_layers: tuple[str, ...]


def estimate_cost(config: Config, inventory: Inventory) -> Cost | None:
    """Return the estimated cost after a measurement of about one second; None if no image can be decoded."""
    if not len(inventory.decoded):
        return None
    settings = DecodeSettings.of(config.data)
    chosen = inventory.decoded[:: max(1, len(inventory.decoded) // _SAMPLE)][:_SAMPLE]
    images, decode_rate = _measure_decoding([inventory.file(index) for index in chosen], settings)
    network = estimate_network(config, classes=len(inventory.class_names))
    batch = min(config.data.batch_size, max(1, len(inventory)))
    count = len(inventory.indices_of("train"))
    cores = available_cores()
    augment_rate = _measure_augmentation(config, images) * cores if len(images) else 0.0
    train_rate = (
        None if network.unknown else _measure_arithmetic() * _EFFICIENCY / _work_per_image(network, batch)
    )
    slowest = min(rate for rate in (augment_rate or None, train_rate) if rate) if train_rate else None
    pixels = batch * int(np.prod(settings.shape))
    activations = 2 * 4 * batch * network.activations
    return Cost(
        images=count,
        cache_bytes=sum(
            space_needed(len(inventory.indices_of(name)), settings) for name in inventory.split_names
        ),
        memory_bytes=_PROGRAM_BYTES + 4 * _VALUES_PER_WEIGHT * network.parameters + activations + 8 * pixels,
        available_bytes=memory_bytes(),
        parameters=network.parameters,
        decode_images_per_second=decode_rate * cores,
        augment_images_per_second=augment_rate,
        train_images_per_second=train_rate,
        epoch_seconds=count / slowest if slowest else None,
        unknown_layers=network.unknown,
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


def _work_per_image(network: NetworkSize, batch: int) -> float:
    """Return the multiplications of a training step per image, including the image's share of the optimizer."""
    return _STEP_PASSES * network.multiplications + 10 * network.parameters / batch


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


def _measure_arithmetic() -> float:
    """Return the multiplications per second of a matrix product on all cores."""
    matrix = np.ones((_MATRIX, _MATRIX), np.float32)
    best = np.inf
    for _ in range(5):
        started = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - started)
    return float(_MATRIX**3 / best)
