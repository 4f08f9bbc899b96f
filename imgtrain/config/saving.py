"""Layers and optimizers that Keras 3.15 trains but cannot save or load again, known without TensorFlow.

`imgtrain.model.check_network` finds them, and whatever else would fail, with Keras itself; what is listed here is
also reported by `imgtrain check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imgtrain.config.layers import layer_problem
from imgtrain.config.schema import Config, LayerSpec
from imgtrain.config.wording import format_value
from imgtrain.errors import Problem

__all__ = ["check_saving"]

# Their sorted lists cannot be copied when an .h5 file is written.
_LAYERS_NOT_IN_H5 = frozenset(
    (
        "RandomBrightness",
        "RandomColorDegeneration",
        "RandomPosterization",
        "RandomSaturation",
        "RandomSharpness",
        "Solarization",
    )
)
_OPTIMIZERS_NOT_IN_H5 = frozenset(("Lamb",))
_USE_KERAS = "set output.model to model.keras"


def check_saving(config: Config) -> list[Problem]:
    """Return the problems of layers and optimizers that could not be saved or loaded after the training."""
    h5 = config.output.model.endswith(".h5")
    problems = [
        layer_problem(config, position, layer.name, what, hint)
        for position, layer in enumerate(config.model.layers, start=1)
        for what, hint in _check_layer(layer, h5=h5)
    ]
    optimizer = config.training.optimizer.name
    if h5 and optimizer in _OPTIMIZERS_NOT_IN_H5:
        where = config.where("training", "optimizer")
        problems.append(Problem(where, f"Keras cannot load {optimizer} from an .h5 file", _USE_KERAS))
    return problems


def _check_layer(layer: LayerSpec, *, h5: bool) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a layer, and what to do."""
    if layer.name == "RandomShear":
        for name in ("x_factor", "y_factor"):
            # Keras saves ±value, and rejects the negative one when it loads the layer.
            if _is_number(value := layer.arguments.get(name)) and value != 0:
                what = f"Keras cannot load {name}: {format_value(value)} from a saved model"
                yield (
                    what,
                    f"use a list of two numbers from 0 to 1, such as [0, {value}], or augmentation.shear_range",
                )
    if not h5:
        return
    if layer.name in _LAYERS_NOT_IN_H5:
        yield "Keras cannot save it to an .h5 file", _USE_KERAS
    axis = layer.arguments.get("axis")
    if isinstance(axis, list | tuple) and len(axis) > 1:
        yield f"Keras loads axis: {format_value(axis)} from an .h5 file as the default axis", _USE_KERAS


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
