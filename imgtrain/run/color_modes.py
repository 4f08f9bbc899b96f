"""The color modes of images, as configurations and model files name them."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CHANNELS"]

CHANNELS: Mapping[str, int] = {"grayscale": 1, "rgb": 3, "rgba": 4}
"""Number of channels by `data.color_mode`."""
