"""Whether the saved model file gives the same probabilities as the trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.errors import Problem, RunFileError
from imgtrain.evaluation.predict import predictor
from imgtrain.model.archive import load_model

__all__ = ["verify_saved_model"]

# Largest difference of a probability that saving and loading may make.
_SAVED_TOLERANCE = 1e-5


def verify_saved_model(path: Path, model: Any, images: NDArray[np.uint8]) -> None:
    """Load the saved model as `evaluate` does, and compare its probabilities of some images.

    Args:
        path: The saved model.
        model: The trained network.
        images: Raw pixels, (b, height, width, channels).

    Raises:
        RunFileError: They differ.
    """
    saved, trained = (predictor(network)(images) for network in (load_model(path).model, model))
    difference = float(np.abs(saved - trained).max())
    if not difference <= _SAVED_TOLERANCE:
        raise RunFileError(
            Problem(
                str(path),
                f"the saved model gives other probabilities than the trained one (by {difference:.2g})",
                "set output.model to model.keras",
            )
        )
