"""Statistics of the training images for the featurewise preprocessing options, computed in one pass.

As in `ImageDataGenerator.fit`, an option that requires another one enables it, and the statistics are those of the
rescaled images before samplewise options.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from imgtrain.config.schema import PreprocessingConfig
from imgtrain.errors import DataError

__all__ = ["FeaturewiseStatistics", "fit_featurewise_statistics"]


@dataclass(frozen=True, slots=True, eq=False)
class FeaturewiseStatistics:
    """Statistics of the training images, in units of rescaled pixel values.

    Attributes:
        mean: Mean of each channel, float64 (c,).
        std: Standard deviation of each channel, float64 (c,).
        zca: Symmetric ZCA whitening matrix for images flattened in (height, width, channel) order, float64
            (h·w·c, h·w·c); None without ZCA whitening.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    zca: NDArray[np.float64] | None = None

    @classmethod
    def neutral(cls, image_shape: tuple[int, int, int], *, zca: bool) -> Self:
        """Return statistics without effect, for a network that is built but not trained.

        Args:
            image_shape: (height, width, channels).
            zca: Whether to include a ZCA whitening matrix.
        """
        channels = image_shape[2]
        return cls(np.zeros(channels), np.ones(channels), np.eye(math.prod(image_shape)) if zca else None)


def fit_featurewise_statistics(
    batches: Iterable[NDArray[np.uint8]], preprocessing: PreprocessingConfig
) -> FeaturewiseStatistics:
    """Return the statistics of all images, computed in one pass with memory for one batch and the ZCA matrix.

    Uses float64 sums, and Chan, Golub and LeVeque's algorithm to merge means and variances of batches.

    Args:
        batches: Training images as uint8 arrays (b, h, w, c), in any order; every image once.
        preprocessing: The options; uses `rescale` and `zca_epsilon`.

    Raises:
        DataError: There are no images, or their shapes differ.
    """
    moments: _ChannelMoments | None = None
    products: _PixelProducts | None = None
    for batch in batches:
        if not len(batch):
            continue
        values = batch.astype(np.float64) * preprocessing.rescale
        if moments is None:
            moments = _ChannelMoments(batch.shape[1:])
            products = _PixelProducts(batch[0].size) if preprocessing.zca_whitening else None
        if batch.shape[1:] != moments.image_shape:
            raise DataError(
                f"images must have the same shape; got {moments.image_shape} and {batch.shape[1:]}"
            )
        moments.add(values)
        if products is not None:
            products.add(values.reshape(len(batch), -1))
    if moments is None:
        raise DataError("cannot fit the featurewise preprocessing without training images")
    zca = None
    if products is not None:
        pixels = products.size // len(moments.mean)
        zca = products.whitening(np.tile(moments.mean, pixels), epsilon=preprocessing.zca_epsilon)
    return FeaturewiseStatistics(mean=moments.mean, std=moments.std, zca=zca)


class _ChannelMoments:
    """Running mean and sum of squared deviations of each channel."""

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        self.image_shape = image_shape
        self.count = 0
        self.mean = np.zeros(image_shape[-1])
        self._deviations = np.zeros(image_shape[-1])

    def add(self, values: NDArray[np.float64]) -> None:
        count = values[..., 0].size
        mean = values.mean(axis=(0, 1, 2))
        step = mean - self.mean
        total = self.count + count
        self._deviations += ((values - mean) ** 2).sum(axis=(0, 1, 2)) + step**2 * (
            self.count * count / total
        )
        self.mean = self.mean + step * (count / total)
        self.count = total

    @property
    def std(self) -> NDArray[np.float64]:
        return np.sqrt(self._deviations / self.count)


class _PixelProducts:
    """Running sums over flattened images x of x and of x·xᵀ."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._count = 0
        self._sum = np.zeros(size)
        self._products = np.zeros((size, size))

    def add(self, images: NDArray[np.float64]) -> None:
        self._count += len(images)
        self._sum += images.sum(axis=0)
        self._products += images.T @ images

    def whitening(self, mean: NDArray[np.float64], *, epsilon: float) -> NDArray[np.float64]:
        """Return U · diag(√n / (s + epsilon)) · Uᵀ for the thin SVD U·s·Vᵀ of the (size, n) centered images.

        U and s² are eigenvectors and eigenvalues of the centered products. As in the thin SVD, directions without
        variance are excluded: those beyond n, and those whose eigenvalue is a rounding error, which
        ImageDataGenerator would divide by epsilon.
        """
        n = self._count
        centered = (
            self._products - np.outer(self._sum, mean) - np.outer(mean, self._sum) + n * np.outer(mean, mean)
        )
        eigenvalues, vectors = np.linalg.eigh(centered)
        rounding = eigenvalues[-1] * self.size * np.finfo(np.float64).eps
        varies = eigenvalues > max(rounding, 0.0)
        varies[: max(self.size - n, 0)] = False
        vectors = vectors[:, varies]
        scale = np.sqrt(n) / (np.sqrt(eigenvalues[varies]) + epsilon)
        whitening: NDArray[np.float64] = (vectors * scale) @ vectors.T
        return whitening
