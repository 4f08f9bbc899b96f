"""Save and load models: plain Keras files with imgtrain's metadata, written atomically and loaded safely."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgtrain.errors import Problem, RunFileError
from imgtrain.model.initial_state import saving_initial_state
from imgtrain.model.inspect import read_keras_version, validate_model_file
from imgtrain.model.runtime import keras
from imgtrain.run.color_modes import CHANNELS
from imgtrain.run.defaults import MAX_MODEL_GIB
from imgtrain.run.exported_model import FORMATS
from imgtrain.run.model_metadata import ATTRIBUTE, MEMBER, ModelFile, ModelMetadata, find_model
from imgtrain.run.run_directory import atomic_write

__all__ = ["LoadedModel", "ModelShape", "describe", "load_model", "load_network", "save_model"]

_ACTIVATIONS = ("sigmoid", "softmax")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Input and output of an image classifier.

    Attributes:
        image_shape: (height, width, channels) of its input.
        units: Number of outputs: 1 for binary classification, otherwise one per class.
        activation: Output activation: `sigmoid` or `softmax`.
    """

    image_shape: tuple[int, int, int]
    units: int
    activation: str


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A loaded model file.

    Attributes:
        model: The Keras model, not compiled.
        record: imgtrain's metadata; None for a model not made by imgtrain.
        path: The file.
        shape: Input and output of the model.
    """

    model: keras.Model
    record: ModelMetadata | None
    path: Path
    shape: ModelShape


def save_model(model: keras.Model, record: ModelMetadata, path: Path) -> None:
    """Save a model and its metadata atomically.

    Args:
        model: A model of built-in layers, compiled with a new optimizer, as returned by `float32_copy`.
        record: The metadata to store in the file.
        path: Ends in `.keras` or `.h5`; replaced if it exists.

    Raises:
        RunFileError: The file cannot be written.
    """
    with atomic_write(path) as aside:
        if path.suffix == ".h5":
            model.save(aside)
            _finish_h5(record, aside)
        else:
            with saving_initial_state(model):
                model.save(aside)
            with zipfile.ZipFile(aside, "a") as archive:
                archive.writestr(MEMBER, record.to_json())


def load_model(file: ModelFile | Path | str, *, max_gib: float = MAX_MODEL_GIB) -> LoadedModel:
    """Load an image classifier without executing code from the file.

    Args:
        file: Result of `find_model`, or a path: a `.keras` or `.h5` file made by imgtrain or Keras, or a run directory.
        max_gib: Maximum memory of its weights, or of a layer's output for one image.

    Raises:
        RunFileError: The file is missing, corrupt, too large, not an image classifier, contains other than built-in
            layers, or its metadata doesn't match its network.
    """
    if not isinstance(file, ModelFile):
        file = find_model(file)
    path, record = file.path, file.metadata
    if file.export_format is not None:
        what = f"is an exported model ({FORMATS[file.export_format].title}), not a Keras model"
        raise RunFileError(Problem(path, what, "give the .keras or .h5 file that it was exported from"))
    model = load_network(path, max_gib=max_gib)
    shape = describe(model, path=path)
    if record is not None and (record.image_shape, record.units) != (shape.image_shape, shape.units):
        raise RunFileError(
            Problem(
                path,
                f"its metadata describes images {record.image_shape} and {record.units} outputs, but its network "
                f"has input {shape.image_shape} and {shape.units} outputs",
            )
        )
    return LoadedModel(model, record, path, shape)


def load_network(path: Path, *, max_gib: float = MAX_MODEL_GIB) -> keras.Model:
    """Load any Keras model of built-in layers without executing code from the file.

    Args:
        path: A `.keras` or `.h5` file.
        max_gib: Maximum memory of its weights, or of a layer's output for one image.

    Raises:
        RunFileError: The file is missing, corrupt, too large, or contains other than built-in layers.
    """
    validate_model_file(path, most_bytes=int(max_gib * 2**30))
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    # The errors of Keras, h5py and TensorFlow for corrupt files have no common base class.
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        what = f"cannot be loaded by Keras {keras.__version__}: {text}"
        raise RunFileError(Problem(path, what, _what_wrote_it(path))) from error


def _what_wrote_it(path: Path) -> str:
    """Return which version of Keras wrote a file that cannot be loaded, and what to do."""
    version = read_keras_version(path)
    if not version:
        return "the file doesn't record which version of Keras wrote it"
    wrote, here = (tuple(map(int, re.findall(r"\d+", text)[:2])) for text in (version, keras.__version__))
    if wrote > here:
        return f"it was written by a newer version, Keras {version}: `pip install --upgrade keras`"
    if wrote < (3,):
        return (
            f"it was written by Keras {version}: load it there with `pip install tf-keras` and "
            "`TF_USE_LEGACY_KERAS=1`, "
            "and save it as .h5"
        )
    return f"it was written by Keras {version}: load it there and save it as .keras"


def describe(model: keras.Model, *, path: Path) -> ModelShape:
    """Return the input and output of a model.

    Raises:
        RunFileError: It is not an image classifier with one image of fixed size as input and one row of probabilities
            as output.
    """
    if not model.built or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise RunFileError(Problem(path, "is not an image classifier: it must have one input and one output"))
    taken, given = model.inputs[0].shape, model.outputs[0].shape
    if len(taken) != 4 or None in taken[1:] or taken[3] not in CHANNELS.values():
        raise RunFileError(
            Problem(
                path,
                f"is not an image classifier: its input shape is {tuple(taken)}",
                "it must be (batch, height, width, channels) with 1, 3 or 4 channels",
            )
        )
    if len(given) != 2 or given[1] is None:
        raise RunFileError(
            Problem(
                path,
                f"is not an image classifier: its output shape is {tuple(given)}",
                "it must be (batch, classes)",
            )
        )
    activation = _output_activation(model.layers[-1])
    if activation not in _ACTIVATIONS or (activation == "softmax") != (given[1] > 1):
        raise RunFileError(
            Problem(
                path,
                f"doesn't output class probabilities: {given[1]} values with activation {activation}",
                "it must end with one sigmoid unit, or softmax over the classes",
            )
        )
    return ModelShape(tuple(taken[1:]), given[1], activation)


def _output_activation(layer: keras.Layer) -> str:
    """Return the name of the last activation, which may be a separate layer or in a nested model."""
    while isinstance(layer, keras.Model) and layer.layers:
        layer = layer.layers[-1]
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation: Any = getattr(layer, "activation", None)
    return getattr(activation, "__name__", "linear")


def _finish_h5(record: ModelMetadata, path: Path) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        file.attrs[ATTRIBUTE] = record.to_json()
        # With it, Keras builds the optimizer of a loaded Sequential without variables, and then cannot train.
        del file["optimizer_weights"]
