"""Generate `imgtrain/config/catalogue.json`: the layers, applications, optimizers, … of the installed Keras.

python scripts/make_catalogue.py imgtrain/config/catalogue.json
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

_FOREIGN = "is not supported: it runs custom code"
_INPUT = "is not supported: the input follows from data.target_size and data.color_mode"
_SEVERAL_INPUTS = "is not supported: it takes several inputs, but the network is sequential"
_WRAPPER = "is not supported: it wraps other layers"
_NOT_IMAGES = "is not supported: it is for text, categories or sound"
_LABELS = "is not supported: it changes the labels"
_BASE = "is a base class"
_NO_LOSS = "is not supported: it cannot be created by name for image classification"
_NO_METRIC = "is not supported: it cannot be created by name, or returns several values"

REFUSED_LAYERS = {
    **dict.fromkeys(("Lambda", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper"), _FOREIGN),
    **dict.fromkeys(("Input", "InputLayer", "InputSpec"), _INPUT),
    **dict.fromkeys(
        ("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"),
        _SEVERAL_INPUTS,
    ),
    **dict.fromkeys(
        ("Attention", "AdditiveAttention", "GroupQueryAttention", "MultiHeadAttention"), _SEVERAL_INPUTS
    ),
    **dict.fromkeys(
        ("Bidirectional", "Pipeline", "SpectralNormalization", "TimeDistributed", "Wrapper"), _WRAPPER
    ),
    **dict.fromkeys(("RNN", "StackedRNNCells", "GRUCell", "LSTMCell", "SimpleRNNCell"), _WRAPPER),
    **dict.fromkeys(("IntegerLookup", "StringLookup", "TextVectorization", "Discretization"), _NOT_IMAGES),
    **dict.fromkeys(("CategoryEncoding", "HashedCrossing", "Hashing"), _NOT_IMAGES),
    **dict.fromkeys(("Embedding", "ReversibleEmbedding", "MelSpectrogram", "STFTSpectrogram"), _NOT_IMAGES),
    **dict.fromkeys(("CutMix", "MaxNumBoundingBoxes", "MixUp"), _LABELS),
    # Both fail in every network: their symbolic output is not what they return.
    "Equalization": "is not supported: Keras cannot use it inside a model; use AutoContrast",
    "RandomCrop": "is not supported: Keras crops in training only, so no layer after it fits; use CenterCrop",
    "Layer": _BASE,
}
REFUSED_OPTIMIZERS = {
    "LossScaleOptimizer": "is not supported: it is controlled by training.precision",
    "MultiOptimizer": "is not supported: it wraps other optimizers",
    "OptimizerMap": "is not supported: it wraps other optimizers",
    "Optimizer": _BASE,
    "ScheduleFreeAdamW": "is not supported: Keras never evaluates or saves its averaged weights; use adamw with "
    "training.ema or training.schedule",
}
REFUSED_SCHEDULES = {"LearningRateSchedule": _BASE}
# Would otherwise need `adapt` before use.
REQUIRED_BY_US = {"Normalization": ("mean", "variance")}
# Arguments that imgtrain adds; `model/muon.py`.
ADDED_BY_US = {"Muon": ("convolutions",)}
# Take objects, or are set by other configuration keys.
HIDDEN_ARGUMENTS = {"dtype", "autocast", "quantization_config", "weights"}
# Accepted by `keras.layers.Layer` through the `**kwargs` of subclasses.
LAYER_ARGUMENTS = ("activity_regularizer", "trainable", "name")


def make_signature(cls: type, extra: Iterable[str] = (), hidden: Iterable[str] = ()) -> dict[str, Any]:
    """Return the constructor's arguments in order, and those without a default."""
    parameters = list(inspect.signature(cls).parameters.values())
    named = [
        p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in hidden
    ]
    arguments = [p.name for p in named]
    arguments += ADDED_BY_US.get(cls.__name__, ())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        arguments += [name for name in extra if name not in arguments]
    required = [
        p.name for p in named if p.default is p.empty or p.name in REQUIRED_BY_US.get(cls.__name__, ())
    ]
    return {"arguments": arguments, "required": required}


def public_classes(module: Any) -> dict[str, type]:
    """Return the classes of a Keras module by each of their names."""
    return {name: value for name, value in sorted(vars(module).items()) if inspect.isclass(value)}


def list_classes(
    module: Any, refused: dict[str, str], extra: Iterable[str], hidden: Iterable[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the signatures of a module's classes by name, and their aliases."""
    classes = {name: cls for name, cls in public_classes(module).items() if name not in refused}
    own = {name: make_signature(cls, extra, hidden) for name, cls in classes.items() if name == cls.__name__}
    return own, {name: cls.__name__ for name, cls in classes.items() if name != cls.__name__}


def list_nested(classes: dict[str, type], base: type) -> dict[str, Any]:
    """Return the signatures of initializers, regularizers or constraints by every name Keras accepts."""
    return {name: make_signature(cls) for name, cls in sorted(classes.items()) if cls is not base}


def example_batches() -> list[tuple[Any, Any]]:
    """Return (labels, predictions) of four images for class modes sparse, categorical and binary."""
    integers = np.array([0, 1, 2, 1], np.int32)
    rows = np.full((4, 3), 1 / 3, np.float32)
    column = np.array([[0.2], [0.8], [0.4], [0.6]], np.float32)
    return [
        (integers, rows),
        (np.eye(3, dtype=np.float32)[integers], rows),
        (np.array([[0], [1], [0], [1]], np.float32), column),
    ]


def list_losses(names: Iterable[str]) -> list[str]:
    """Return the losses that Keras creates by name and that fit the labels of some class mode."""

    def loss_of(name: str, labels: Any, predictions: Any) -> Any:
        loss = keras.losses.get(name)
        return np.mean(keras.ops.convert_to_numpy(loss(labels, predictions)))

    return [name for name in sorted(names) if works(loss_of, name)]


def list_metrics(names: Iterable[str]) -> dict[str, Any]:
    """Return the metrics that Keras creates by name, each with its name in the logs and its direction."""
    found: dict[str, Any] = {}

    def log_of(name: str, labels: Any, predictions: Any) -> Any:
        model = keras.Sequential([keras.Input(predictions.shape[1:]), keras.layers.Identity()])
        # compile() needs some loss; its value doesn't matter.
        model.compile(loss=lambda true, predicted: keras.ops.sum(predicted), metrics=[name], run_eagerly=True)
        logs = model.test_on_batch(predictions, labels, return_dict=True)
        (log_name,) = set(logs) - {"loss"}
        metric = next(
            m for group in model.metrics for m in getattr(group, "metrics", ()) if m.name == log_name
        )
        # The attribute that EarlyStopping's `mode: auto` reads.
        better = {"up": "max", "down": "min", None: None}[getattr(metric, "_direction", None)]
        found[name] = {"log_name": log_name, "better": better}
        return logs[log_name]

    return {name: found[name] for name in sorted(names) if works(log_of, name)}


def works(compute: Callable[[str, Any, Any], Any], name: str) -> bool:
    """Return whether the result is one finite number for the labels of at least one class mode."""
    for labels, predictions in example_batches():
        try:
            with warnings.catch_warnings():
                # Keras warns if labels and predictions don't fit together.
                warnings.simplefilter("error", SyntaxWarning)
                value = compute(name, labels, predictions)
        except Exception:  # Keras and its backend raise many types
            continue
        if np.ndim(value) == 0 and np.isfinite(value):
            return True
    return False


def refuse_rest(names: Iterable[str], usable: Iterable[str], reason: str) -> dict[str, str]:
    """Return the reason for every Keras name that imgtrain cannot use."""
    return dict.fromkeys(sorted(set(names) - set(usable)), reason)


# What each kind of `preprocess_input` makes of the pixel (0, 100, 255).
_PROBE = (0.0, 100.0, 255.0)
_PIXELS = {
    "raw": (0.0, 100.0, 255.0),
    "symmetric": (-1.0, -0.2157, 1.0),
    "standardized": (-2.1179, -0.2850, 2.6400),
    "bgr": (151.061, -16.779, -123.68),
}


def list_applications() -> dict[str, Any]:
    """Return, for each network of `keras.applications`, the pixels it takes and its minimum input size."""
    found = {}
    for name, build in sorted(vars(keras.applications).items()):
        if not inspect.isfunction(build):
            continue
        preprocess = importlib.import_module(build.__module__).preprocess_input
        pixels = np.asarray(preprocess(np.array(_PROBE)[None, None, None])).ravel()
        (kind,) = (kind for kind, values in _PIXELS.items() if np.allclose(pixels, values, atol=1e-3))
        found[name] = {"pixels": kind, "smallest": smallest_side(build)}
    return found


def smallest_side(build: Callable[..., Any]) -> int:
    """Return the minimum input size that Keras's error names."""
    try:
        build(weights=None, include_top=False, input_shape=(1, 1, 3))
    except ValueError as error:
        if found := re.search(r"at least (\d+)x\1", str(error)):
            return int(found[1])
        raise
    return 1


def known_names(kind: str) -> dict[str, Any]:
    """Return the table that the module's `get` looks names up in; it has no public name."""
    table: dict[str, Any] = importlib.import_module(f"keras.src.{kind}").ALL_OBJECTS_DICT
    return table


def make_catalogue() -> dict[str, Any]:
    """Return the complete catalogue."""
    layers, aliases = list_classes(keras.layers, REFUSED_LAYERS, LAYER_ARGUMENTS, HIDDEN_ARGUMENTS)
    optimizers, _ = list_classes(keras.optimizers, REFUSED_OPTIMIZERS, (), {"name"})
    schedules, _ = list_classes(keras.optimizers.schedules, REFUSED_SCHEDULES, (), {"name"})
    metric_names = ["acc", *known_names("metrics")]
    metrics = list_metrics(metric_names)
    losses = list_losses(known_names("losses"))
    return {
        "keras": keras.__version__,
        "layers": layers,
        "layer_aliases": aliases,
        "applications": list_applications(),
        "refused_layers": REFUSED_LAYERS,
        "optimizers": optimizers,
        "refused_optimizers": REFUSED_OPTIMIZERS,
        "schedules": schedules,
        "refused_schedules": REFUSED_SCHEDULES,
        "losses": losses,
        "refused_losses": refuse_rest(known_names("losses"), losses, _NO_LOSS),
        "metrics": metrics,
        "refused_metrics": refuse_rest(metric_names, metrics, _NO_METRIC),
        "activations": sorted(known_names("activations")),
        "initializers": list_nested(known_names("initializers"), keras.initializers.Initializer),
        "regularizers": list_nested(known_names("regularizers"), keras.regularizers.Regularizer),
        "constraints": list_nested(known_names("constraints"), keras.constraints.Constraint),
    }


def render_catalogue(catalogue: dict[str, Any]) -> str:
    """Return JSON with one entry per line, so that a new Keras version gives a readable diff."""

    def render_group(group: Any) -> str:
        if not isinstance(group, dict):
            return json.dumps(group)
        lines = (f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(group.items()))
        return "{\n" + ",\n".join(lines) + "\n }"

    groups = (f" {json.dumps(name)}: {render_group(group)}" for name, group in catalogue.items())
    return "{\n" + ",\n".join(groups) + "\n}\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.parse_args().file.write_text(render_catalogue(make_catalogue()), encoding="utf-8")
