"""The layers, optimizers, losses and metrics of Keras, available without importing Keras.

`scripts/make_catalogue.py` generates `catalogue.json` from the installed Keras. Anything that could put foreign
code into a model is rejected here, before Keras sees it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from imgtrain.config.fault import Fault, FaultyValueError, KeyPath
from imgtrain.config.wording import format_value
from imgtrain.errors import did_you_mean

__all__ = ["Catalogue", "Metric", "Signature", "load_catalogue"]

_INPUT_SHAPE = "the input shape follows from data.target_size and data.color_mode; remove it"
_DTYPE = "the dtype follows from training.precision; remove it"
_REFUSED_ARGUMENTS = {
    **dict.fromkeys(
        ("input_shape", "batch_input_shape", "batch_shape", "input_dim", "batch_size"), _INPUT_SHAPE
    ),
    **dict.fromkeys(("dtype", "autocast", "quantization_config"), _DTYPE),
    "weights": "weights cannot be given in a configuration; remove it",
}
# Keras 2 names that are too different for the spelling suggestions.
_OLD_ARGUMENTS = {"lr": "learning_rate", "alpha": "negative_slope"}
# Arguments with these suffixes take an object by name, optionally with arguments.
_NESTED_SUFFIXES = {
    "_initializer": "initializers",
    "_regularizer": "regularizers",
    "_constraint": "constraints",
}
_MAX_LIST_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that Keras creates by name.

    Attributes:
        name: The name to pass to Keras.
        log_name: Its name in the logs, prefixed by `val_` for validation.
        better: `max` or `min` as inferred by EarlyStopping's `mode: auto`; None if it cannot be inferred.
    """

    name: str
    log_name: str
    better: str | None


@dataclass(frozen=True, slots=True)
class Application:
    """A network of `keras.applications`.

    Attributes:
        name: The function's name: `ResNet50`.
        pixels: The pixels that it takes: `raw` (0 to 255), `symmetric` (-1 to 1), `standardized` (with ImageNet's mean
            and standard deviation) or `bgr` (blue, green, red, minus ImageNet's mean).
        smallest: Minimum height and width of its input, in pixels.
    """

    name: str
    pixels: str
    smallest: int


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """The constructor signature of a layer, an optimizer, or an object nested in their arguments.

    Attributes:
        name: The class name in Keras.
        arguments: Argument names in order.
        required: Arguments without a default.
        nested: The known activations, initializers, regularizers and constraints.
    """

    name: str
    arguments: tuple[str, ...]
    required: tuple[str, ...]
    nested: _Nested

    def bind(self, given: object) -> dict[str, Any]:
        """Return the arguments by name.

        Args:
            given: None, a mapping of keyword arguments, or one value for the first argument.

        Raises:
            FaultyValueError: An argument is unknown, missing or not a plain value; with all faults. A subclass
                of ValueError.
        """
        if given is None:
            given = {}
        elif not isinstance(given, Mapping):
            if not self.arguments:
                raise FaultyValueError(
                    [Fault((), f"{self.name} takes no arguments; got {format_value(given)}")]
                )
            given = {self.arguments[0]: given}
        faults: list[Fault] = []
        arguments: dict[str, Any] = {}
        for key, value in given.items():
            if fault := self._check_name(str(key)):
                faults.append(fault)
                continue
            arguments[str(key)], found = self._bind_value(str(key), value)
            faults += found
        # A misspelled required argument is one fault, not two.
        meant = " ".join(fault.hint for fault in faults)
        if missing := [name for name in self.required if name not in given and repr(name) not in meant]:
            faults.append(Fault((), f"{self.name} requires {' and '.join(missing)}", self._example()))
        if faults:
            raise FaultyValueError(faults)
        return arguments

    def _check_name(self, name: str) -> Fault | None:
        if name in self.arguments:
            return None
        if reason := _REFUSED_ARGUMENTS.get(name):
            return Fault((name,), reason)
        if (new := _OLD_ARGUMENTS.get(name)) in self.arguments:
            return Fault((name,), f"{self.name} has no argument {name!r}", f"did you mean {new!r}?")
        allowed = ", ".join(self.arguments) or "none"
        hint = did_you_mean(name, self.arguments) or f"allowed arguments: {allowed}"
        return Fault((name,), f"{self.name} has no argument {format_value(name)}", hint)

    def _bind_value(self, name: str, value: object) -> tuple[Any, list[Fault]]:
        if name == "activation" or name.endswith("_activation"):
            return value, list(self.nested.check_activation((name,), value))
        for suffix, kind in _NESTED_SUFFIXES.items():
            if name.endswith(suffix):
                return self.nested.bind(kind, (name,), value)
        if name == "data_format" and value not in (None, "channels_last"):
            what = f"must be channels_last; got {format_value(value)}"
            return value, [Fault((name,), what)]
        if name == "name" and value is not None and (not isinstance(value, str) or not value or "/" in value):
            return value, [Fault((name,), f"must be a string without `/`; got {format_value(value)}")]
        return value, list(_check_plain((name,), value))

    def _example(self) -> str:
        return f"use `{self.name}: {{{', '.join(f'{name}: …' for name in self.required)}}}`"


@dataclass(frozen=True, slots=True, eq=False)
class _Nested:
    """Objects that arguments can name besides plain values."""

    activations: tuple[str, ...]
    groups: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]

    def check_activation(self, path: KeyPath, value: object) -> Iterator[Fault]:
        if value is None or (isinstance(value, str) and value in self.activations):
            return
        hint = did_you_mean(value, self.activations) if isinstance(value, str) else ""
        yield Fault(path, f"unknown activation {format_value(value)}", hint or _allowed(self.activations))

    def bind(self, kind: str, path: KeyPath, value: object) -> tuple[Any, list[Fault]]:
        """Return an initializer, regularizer or constraint in Keras's format, and its faults.

        Keras accepts None, a name, or `{class_name: …, config: {…}}`.
        """
        if value is None:
            return None, []
        try:
            name, given, path = self._parse(kind, path, value)
            entry = self.groups[kind][name]
            signature = Signature(name, tuple(entry["arguments"]), tuple(entry["required"]), self)
            config = signature.bind(given)
        except FaultyValueError as error:
            return value, list(error.below(*path).faults)
        return ({"class_name": name, "config": config} if config else name), []

    def _parse(self, kind: str, path: KeyPath, value: object) -> tuple[str, object, KeyPath]:
        """Return the name, its arguments and their path."""
        singular = kind.removesuffix("s")
        name, given = value, None
        if isinstance(value, Mapping) and "class_name" in value:
            if extra := [str(key) for key in value if key not in ("class_name", "config")]:
                what = f"only class_name and config are allowed; got {format_value(extra[0])}"
                raise FaultyValueError(
                    [Fault((extra[0],), what, "only objects of Keras itself are supported")]
                )
            name, given = value["class_name"], value.get("config")
            path = (*path, "config") if given else path
        elif isinstance(value, Mapping) and len(value) == 1:
            ((name, given),) = value.items()
            path = (*path, str(name))
        if not isinstance(name, str):
            what = f"must be the name of a {singular}, optionally with arguments; got {format_value(value)}"
            raise FaultyValueError([Fault((), what)])
        if name not in self.groups[kind]:
            hint = did_you_mean(name, list(self.groups[kind])) or _allowed(self.groups[kind])
            raise FaultyValueError([Fault((), f"unknown {singular} {format_value(name)}", hint)])
        return name, given, path


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """The names that can be used in a configuration.

    Attributes:
        keras_version: The Keras version that the catalogue was generated from.
        layers: All supported layers, by class name.
        layer_aliases: The class name for every alias, such as `MaxPool2D`.
        applications: All networks of `keras.applications`, by name.
        optimizers: All supported optimizers, by class name.
        schedules: All learning rate schedules, by class name.
        losses: All losses that can be created by name.
        metrics: All metrics that can be created by name.
    """

    keras_version: str
    layers: Mapping[str, Signature]
    layer_aliases: Mapping[str, str]
    applications: Mapping[str, Application]
    optimizers: Mapping[str, Signature]
    schedules: Mapping[str, Signature]
    losses: tuple[str, ...]
    metrics: Mapping[str, Metric]
    _refused: Mapping[str, Mapping[str, str]]

    def layer(self, name: str) -> Signature:
        """Return the layer with this exact name or alias, such as `MaxPool2D`.

        Raises:
            FaultyValueError: The layer is unknown or not supported.
        """
        if signature := self.layers.get(self.layer_aliases.get(name, name)):
            return signature
        if name in self.applications:
            what = f"{name} is a network of keras.applications, not a layer"
            raise FaultyValueError([Fault((), what, f"use `model.backbone: {{name: {name}}}`")])
        raise self._unknown("layer", name, [*self.layers, *self.layer_aliases])

    def application(self, name: str) -> Application:
        """Return the network of `keras.applications` with this exact name.

        Raises:
            FaultyValueError: The network is unknown.
        """
        if application := self.applications.get(name):
            return application
        hint = did_you_mean(name, list(self.applications)) or _allowed(self.applications)
        raise FaultyValueError([Fault((), f"unknown network {format_value(name)}", hint)])

    def optimizer(self, name: str) -> Signature:
        """Return the optimizer with this name, case-insensitively.

        Raises:
            FaultyValueError: The optimizer is unknown or not supported.
        """
        by_lower_case = {known.lower(): signature for known, signature in self.optimizers.items()}
        if signature := by_lower_case.get(name.lower()):
            return signature
        raise self._unknown("optimizer", name, list(by_lower_case))

    def schedule(self, name: str, also: Sequence[str] = ()) -> Signature:
        """Return the learning rate schedule with this exact name.

        Args:
            name: A class of `keras.optimizers.schedules`.
            also: Additional names for the suggestion in the error.

        Raises:
            FaultyValueError: The schedule is unknown.
        """
        if signature := self.schedules.get(name):
            return signature
        raise self._unknown("schedule", name, [*also, *self.schedules])

    def loss(self, name: str) -> str:
        """Return the name of a loss.

        Raises:
            FaultyValueError: The loss is unknown or not supported.
        """
        if name in self.losses:
            return name
        raise self._unknown("loss", name, ["auto", *self.losses])

    def metric(self, name: str) -> Metric:
        """Return the metric with this name.

        Raises:
            FaultyValueError: The metric is unknown or not supported.
        """
        if metric := self.metrics.get(name):
            return metric
        raise self._unknown("metric", name, list(self.metrics))

    def metric_log_name(self, name: str) -> str:
        """Return the name of a metric in the logs."""
        return self.metric(name).log_name

    def _unknown(self, kind: str, name: str, known: Sequence[str]) -> FaultyValueError:
        refused = {key.lower(): (key, reason) for key, reason in self._refused[kind].items()}
        if exact := self._refused[kind].get(name):
            return FaultyValueError([Fault((), f"{name} {exact}")])
        # Prefer a supported name with other capitalization.
        hint = did_you_mean(name, known)
        if not hint and name.lower() in refused:
            return FaultyValueError([Fault((), " ".join(refused[name.lower()]))])
        return FaultyValueError([Fault((), f"unknown {kind} {format_value(name)}", hint)])


@cache
def load_catalogue() -> Catalogue:
    """Return the catalogue packaged with imgtrain; cached."""
    stored = json.loads(files("imgtrain.config").joinpath("catalogue.json").read_text(encoding="utf-8"))
    nested = _Nested(
        tuple(stored["activations"]),
        {kind: stored[kind] for kind in _NESTED_SUFFIXES.values()},
    )

    def read_signatures(kind: str) -> dict[str, Signature]:
        return {
            name: Signature(name, tuple(entry["arguments"]), tuple(entry["required"]), nested)
            for name, entry in stored[kind].items()
        }

    return Catalogue(
        keras_version=stored["keras"],
        layers=read_signatures("layers"),
        optimizers=read_signatures("optimizers"),
        schedules=read_signatures("schedules"),
        losses=tuple(stored["losses"]),
        metrics={
            name: Metric(name, entry["log_name"], entry["better"])
            for name, entry in stored["metrics"].items()
        },
        layer_aliases=stored["layer_aliases"],
        applications={name: Application(name, **entry) for name, entry in stored["applications"].items()},
        _refused={
            "layer": stored["refused_layers"],
            "optimizer": stored["refused_optimizers"],
            "schedule": stored["refused_schedules"],
            "loss": stored["refused_losses"],
            "metric": stored["refused_metrics"],
        },
    )


def _is_plain(value: object, depth: int = 0) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return depth < _MAX_LIST_DEPTH and all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)


def _check_plain(path: KeyPath, value: object) -> Iterator[Fault]:
    if not _is_plain(value):
        yield Fault(
            path,
            f"must be a finite number, string, boolean, null or a list of these; got {format_value(value)}",
        )


def _allowed(names: Mapping[str, Any] | Sequence[str]) -> str:
    return f"allowed: {', '.join(names)}"
