"""Validate the model config in a model file before Keras loads it.

Loading a model creates the objects named in its config, so untrusted files may only contain objects known to be
harmless: built-in Keras layers that don't execute custom code, and the objects in their arguments.
"""

from __future__ import annotations

import inspect
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from imgtrain.errors import Problem, RunFileError
from imgtrain.model.abstract_build import never_allocated
from imgtrain.model.archive_checks import UnsafeFile, validate_h5, validate_zip
from imgtrain.model.measure import variable_bytes
from imgtrain.model.runtime import keras
from imgtrain.run.model_metadata import model_file_kind
from imgtrain.text import format_bytes

__all__ = ["has_model", "read_keras_version", "validate_model_file", "validate_weights_file"]

# The config of the largest network in keras.applications takes about half a megabyte.
_MAX_CONFIG_BYTES = 64 * 2**20
# Keras layers that execute custom code or read other files.
_REFUSED = {
    "FlaxLayer": "runs custom code",
    "Hashing": "is not for images",
    "IntegerLookup": "reads other files",
    "JaxLayer": "runs custom code",
    "Lambda": "runs Python code from the file",
    "StringLookup": "reads other files",
    "TFSMLayer": "loads another model from disk",
    "TextVectorization": "reads other files",
    "TorchModuleWrapper": "runs custom code",
}
# Layers that networks of keras.applications define for themselves, and their modules.
_APPLICATION_LAYERS = {
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
    "LayerScale": "keras.src.applications.convnext",
}
_MODELS = ("Functional", "Model", "Sequential")
_REMOTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_VERSION = re.compile(r"\d[\w.+-]{0,40}")
# Serialized values that are not objects.
_VALUES = (
    "__keras_tensor__",
    "__numpy__",
    "__tensor__",
    "__tuple__",
    "DTypePolicy",
    "DTypePolicyMap",
    "TensorShape",
)


def validate_model_file(path: Path, *, most_bytes: int) -> None:
    """Reject a model file that is not a network of built-in layers, without loading it.

    Args:
        path: A `.keras` or `.h5` file.
        most_bytes: Maximum memory of its weights, or of a layer's output for one image.

    Raises:
        RunFileError: The file is missing, corrupt or not a model; it contains objects that are not allowed (lists
            all of them); it references other files; or it is too large.
    """
    with _explaining_rejection(path):
        check = {"keras": validate_zip, "h5": validate_h5}[model_file_kind(path)]
        check(path, most_bytes=most_bytes)
        text = _read_config(path)
        config = json.loads(text) if text else None
    if config is None:
        hint = "weights are not enough: save the whole model"
        raise RunFileError(Problem(path, "contains no model", hint))
    if not isinstance(config, dict) or config.get("class_name") not in _MODELS:
        raise RunFileError(Problem(path, "is corrupt: its config is not that of a model"))
    # Ignored when loading, so models can have custom losses.
    config.pop("compile_config", None)
    problems = dict(_refused_names(config))
    if problems:
        raise RunFileError(
            Problem(
                path,
                f"contains {name}, which {reason}",
                "for security, only built-in Keras layers are supported: model files can execute code",
            )
            for name, reason in problems.items()
        )
    if reason := _too_large(config, most_bytes):
        hint = "if the model is actually that large, raise --max-model-gib"
        raise RunFileError(Problem(path, f"is rejected: {reason}", hint))


def validate_weights_file(path: Path, *, most_bytes: int) -> list[tuple[int, ...]]:
    """Reject a file with weights that references other files, or exceeds the size limit.

    Args:
        path: An HDF5 file.
        most_bytes: Maximum memory of its arrays.

    Returns:
        The shapes of its floating-point arrays, except scalars and those of optimizers.

    Raises:
        RunFileError: The file is missing, corrupt, of another format, or rejected.
    """
    if model_file_kind(path) != "h5":
        raise RunFileError(Problem(path, "contains no weights: it must be an .h5 file"))
    with _explaining_rejection(path):
        return validate_h5(path, most_bytes=most_bytes)


def has_model(path: Path) -> bool:
    """Return whether a file contains a model, and not only weights.

    Raises:
        RunFileError: The file is missing or corrupt.
    """
    if model_file_kind(path) == "keras":
        return True
    import h5py

    with _explaining_rejection(path), h5py.File(path, "r") as file:
        # Not read: the file is not checked yet.
        return "model_config" in file.attrs


@contextmanager
def _explaining_rejection(path: Path) -> Iterator[None]:
    """Convert errors about the structure of a file.

    Raises:
        RunFileError: The file is rejected or corrupt.
    """
    try:
        yield
    except RunFileError:
        raise
    except UnsafeFile as error:
        hint = "if the model is actually that large, raise --max-model-gib" if "limit" in str(error) else ""
        raise RunFileError(Problem(path, f"is rejected: {error}", hint)) from None
    # zipfile, zlib, h5py and json raise various errors for corrupt archives.
    except Exception as error:
        raise RunFileError(Problem(path, f"is a corrupt model file: {error}")) from None


def read_keras_version(path: Path) -> str:
    """Return the version of Keras that wrote a model file; an empty string if unknown."""
    # Unreadable files have an unknown version.
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


def _read_config(path: Path) -> str | bytes | None:
    return _read_keras(path) if model_file_kind(path) == "keras" else _read_h5(path)


def _read_keras(path: Path) -> bytes | None:
    with zipfile.ZipFile(path) as archive:
        if "config.json" not in archive.namelist():
            return None
        with archive.open("config.json") as member:
            # Limited, whatever size the archive claims; truncated JSON is corrupt.
            return member.read(_MAX_CONFIG_BYTES)


def _read_h5(path: Path) -> str | bytes | None:
    import h5py

    with h5py.File(path, "r") as file:
        return file.attrs.get("model_config")


def _refused_names(config: Any) -> Iterator[tuple[str, str]]:
    """Yield all objects in a config that are not allowed, with the reason."""
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
                yield registered, "is a custom class"
            waiting += reversed(value.values())
        elif isinstance(value, str) and _REMOTE.match(value):
            yield value[:100], "is a URL; models must not reference other files"


def _too_large(config: dict[str, Any], most_bytes: int) -> str:
    """Return what exceeds the limit; an empty string if nothing does, or if it cannot be built."""
    found = ""
    # Keras reports better errors when loading the file.
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
    """Return the memory of a layer's output for one image; 0 if it has none."""
    with suppress(AttributeError, ValueError):
        tensors = layer.output if isinstance(layer.output, list | tuple) else [layer.output]
        return sum(4 * prod(side or 1 for side in tensor.shape) for tensor in tensors)
    return 0


def _refusal(name: object, module: object) -> str:
    """Return why an object is not allowed; an empty string if it is."""
    if not isinstance(name, str) or not isinstance(module, str | None):
        return "is not a valid name"
    if name in _VALUES:
        return ""
    if name in _REFUSED:
        return _REFUSED[name]
    if module is not None and _APPLICATION_LAYERS.get(name) == module:
        return ""
    # Keras imports the module named in the file.
    if module is not None and module.split(".")[0] != "keras":
        return f"is from module {module} instead of Keras"
    return "" if name in _allowed_names() else "is not a built-in Keras layer"


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
