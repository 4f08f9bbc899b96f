"""The functions that every exported model provides: raw pixels, float or uint8, to probabilities."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from imgtrain.model.runtime import tf
from imgtrain.run.exported_model import ASSET

__all__ = ["FLOAT_SIGNATURE", "INPUT", "OUTPUT", "UINT8_SIGNATURE", "ServingModule", "write_saved_model"]

INPUT = "images"
"""Name of the input: (batch, height, width, channels), 0–255."""
OUTPUT = "probabilities"
"""Name of the output: (batch, units)."""
FLOAT_SIGNATURE = "serving_default"
"""The signature for float32 images; the name that TensorFlow Serving expects."""
UINT8_SIGNATURE = "uint8"
"""The signature for uint8 images."""


class ServingModule(tf.Module):
    """A network with one function for float32 images and one for uint8 images, which share the weights.

    Attributes:
        float_function: (batch, height, width, channels) float32 → {"probabilities": (batch, units) float32}.
        uint8_function: The same for uint8.
    """

    def __init__(self, network: Any, *, flip_average: bool) -> None:
        """Trace both functions.

        Args:
            network: A Keras model that takes raw pixels.
            flip_average: Return the mean probabilities of each image and its mirror image.
        """
        super().__init__()
        # TensorFlow finds the weights through this attribute.
        self.weights = [variable.value for variable in network.variables]

        def infer(images: Any) -> dict[str, Any]:
            images = tf.cast(images, tf.float32)
            outputs = network(images, training=False)
            if flip_average:
                outputs = (outputs + network(tf.reverse(images, axis=[2]), training=False)) / 2
            return {OUTPUT: outputs}

        shape = (None, *network.input_shape[1:])
        self.float_function, self.uint8_function = (
            tf.function(infer, input_signature=[tf.TensorSpec(shape, dtype, name=INPUT)], autograph=False)
            for dtype in (tf.float32, tf.uint8)
        )


def write_saved_model(module: ServingModule, folder: Path, metadata: str | None = None) -> None:
    """Write a SavedModel with both signatures, and the metadata as an asset."""
    signatures = {FLOAT_SIGNATURE: module.float_function, UINT8_SIGNATURE: module.uint8_function}
    with tempfile.TemporaryDirectory() as scratch:
        if metadata is not None:
            asset = Path(scratch) / ASSET
            asset.write_text(metadata, encoding="utf-8")
            module.metadata = tf.saved_model.Asset(str(asset))
        tf.saved_model.save(module, str(folder), signatures=signatures)
