"""Measure the latency of a model for a batch, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BATCH_SIZES", "measure_latency"]

BATCH_SIZES = (1, 32)
"""The measured batch sizes: one image, as in an application, and many, as on a server."""

_SECONDS = 1.5
_FEWEST_RUNS, _MOST_RUNS = 5, 200


def measure_latency(
    models: Sequence[Callable[[NDArray[np.uint8]], Any]], images: NDArray[np.uint8]
) -> list[dict[str, dict[str, float]]]:
    """Return for each model and batch size the median and 95th percentile of the time for a batch.

    The models take turns, so that other load on the machine affects all of them.

    Args:
        models: Functions from raw pixels to outputs.
        images: (n, height, width, channels), repeated to fill the batches.

    Returns:
        For each model `{"1": {"median_ms": …, "p95_ms": …}, "32": …}`.
    """
    measured: list[dict[str, dict[str, float]]] = [{} for _ in models]
    for size in BATCH_SIZES:
        batch = images[np.arange(size) % len(images)]
        for model in models:
            model(batch)  # compiles, allocates
        times: list[list[float]] = [[] for _ in models]
        end = time.perf_counter() + _SECONDS * len(models)
        while len(times[0]) < _FEWEST_RUNS or (time.perf_counter() < end and len(times[0]) < _MOST_RUNS):
            for model, of_model in zip(models, times, strict=True):
                start = time.perf_counter()
                model(batch)
                of_model.append(1000 * (time.perf_counter() - start))
        for of_size, of_model in zip(measured, times, strict=True):
            of_size[str(size)] = {
                "median_ms": round(float(np.median(of_model)), 3),
                "p95_ms": round(float(np.percentile(of_model, 95)), 3),
            }
    return measured
