"""Temperature scaling: calibrate the probabilities without changing which class is the most probable.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", 2017. All logits are divided by the temperature that
minimizes the log loss on the validation images. Dividing the weights of the last layer has the same effect, so the
calibrated model is a plain Keras model.

Targets are smoothed as in J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999: with N validation
images, the true class has the target (N + 1)/(N + 2), and the other classes share the rest. Without smoothing, the
best temperature is 0 if all images are classified correctly. Platt uses a count per class, because he fits a slope and
an offset; a single temperature needs a single count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

__all__ = ["apply_temperature", "fit_temperature", "warn_at_bounds"]

_RANGE = (0.05, 20.0)
# The smallest probability that float32 represents with full precision.
_LEAST = float(np.finfo(np.float32).tiny)
_ROUNDING = float(np.finfo(np.float32).eps) / 2


def fit_temperature(labels: NDArray[np.int32], *probabilities: NDArray[np.float32]) -> float:
    """Return the temperature to divide the logits by; it is above 1 for an overconfident model.

    Args:
        labels: True classes of the validation images, (n,).
        probabilities: Their probabilities, (n, classes); logits are the logarithms up to a constant. With
            `evaluation.flip_average` also those of the mirrored images: the temperature is fitted for the mean.
    """
    views = np.stack(probabilities).astype(np.float64)
    if views.shape[-1] == 2:
        # The rounding error of a float32 near 1 is also the error of the other probability, 1 - p.
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
    """Return a warning if the search ended at a bound, where the loss is not minimal."""
    if np.isclose(np.log(temperature), np.log(_RANGE), atol=0.01).any():
        return [
            f"evaluation.calibrate: the temperature {temperature:.3g} is at the limit of the search "
            f"({_RANGE[0]:g} to {_RANGE[1]:g}); the calibrated probabilities are not reliable"
        ]
    return []


def apply_temperature(model: Any, temperature: float) -> None:
    """Divide the weights of the output layer, a Dense layer with softmax or sigmoid, in place."""
    output = model.layers[-1]
    output.set_weights([weights / np.float32(temperature) for weights in output.get_weights()])
