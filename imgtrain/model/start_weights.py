"""Start a network with the weights of a finished model, layer by layer as far as they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from imgtrain.errors import ConfigError, Problem
from imgtrain.model.archive import load_network
from imgtrain.model.backbone import leaf_layers
from imgtrain.model.preprocess import PREPROCESSING_NAMES
from imgtrain.model.runtime import keras
from imgtrain.run.model_metadata import find_model

__all__ = ["StartWeights", "read_start_weights", "start_with"]

_MOST_NAMED = 10


@dataclass(frozen=True, slots=True, eq=False)
class StartWeights:
    """The model to start from.

    Attributes:
        path: Its file.
        model: The model.
        class_names: Its classes in label order; None for a model not made by imgtrain.
    """

    path: Path
    model: keras.Model
    class_names: tuple[str, ...] | None


def read_start_weights(path: Path) -> StartWeights:
    """Load a model to start from, without executing code from the file.

    Args:
        path: A run directory, or a `.keras` or `.h5` file.

    Raises:
        RunFileError: The model does not exist, is corrupt or is not allowed.
    """
    file = find_model(path)
    names = None if file.metadata is None else file.metadata.class_names
    return StartWeights(file.path, load_network(file.path), names)


def start_with(model: keras.Model, start: StartWeights, *, class_names: Sequence[str]) -> str:
    """Copy the weights of all layers that fit, in order.

    Layers fit if their weights have the same shapes. The output layer of a model with other classes is left out, and
    so is preprocessing, which follows from the configuration and the images.

    Args:
        model: The network; its other layers are unchanged.
        start: The model to start from.
        class_names: The classes of the network, in label order.

    Returns:
        Which layers have got weights, as a sentence.

    Raises:
        ConfigError: No layer fits.
    """
    layers, sources = _layers_with_weights(model), _layers_with_weights(start.model)
    shapes, source_shapes = _shapes(layers), _shapes(sources)
    if start.class_names not in (None, tuple(class_names)):
        source_shapes[-1] = ()
    blocks = SequenceMatcher(None, shapes, source_shapes, autojunk=False).get_matching_blocks()
    taken = {block.a + k: block.b + k for block in blocks for k in range(block.size)}
    if not taken:
        raise ConfigError(
            Problem(
                "--from",
                f"no layer of {start.path} has weights of the same shape as a layer of this network",
                "use the layers of that model, or `model.backbone: {from: …}` to build on it",
            )
        )
    for position, source in taken.items():
        layers[position].set_weights(sources[source].get_weights())
    left = [layer.name for position, layer in enumerate(layers) if position not in taken]
    more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
    rest = f"; new weights for {', '.join(left[:_MOST_NAMED])}{more}" if left else ""
    return f"{len(taken)} of {len(layers)} layers start with the weights of {start.path}{rest}"


def _layers_with_weights(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in leaf_layers(model) if layer.weights and layer.name not in PREPROCESSING_NAMES]


def _shapes(layers: Sequence[keras.Layer]) -> list[tuple[tuple[int, ...], ...]]:
    return [tuple(tuple(weight.shape) for weight in layer.weights) for layer in layers]
