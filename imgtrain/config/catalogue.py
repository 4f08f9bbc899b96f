"""What Keras offers by name: layers, optimizers, losses and metrics, known without importing Keras.

The names stand in `catalogue.json`, which `scripts/make_catalogue.py` writes from an installed Keras.
Everything that could carry foreign code into a model is refused here, before Keras sees it.
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
from imgtrain.config.wording import shown
from imgtrain.errors import did_you_mean

__all__ = ["Catalogue", "Metric", "Signature", "load_catalogue"]

_INPUT_SHAPE = "the input shape follows from data.target_size and data.color_mode; leave it out"
_NUMBER_FORMAT = "the number format follows from training.precision; leave it out"
_REFUSED_ARGUMENTS = {
    **dict.fromkeys(
        ("input_shape", "batch_input_shape", "batch_shape", "input_dim", "batch_size"), _INPUT_SHAPE
    ),
    **dict.fromkeys(("dtype", "autocast", "quantization_config"), _NUMBER_FORMAT),
    "weights": "weights cannot be written into a configuration; leave it out",
}
# Names of Keras 2 that no spelling check leads from to today's.
_OLD_ARGUMENTS = {"lr": "learning_rate", "alpha": "negative_slope"}
# An argument that ends like this is the name of one of these, or one with its own arguments.
_NESTED_SUFFIXES = {
    "_initializer": "initializers",
    "_regularizer": "regularizers",
    "_constraint": "constraints",
}
_DEEPEST_LIST = 4


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that Keras makes from its name alone.

    Attributes:
        name: The name to give to Keras.
        log_name: The name under which it appears in the logs; `val_` stands before it for validation.
        better: `max` or `min` where EarlyStopping's `mode: auto` knows it; None where a mode must be named.
    """

    name: str
    log_name: str
    better: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """The constructor of a layer, an optimizer or what is nested in their arguments.

    Attributes:
        name: The name of the class in Keras.
        arguments: Names in the constructor's order.
        required: Those without a default.
        nested: The catalogue's initializers, regularizers and constraints, and the names of activations.
    """

    name: str
    arguments: tuple[str, ...]
    required: tuple[str, ...]
    nested: _Nested

    def bind(self, given: object) -> dict[str, Any]:
        """Return the arguments by name.

        Args:
            given: None, a mapping of arguments by name, or one value for the first argument.

        Raises:
            FaultyValueError: An argument is unknown, missing or no plain value; all faults at once. It is a
                ValueError.
        """
        if given is None:
            given = {}
        elif not isinstance(given, Mapping):
            if not self.arguments:
                raise FaultyValueError([Fault((), f"{self.name} takes no argument, got {shown(given)}")])
            given = {self.arguments[0]: given}
        faults: list[Fault] = []
        arguments: dict[str, Any] = {}
        for key, value in given.items():
            if fault := self._check_name(str(key)):
                faults.append(fault)
                continue
            arguments[str(key)], found = self._bind_value(str(key), value)
            faults += found
        # A required argument that was misspelt is one mistake, not two.
        meant = " ".join(fault.hint for fault in faults)
        if missing := [name for name in self.required if name not in given and repr(name) not in meant]:
            faults.append(Fault((), f"{self.name} needs {' and '.join(missing)}", self._example()))
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
        hint = did_you_mean(name, self.arguments) or f"its arguments: {allowed}"
        return Fault((name,), f"{self.name} has no argument {shown(name)}", hint)

    def _bind_value(self, name: str, value: object) -> tuple[Any, list[Fault]]:
        if name == "activation" or name.endswith("_activation"):
            return value, list(self.nested.check_activation((name,), value))
        for suffix, kind in _NESTED_SUFFIXES.items():
            if name.endswith(suffix):
                return self.nested.bind(kind, (name,), value)
        if name == "data_format" and value not in (None, "channels_last"):
            what = f"is {shown(value)}; images are (height, width, channels); allowed: channels_last"
            return value, [Fault((name,), what)]
        if name == "name" and value is not None and (not isinstance(value, str) or not value or "/" in value):
            return value, [Fault((name,), f"is {shown(value)}; a layer's name is a text without `/`")]
        return value, list(_check_plain((name,), value))

    def _example(self) -> str:
        return f"write `{self.name}: {{{', '.join(f'{name}: …' for name in self.required)}}}`"


@dataclass(frozen=True, slots=True, eq=False)
class _Nested:
    """What may stand as an argument besides plain values."""

    activations: tuple[str, ...]
    groups: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]

    def check_activation(self, path: KeyPath, value: object) -> Iterator[Fault]:
        if value is None or (isinstance(value, str) and value in self.activations):
            return
        hint = did_you_mean(value, self.activations) if isinstance(value, str) else ""
        yield Fault(
            path, f"is {shown(value)}, which is no Keras activation", hint or _allowed(self.activations)
        )

    def bind(self, kind: str, path: KeyPath, value: object) -> tuple[Any, list[Fault]]:
        """Return an initializer, regularizer or constraint as Keras takes it, with its faults.

        Keras takes None, a name, or `{class_name: …, config: {…}}`.
        """
        if value is None:
            return None, []
        try:
            name, given, path = self._take_apart(kind, path, value)
            entry = self.groups[kind][name]
            signature = Signature(name, tuple(entry["arguments"]), tuple(entry["required"]), self)
            config = signature.bind(given)
        except FaultyValueError as error:
            return value, list(error.below(*path).faults)
        return ({"class_name": name, "config": config} if config else name), []

    def _take_apart(self, kind: str, path: KeyPath, value: object) -> tuple[str, object, KeyPath]:
        """Return the name, the arguments that were given to it and where these stand."""
        singular = kind.removesuffix("s")
        name, given = value, None
        if isinstance(value, Mapping) and "class_name" in value:
            if extra := [str(key) for key in value if key not in ("class_name", "config")]:
                what = f"{shown(extra[0])} is not allowed beside class_name and config"
                raise FaultyValueError(
                    [Fault((extra[0],), what, "only what Keras itself brings can be named")]
                )
            name, given = value["class_name"], value.get("config")
            path = (*path, "config") if given else path
        elif isinstance(value, Mapping) and len(value) == 1:
            ((name, given),) = value.items()
            path = (*path, str(name))
        if not isinstance(name, str):
            what = f"is {shown(value)}; allowed: the name of a Keras {singular}, alone or with its arguments"
            raise FaultyValueError([Fault((), what)])
        if name not in self.groups[kind]:
            hint = did_you_mean(name, list(self.groups[kind])) or _allowed(self.groups[kind])
            raise FaultyValueError([Fault((), f"{shown(name)} is no Keras {singular}", hint)])
        return name, given, path


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """The names that Keras knows.

    Attributes:
        keras_version: The Keras that the catalogue was made from.
        layers: Every layer that may stand in a network, by its class name.
        layer_aliases: The class name of every second name, such as `MaxPool2D`.
        optimizers: Every optimizer, by its class name.
        schedules: Every learning rate schedule, by its class name.
        losses: Every loss that its name alone makes.
        metrics: Every metric that its name alone makes, by that name.
    """

    keras_version: str
    layers: Mapping[str, Signature]
    layer_aliases: Mapping[str, str]
    optimizers: Mapping[str, Signature]
    schedules: Mapping[str, Signature]
    losses: tuple[str, ...]
    metrics: Mapping[str, Metric]
    _refused: Mapping[str, Mapping[str, str]]

    def layer(self, name: str) -> Signature:
        """Return the layer of this exact name; `MaxPool2D` and Keras's other second names are known.

        Raises:
            FaultyValueError: Keras has no such layer, or it may not stand in a network.
        """
        if signature := self.layers.get(self.layer_aliases.get(name, name)):
            return signature
        raise self._unknown("layer", name, [*self.layers, *self.layer_aliases])

    def optimizer(self, name: str) -> Signature:
        """Return the optimizer of this name, in any case.

        Raises:
            FaultyValueError: Keras has no such optimizer, or it may not be named.
        """
        by_lower_case = {known.lower(): signature for known, signature in self.optimizers.items()}
        if signature := by_lower_case.get(name.lower()):
            return signature
        raise self._unknown("optimizer", name, list(by_lower_case))

    def schedule(self, name: str, also: Sequence[str] = ()) -> Signature:
        """Return the learning rate schedule of this exact name.

        Args:
            name: A class of `keras.optimizers.schedules`.
            also: Further names for the hint of the error.

        Raises:
            FaultyValueError: Keras has no such schedule.
        """
        if signature := self.schedules.get(name):
            return signature
        raise self._unknown("schedule", name, [*also, *self.schedules])

    def loss(self, name: str) -> str:
        """Return the name of a loss that Keras knows.

        Raises:
            FaultyValueError: Keras has no such loss, or its name alone is not enough.
        """
        if name in self.losses:
            return name
        raise self._unknown("loss", name, ["auto", *self.losses])

    def metric(self, name: str) -> Metric:
        """Return the metric of this name.

        Raises:
            FaultyValueError: Keras has no such metric, or its name alone is not enough.
        """
        if metric := self.metrics.get(name):
            return metric
        raise self._unknown("metric", name, list(self.metrics))

    def metric_log_name(self, name: str) -> str:
        """Return the name under which a metric appears in the logs."""
        return self.metric(name).log_name

    def _unknown(self, kind: str, name: str, known: Sequence[str]) -> FaultyValueError:
        refused = {key.lower(): (key, reason) for key, reason in self._refused[kind].items()}
        if exact := self._refused[kind].get(name):
            return FaultyValueError([Fault((), f"{name} {exact}")])
        # A name in another case is more likely a usable one.
        hint = did_you_mean(name, known)
        if not hint and name.lower() in refused:
            return FaultyValueError([Fault((), " ".join(refused[name.lower()]))])
        return FaultyValueError([Fault((), f"{shown(name)} is no Keras {kind}", hint)])


@cache
def load_catalogue() -> Catalogue:
    """Return the catalogue that is packaged with imgtrain; read once."""
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
        return depth < _DEEPEST_LIST and all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)


def _check_plain(path: KeyPath, value: object) -> Iterator[Fault]:
    if not _is_plain(value):
        yield Fault(
            path, f"is {shown(value)}; allowed: a finite number, a text, true, false, null or a list of these"
        )


def _allowed(names: Mapping[str, Any] | Sequence[str]) -> str:
    return f"allowed: {', '.join(names)}"
