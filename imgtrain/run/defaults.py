"""Defaults that the command line, the library and the packages share; importing them imports nothing else."""

from __future__ import annotations

__all__ = ["INFERENCE_BATCH_SIZE", "MAX_EXPORT_LOSS", "MAX_MODEL_GIB"]

INFERENCE_BATCH_SIZE = 128
"""Images in a batch when nothing is learned: larger ones cost memory and gain nothing."""
MAX_MODEL_GIB = 4.0
"""The largest model that is loaded unless a larger one is allowed; no network of keras.applications has half of it."""
MAX_EXPORT_LOSS = 1.0
"""Percentage points of accuracy that a quantized model may lose: the bound of the interval, not the estimate."""
