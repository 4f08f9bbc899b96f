"""Encode images as small data URIs for the page."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["as_data_uri", "image_uri", "overlay", "shrink"]

_SIDE = 96  # pixels of the longer side; about 2 kB
_QUALITY = 60


def as_data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a thumbnail of an image (height, width, channels) as a data URI."""
    return image_uri(Image.fromarray(shrink(pixels)))


def image_uri(image: Image.Image, most: int | None = None) -> str:
    """Return an image as a data URI, at most `most` pixels wide."""
    if most is not None and image.width > most:
        image = image.resize((most, max(1, image.height * most // image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image in RGB on a white background, with at most 96 pixels on the longer side."""
    channels = pixels.shape[2]
    if channels == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif channels == 4:
        opacity = pixels[..., 3:].astype(np.float32) / 255
        pixels = (pixels[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return pixels


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the image's thumbnail in gray, with the heat map in red.

    Args:
        pixels: (height, width, channels).
        heat: (height, width), in [0, 1].
    """
    small = shrink(pixels)
    size = (small.shape[1], small.shape[0])
    warmth = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR), 0, 1)[..., None]
    gray = small.mean(axis=2, keepdims=True) * 0.75
    # A single color on gray needs no legend, unlike a color map such as viridis.
    red = np.array([255.0, 60.0, 20.0]) * 0.65 + gray * 0.35
    return np.asarray(gray * (1 - warmth) + red * warmth, np.uint8)
