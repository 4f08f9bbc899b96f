"""Baselines without a neural network, to compare the model with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from imgtrain.evaluation.metrics import score
from imgtrain.evaluation.predictions import Predictions
from imgtrain.evaluation.score_names import compare_with_baselines
from imgtrain.events import Emit, Message, ignore
from imgtrain.pixels.load_images import SplitImages

__all__ = ["MAJORITY", "THUMBNAILS", "Baselines", "fit_baselines", "majority", "score_beside_baselines"]

MAJORITY = "majority_class"
THUMBNAILS = "thumbnail_logistic_regression"

_SIDE = 8  # pixels: colors and coarse layout survive, shapes and textures do not
_MOST_IMAGES = 4000  # to learn from; more change little
_ITERATIONS = 200
_READ_AT_ONCE = 256


class Baselines:
    """Fitted baselines."""

    def __init__(self, majority_label: int, regression: Pipeline | None) -> None:
        self._majority_label = majority_label
        self._regression = regression

    def predict(self, part: SplitImages) -> dict[str, NDArray[np.int32]]:
        """Return the predicted labels of each baseline for a split, (n,), by name."""
        predicted = {MAJORITY: np.full(len(part.split), self._majority_label, np.int32)}
        if self._regression is not None:
            predicted[THUMBNAILS] = self._regression.predict(_thumbnails(part, part.split.indices)).astype(
                np.int32
            )
        return predicted


def fit_baselines(train: SplitImages, *, seed: int) -> Baselines:
    """Fit the majority class, and a logistic regression on 8×8 thumbnails.

    Args:
        train: The training images, not augmented.
        seed: Seed for sampling from many images.
    """
    split = train.split
    chosen = np.arange(len(split))
    if len(chosen) > _MOST_IMAGES:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, _MOST_IMAGES, replace=False))
    regression = None
    if len(np.unique(split.labels[chosen])) > 1:
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=_ITERATIONS))
        with warnings.catch_warnings():
            # A baseline does not have to be optimal.
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit(_thumbnails(train, split.indices[chosen]), split.labels[chosen])
    return Baselines(majority(split.labels), regression)


def majority(labels: NDArray[np.int32]) -> int:
    """Return the most frequent label; the lowest one if there are ties."""
    return int(np.bincount(labels).argmax())


def _thumbnails(part: SplitImages, indices: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return (k, 8·8·channels) mean colors of the fields of an 8×8 grid, 0 to 1."""
    return np.stack([_thumbnail(image) for image in _read(part, indices)])


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    small: NDArray[np.uint8] = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return np.divide(small.ravel(), 255, dtype=np.float32)


def _read(part: SplitImages, indices: NDArray[np.intp]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(indices), _READ_AT_ONCE):
        yield from part.pixels.read(indices[start : start + _READ_AT_ONCE])


def score_beside_baselines(
    predictions: Mapping[str, Predictions],
    guesses: Mapping[str, Mapping[str, NDArray[np.int32]]],
    *,
    seed: int = 0,
    emit: Emit = ignore,
) -> dict[str, Any]:
    """Return the scores of each split, as in `metrics.json`.

    Args:
        predictions: The model's predictions by split name.
        guesses: Predicted labels of each baseline for the same images, (n,), by split name and baseline name.
        seed: Seed of the jackknife.
        emit: Called with a warning for each baseline that the model is not significantly better than.
    """
    metrics = {
        name: score(of_split, baselines=guesses[name], seed=seed) for name, of_split in predictions.items()
    }
    for name, scores in metrics.items():
        for conclusion in compare_with_baselines(scores):
            if not conclusion.is_better:
                emit(Message(f"{name}: {conclusion.sentence}", "warning"))
    return metrics
