"""Temperature: probabilities made as sure as they are right, without changing any answer of the most probable class.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", 2017. All logits are divided by one number,
the one with the least log loss on the validation images. Because the last layer is linear up to its softmax or
sigmoid, dividing its weights does the same: the calibrated model is a plain Keras model like any other.

The fit is on smoothed targets, after J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999: of N
validation images, a true class has the target (N + 1)/(N + 2), and the other classes share the rest. Without it,
the best temperature for images that are all classified correctly is 0, whatever the model. Platt smooths each
class by its own count, because he fits a slope and an offset; one temperature for all classes needs one count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

__all__ = ["apply_temperature", "fit_temperature", "warn_at_bounds"]

_RANGE = (0.05, 20.0)
# Below it the logarithm of a float32 probability says nothing.
_LEAST = float(np.finfo(np.float32).tiny)
_ROUNDING = float(np.finfo(np.float32).eps) / 2


def fit_temperature(labels: NDArray[np.int32], *probabilities: NDArray[np.float32]) -> float:
    """Return the number by which to divide the logits: above 1 where the model is too sure of itself.

    Args:
        labels: True classes of the validation images, (n,).
        probabilities: Of the same images, (n, classes); the logits are their logarithms, up to a constant. With
            `evaluation.flip_average` also those of the mirrored images: the temperature is for the mean.
    """
    views = np.stack(probabilities).astype(np.float64)
    if views.shape[-1] == 2:
        # Of 1 - p and p, the one near 1 is rounded to float32: the other is not known better than this.
        views = np.clip(views, _ROUNDING, 1 - _ROUNDING)
    logits = np.log(np.maximum(views, _LEAST))
    _, images, class_count = logits.shape
    targets = np.full((images, class_count), 1 / (images + 2) / (class_count - 1))
    targets[np.arange(images), labels] = (images + 1) / (images + 2)

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / np.exp(log_temperature), axis=-1)
        log_mean = logsumexp(log_probabilities, axis=0) - np.log(len(views))
        return -float((targets * log_mean).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(_RANGE)), method="bounded")
    return float(np.exp(found.x))


def warn_at_bounds(temperature: float) -> list[str]:
    """Return a sentence if the search ended at a bound, where the temperature is not the one with the least loss."""
    if np.isclose(np.log(temperature), np.log(_RANGE), atol=0.01).any():
        return [
            f"evaluation.calibrate: the temperature {temperature:.3g} is at the limit of the search "
            f"({_RANGE[0]:g} to {_RANGE[1]:g}); the calibrated probabilities are not reliable"
        ]
    return []


def apply_temperature(model: Any, temperature: float) -> None:
    """Divide the weights of a network's output layer, a Dense layer with softmax or sigmoid, in place."""
    output = model.layers[-1]
    output.set_weights([weights / np.float32(temperature) for weights in output.get_weights()])
