"""What a model file would build, read from its own JSON before Keras touches it.

Loading a model makes the objects that its configuration names, so a file from a stranger may name only what
is known to be harmless: Keras's own layers without code of their own, and what stands in their arguments.
"""

from __future__ import annotations

import inspect
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from imgtrain.errors import Problem, RunFileError
from imgtrain.model.abstract_build import never_allocated
from imgtrain.model.archive_checks import UnsafeFile, check_h5, check_zip
from imgtrain.model.measure import variable_bytes
from imgtrain.model.runtime import keras
from imgtrain.run.model_metadata import model_file_kind
from imgtrain.text import format_bytes

__all__ = ["check_model_file", "read_keras_version"]

# The configuration of the largest network in keras.applications is about half a megabyte.
_MAX_CONFIG_BYTES = 64 * 2**20
# Layers of Keras that run code from the file or from elsewhere, or read other files.
_REFUSED = {
    "FlaxLayer": "runs code of its own",
    "Hashing": "is not for images",
    "IntegerLookup": "reads other files",
    "JaxLayer": "runs code of its own",
    "Lambda": "runs Python code from the file",
    "StringLookup": "reads other files",
    "TFSMLayer": "loads another model from disk",
    "TextVectorization": "reads other files",
    "TorchModuleWrapper": "runs code of its own",
}
_MODELS = ("Functional", "Model", "Sequential")
_REMOTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_VERSION = re.compile(r"\d[\w.+-]{0,40}")
# How Keras writes values that are no objects with code.
_VALUES = (
    "__keras_tensor__",
    "__numpy__",
    "__tensor__",
    "__tuple__",
    "DTypePolicy",
    "DTypePolicyMap",
    "TensorShape",
)


def check_model_file(path: Path, *, most_bytes: int) -> None:
    """Refuse a model file that would do anything but give a network of built-in layers, without loading it.

    Args:
        path: A `.keras` or `.h5` file.
        most_bytes: The most memory that its weights, or a layer's output for one image, may take.

    Raises:
        RunFileError: The file is missing, damaged or no model; it names something that is not allowed, all such
            names at once; it reaches outside itself; or it is too large.
    """
    kind = model_file_kind(path)
    try:
        check = {"keras": check_zip, "h5": check_h5}[kind]
        check(path, most_bytes=most_bytes)
        text = {"keras": _read_keras, "h5": _read_h5}[kind](path)
        config = json.loads(text) if text else None
    except UnsafeFile as error:
        hint = "if the model is really that large, raise --max-model-gib" if "limit" in str(error) else ""
        raise RunFileError(Problem(path, f"is refused: {error}", hint)) from None
    # Damaged archives raise errors of all kinds in zipfile, zlib, h5py and json.
    except Exception as error:
        raise RunFileError(Problem(path, f"is a damaged model file: {error}")) from None
    if config is None:
        hint = "weights alone are not enough: save the whole model"
        raise RunFileError(Problem(path, "holds no model", hint))
    if not isinstance(config, dict) or config.get("class_name") not in _MODELS:
        raise RunFileError(Problem(path, "its description is not that of a model"))
    # Models are loaded without it, so that a foreign model may have a loss of its own.
    config.pop("compile_config", None)
    problems = dict(_refused_names(config))
    if problems:
        raise RunFileError(
            Problem(
                path,
                f"contains {name}, which {reason}",
                "imgtrain loads models of Keras's own layers only, because a model file can run code",
            )
            for name, reason in problems.items()
        )
    if reason := _too_large(config, most_bytes):
        hint = "if the model is really that large, raise --max-model-gib"
        raise RunFileError(Problem(path, f"is refused: {reason}", hint))


def read_keras_version(path: Path) -> str:
    """Return the version of Keras that wrote a model file; an empty string where it does not say."""
    # What cannot be read says nothing.
    with suppress(Exception):
        if model_file_kind(path) == "h5":
            import h5py

            with h5py.File(path, "r") as file:
                version = file.attrs.get("keras_version", "")
        else:
            with zipfile.ZipFile(path) as archive, archive.open("metadata.json") as member:
                version = json.loads(member.read(_MAX_CONFIG_BYTES)).get("keras_version", "")
        version = version.decode() if isinstance(version, bytes) else str(version)
        return version if _VERSION.fullmatch(version) else ""
    return ""


def _read_keras(path: Path) -> bytes | None:
    with zipfile.ZipFile(path) as archive:
        if "config.json" not in archive.namelist():
            return None
        with archive.open("config.json") as member:
            # However much the archive claims to hold; JSON that is cut is damaged.
            return member.read(_MAX_CONFIG_BYTES)


def _read_h5(path: Path) -> str | bytes | None:
    import h5py

    with h5py.File(path, "r") as file:
        return file.attrs.get("model_config")


def _refused_names(config: Any) -> Iterator[tuple[str, str]]:
    """Yield everything in a configuration that may not be built, with the reason."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict):
            if "class_name" in value and (reason := _refusal(value["class_name"], value.get("module"))):
                yield str(value["class_name"]), reason
            registered = value.get("registered_name")
            if isinstance(registered, str) and ">" in registered:
                yield registered, "is a class of somebody's own"
            waiting += reversed(value.values())
        elif isinstance(value, str) and _REMOTE.match(value):
            yield value[:100], "is an address: a model is made of what stands in its file"


def _too_large(config: dict[str, Any], most_bytes: int) -> str:
    """Return what of a network exceeds the limit; an empty string if nothing does, or if it is no network."""
    found = ""
    # Whatever Keras has against it, it says better when it really loads the file.
    with suppress(Exception), never_allocated():
        model = _deserialize(config)
        for what, size in (
            ("its weights take", sum(variable_bytes(variable) for variable in model.variables)),
            ("the output of a layer takes, for one image,", max(map(_output_bytes, _all_layers(model)))),
        ):
            if size > most_bytes:
                limit = format_bytes(most_bytes)
                found = found or f"{what} {format_bytes(size)}, more than the limit of {limit}"
    return found


def _deserialize(config: dict[str, Any]) -> keras.Model:
    if "module" in config:
        return keras.saving.deserialize_keras_object(config, safe_mode=True)
    # An .h5 file, by any version of Keras.
    model_class = keras.Sequential if config["class_name"] == "Sequential" else keras.Model
    return model_class.from_config(config["config"])


def _all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _output_bytes(layer: keras.Layer) -> int:
    """Return the memory of a layer's output for one image; 0 where it has none of its own."""
    with suppress(AttributeError, ValueError):
        tensors = layer.output if isinstance(layer.output, list | tuple) else [layer.output]
        return sum(4 * prod(side or 1 for side in tensor.shape) for tensor in tensors)
    return 0


def _refusal(name: object, module: object) -> str:
    """Return why a named object may not be built; an empty string if it may."""
    if not isinstance(name, str) or not isinstance(module, str | None):
        return "is no name"
    if name in _VALUES:
        return ""
    if name in _REFUSED:
        return _REFUSED[name]
    # Keras imports the module that a file names.
    if module is not None and module.split(".")[0] != "keras":
        return f"comes from {module}, not from Keras"
    return "" if name in _allowed_names() else "is not one of Keras's own layers"


@cache
def _allowed_names() -> frozenset[str]:
    rooms = (
        keras.layers,
        keras.initializers,
        keras.regularizers,
        keras.constraints,
        # A nested model may have been compiled.
        keras.losses,
        keras.metrics,
        keras.optimizers,
        keras.optimizers.schedules,
    )
    public = {name for room in rooms for name, value in vars(room).items() if inspect.isclass(value)}
    return frozenset({*public, *_MODELS} - _REFUSED.keys())
