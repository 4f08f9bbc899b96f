"""MixUp and CutMix: mix each image of an epoch, and its label, with another one.

Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2017), and Yun et al., "CutMix: Regularization Strategy to
Train Strong Classifiers with Localizable Features" (2019), with the shares and rectangles of torchvision's `MixUp` and
`CutMix`. torchvision draws one share per batch; here each image has its own, as in timm's element mode, and its partner
is chosen from the epoch, so the result depends on seed, epoch and image, but not on the batch size.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imgtrain.augment.random_streams import Stream, draw_uniforms

if TYPE_CHECKING:
    from imgtrain.config.schema import AugmentationConfig

__all__ = ["MIXING_DTYPE", "mix_images", "mix_targets", "pair_up", "sample_mixing"]

MIXING_DTYPE = np.dtype(
    [
        ("own_share", np.float64),  # share of the image's own label; 1 if it is not mixed
        ("box", np.intp, (4,)),  # left, top, right, bottom of the partner's rectangle; all 0 if blended
    ]
)
"""How one image is mixed with its partner."""

_NUMBERS = 8  # per stream index; some are reserved
_DECIMALS = 6  # of a share: SciPy versions may differ in further digits


class _Column(IntEnum):
    MIXED = 0
    CUT = 1
    SHARE = 2
    CENTER_X = 3
    CENTER_Y = 4


def pair_up(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the partner of each image of an epoch: neighbors in a random order are partners.

    With the order of a shuffled epoch, partners are mostly in the same batch. If the number is odd, the partner of the
    last image is the first one.

    Args:
        order: A permutation of 0 to n - 1, shape (n,).

    Returns:
        Shape (n,).
    """
    partners = np.empty_like(order)
    even, odd = order[: len(order) - len(order) % 2 : 2], order[1::2]
    partners[even], partners[odd] = odd, even
    if len(order) % 2:
        partners[order[-1]] = order[0]
    return partners


def sample_mixing(
    augmentation: AugmentationConfig,
    *,
    seed: int,
    epoch: int,
    stream_indices: NDArray[np.intp],
    height: int,
    width: int,
) -> NDArray[Any]:
    """Sample how images are mixed with their partners in one epoch.

    Args:
        augmentation: The options.
        seed: In [0, 2**64).
        epoch: From 0.
        stream_indices: The part of the epoch's random stream for each image, ≥ 0, in any order, shape (k,).
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        Array of dtype `MIXING_DTYPE`, shape (k,).
    """
    uniforms = draw_uniforms(
        Stream.MIXING, seed=seed, epoch=epoch, stream_indices=stream_indices, count=_NUMBERS
    )
    mixing = np.zeros(len(stream_indices), MIXING_DTYPE)
    mixing["own_share"] = 1.0
    mixed = uniforms[_Column.MIXED] < augmentation.mix_probability
    if augmentation.mixup is None or augmentation.cutmix is None:
        cut = np.full(len(mixed), augmentation.mixup is None)
    else:
        cut = uniforms[_Column.CUT] < 0.5
    if augmentation.mixup is not None:
        blended = mixed & ~cut
        mixing["own_share"][blended] = _beta(uniforms[_Column.SHARE, blended], augmentation.mixup)
    if augmentation.cutmix is not None:
        cut &= mixed
        shares = _beta(uniforms[_Column.SHARE, cut], augmentation.cutmix)
        boxes = _boxes(shares, uniforms[_Column.CENTER_X : _Column.CENTER_Y + 1, cut], height, width)
        mixing["box"][cut] = boxes
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        mixing["own_share"][cut] = 1 - areas / (height * width)
    return mixing


def mix_images(
    images: NDArray[np.uint8],
    partners: NDArray[np.intp],
    mixing: NDArray[Any],
    out: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Mix the first k images, each with its partner.

    Args:
        images: Shape (k or more, height, width, channels); not modified.
        partners: Position of each partner in `images`, shape (k,); ignored if an image is not mixed.
        mixing: Array of dtype `MIXING_DTYPE`, shape (k,).
        out: Output array, shape (k, height, width, channels), not overlapping `images`.

    Returns:
        `out`.
    """
    shares, boxes = mixing["own_share"].tolist(), mixing["box"].tolist()
    for image, target, partner, share, box in zip(
        images, out, partners.tolist(), shares, boxes, strict=False
    ):
        left, top, right, bottom = box
        if share == 1 or right > left:
            target[...] = image
            target[top:bottom, left:right] = images[partner, top:bottom, left:right]
        else:
            cv2.addWeighted(image, share, images[partner], 1 - share, 0, dst=target)
    return out


def mix_targets(
    own: NDArray[np.float32], partners: NDArray[np.float32], mixing: NDArray[Any]
) -> NDArray[np.float32]:
    """Mix labels or weights with the shares of the images.

    Args:
        own: Values of the images, shape (k, …).
        partners: Values of their partners, the same shape.
        mixing: Array of dtype `MIXING_DTYPE`, shape (k,).

    Returns:
        The same shape.
    """
    shares = mixing["own_share"].reshape(-1, *[1] * (own.ndim - 1))
    mixed: NDArray[np.float32] = (shares * own + (1 - shares) * partners).astype(np.float32)
    return mixed


def _beta(uniforms: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Return samples of Beta(alpha, alpha), computed from uniform numbers by the inverse CDF."""
    from scipy.special import betaincinv

    shares: NDArray[np.float64] = np.round(betaincinv(alpha, alpha, uniforms), _DECIMALS)
    return shares


def _boxes(
    shares: NDArray[np.float64], centers: NDArray[np.float64], height: int, width: int
) -> NDArray[np.intp]:
    """Return rectangles (left, top, right, bottom) with the image's aspect ratio, clipped to the image, shape (k, 4).

    Args:
        shares: Share of the image outside the rectangle before clipping, shape (k,).
        centers: Centers along both axes, in [0, 1), shape (2, k).
        height: Image height in pixels.
        width: Image width in pixels.
    """
    sides = np.array([[width], [height]])
    middles = (centers * sides).astype(np.intp)
    reaches = (0.5 * np.sqrt(1 - shares) * sides).astype(np.intp)
    return np.concatenate([np.maximum(middles - reaches, 0), np.minimum(middles + reaches, sides)]).T
