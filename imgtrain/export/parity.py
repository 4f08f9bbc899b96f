"""Compare an exported model with the Keras model on the same real images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from imgtrain.errors import DataError, Problem
from imgtrain.evaluation.compare import Candidate, compare
from imgtrain.evaluation.decide import is_sure
from imgtrain.evaluation.intervals import Interval
from imgtrain.evaluation.predictions import Predictions

__all__ = ["Parity", "check_parity", "compare_predictions"]


# What another order of additions changes in a probability.
_MOST_DIFFERENCE = 1e-4


@dataclass(frozen=True, slots=True)
class Parity:
    """The exported model beside the Keras model on the same images.

    Attributes:
        split: Name of the images: `test`, `validation` or `evaluation`.
        images: Number of images.
        largest_difference: Of a probability.
        equal_decisions: Share of images with the same answer, "unsure" included.
        keras_accuracy: Of the Keras model.
        accuracy: Of the exported model.
        accuracy_difference: Exported − Keras.
        accuracy_difference_ci95: Its paired interval; None if all images belong to one group.
    """

    split: str
    images: int
    largest_difference: float
    equal_decisions: float
    keras_accuracy: float
    accuracy: float
    accuracy_difference: float
    accuracy_difference_ci95: Interval | None

    @property
    def largest_loss(self) -> float | None:
        """The bound of the loss of accuracy in percentage points; None without an interval."""
        limits = self.accuracy_difference_ci95
        return None if limits is None else max(0.0, -100 * limits[0])


def compare_predictions(reference: Predictions, exported: Predictions, *, split: str) -> Parity:
    """Compare the predictions of the Keras model and of the exported model, for the same images in the same order."""
    keys = [(path, str(label)) for path, label in zip(reference.paths, reference.labels, strict=True)]
    numbers: dict[str, Any] = compare(
        Candidate("Keras", reference, keys), Candidate("exported", exported, keys), split=split
    ).content
    sure = [
        is_sure(predictions.probabilities, predictions.predicted, reference.abstain_below)
        for predictions in (reference, exported)
    ]
    equal = (reference.predicted == exported.predicted) & (sure[0] == sure[1])
    return Parity(
        split=split,
        images=len(reference),
        largest_difference=float(np.abs(reference.probabilities - exported.probabilities).max()),
        equal_decisions=float(equal.mean()),
        keras_accuracy=numbers["a"]["accuracy"],
        accuracy=numbers["b"]["accuracy"],
        accuracy_difference=numbers["accuracy_difference"],
        accuracy_difference_ci95=numbers["accuracy_difference_ci95"],
    )


def check_parity(parity: Parity, *, quantize: str, max_loss: float) -> None:
    """Raise DataError if the exported model must not replace the Keras model.

    Args:
        parity: The comparison.
        quantize: Without quantization, all decisions must be equal and probabilities may only differ by rounding.
        max_loss: With quantization: percentage points of accuracy that the 95 % interval of the loss may reach.
    """
    if quantize == "none":
        if parity.largest_difference <= _MOST_DIFFERENCE and parity.equal_decisions == 1:
            return
        different = round((1 - parity.equal_decisions) * parity.images)
        what = (
            f"the exported model differs from the Keras model: {different:,} of {parity.images:,} decisions, and "
            f"probabilities by up to {parity.largest_difference:.2g} (allowed: none, and {_MOST_DIFFERENCE:g})"
        )
        raise DataError(Problem("", what, "no file was written; try another --format"))
    loss = parity.largest_loss
    if loss is not None and loss <= max_loss:
        return
    if loss is None:
        raise DataError(
            Problem("", "the loss of accuracy is unknown: all images belong to one group", "use other --data")
        )
    what = (
        f"the quantized model may lose up to {loss:.1f} percentage points of accuracy (measured: "
        f"{-100 * parity.accuracy_difference:+.1f} on {parity.images:,} images; allowed: {max_loss:g})"
    )
    if -100 * parity.accuracy_difference <= max_loss:
        hint = "give more images with --data to narrow the interval, or raise --max-loss"
    else:
        hint = "try --quantize float16 or dynamic, or raise --max-loss"
    raise DataError(Problem("", what, f"no file was written; {hint}"))
