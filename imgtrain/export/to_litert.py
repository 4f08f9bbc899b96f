"""Convert to LiteRT with the converter of TensorFlow."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.export.serving import (
    FLOAT_SIGNATURE,
    INPUT,
    UINT8_SIGNATURE,
    ServingModule,
    write_saved_model,
)
from imgtrain.model.runtime import tf
from imgtrain.run.exported_model import ASSET

__all__ = ["write_litert"]


def write_litert(
    module: ServingModule,
    path: Path,
    metadata: str,
    *,
    quantize: str,
    calibration: NDArray[np.uint8] | None,
) -> None:
    """Write a `.tflite` file with both signatures, using LiteRT's own operations only.

    Args:
        module: The network.
        path: The file.
        metadata: JSON, stored in a zip archive behind the model, as associated files of LiteRT are.
        quantize: `none`; `float16`: weights as float16; `dynamic`: weights as int8; `int8`: weights and activations.
        calibration: For `int8`: raw pixels (n, height, width, channels) from which the ranges are measured.
    """
    signatures = [FLOAT_SIGNATURE, UINT8_SIGNATURE]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        write_saved_model(module, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=signatures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if calibration is not None:
            converter.representative_dataset = lambda: _samples(calibration)
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(ASSET, metadata)


def _samples(calibration: NDArray[np.uint8]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every image for each of the signatures, whose ranges are measured separately."""
    for signature, dtype in ((FLOAT_SIGNATURE, np.float32), (UINT8_SIGNATURE, np.uint8)):
        for image in calibration:
            yield signature, {INPUT: image[None].astype(dtype)}
