"""Models on disk: plain Keras files with imgtrain's record inside, written whole and loaded with care."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgtrain.errors import Problem, RunFileError
from imgtrain.model.initial_state import saving_initial_state
from imgtrain.model.inspect import check_model_file, read_keras_version
from imgtrain.model.runtime import keras
from imgtrain.run.color_modes import CHANNELS
from imgtrain.run.defaults import MAX_MODEL_GIB
from imgtrain.run.model_metadata import ATTRIBUTE, MEMBER, ModelFile, ModelMetadata, find_model
from imgtrain.run.run_directory import atomic_write

__all__ = ["LoadedModel", "ModelShape", "describe", "load_model", "save_model"]

_ACTIVATIONS = ("sigmoid", "softmax")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What an image classifier takes and gives.

    Attributes:
        image_shape: (height, width, channels) of its input.
        units: Number of outputs: 1 for two classes, else one per class.
        activation: `sigmoid` or `softmax`, of the output.
    """

    image_shape: tuple[int, int, int]
    units: int
    activation: str


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model file, opened.

    Attributes:
        model: The Keras model, not compiled.
        record: What imgtrain wrote into the file; None for a model that it did not make.
        path: The file.
        shape: What the model takes and gives.
    """

    model: keras.Model
    record: ModelMetadata | None
    path: Path
    shape: ModelShape


def save_model(model: keras.Model, record: ModelMetadata, path: Path) -> None:
    """Write a model and its record; the file is whole or, after an error, what it was before.

    Args:
        model: Of built-in layers, compiled with a fresh optimizer, as `float32_copy` returns it.
        record: What travels in the file.
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
    """Load an image classifier without running anything that the file says.

    Args:
        file: What `find_model` returned, or the path that it takes: a `.keras` or `.h5` file, made by imgtrain or by
            Keras, or a run directory.
        max_gib: The most memory that its weights, or a layer's output for one image, may take.

    Raises:
        RunFileError: The file is missing, damaged, too large, no image classifier, names other than built-in
            layers, or its record does not fit its network.
    """
    if not isinstance(file, ModelFile):
        file = find_model(file)
    path, record = file.path, file.metadata
    check_model_file(path, most_bytes=int(max_gib * 2**30))
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    # What Keras, h5py and TensorFlow raise on a damaged file has no common base.
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        what = f"Keras {keras.__version__} cannot load it: {text}"
        raise RunFileError(Problem(path, what, _what_wrote_it(path))) from error
    shape = describe(model, path=path)
    if record is not None and (record.image_shape, record.units) != (shape.image_shape, shape.units):
        raise RunFileError(
            Problem(
                path,
                f"its record tells of images {record.image_shape} and {record.units} outputs, its network "
                f"takes {shape.image_shape} and has {shape.units}",
            )
        )
    return LoadedModel(model, record, path, shape)


def _what_wrote_it(path: Path) -> str:
    """Return which version of Keras wrote a file that this one cannot load, and what to do about it."""
    version = read_keras_version(path)
    if not version:
        return "the file does not say which version of Keras wrote it"
    wrote, here = (tuple(map(int, re.findall(r"\d+", text)[:2])) for text in (version, keras.__version__))
    if wrote > here:
        return f"Keras {version} wrote it, which is newer: `pip install --upgrade keras`"
    if wrote < (3,):
        return (
            f"Keras {version} wrote it: load it there with `pip install tf-keras` and `TF_USE_LEGACY_KERAS=1`, "
            "and save it as .h5"
        )
    return f"Keras {version} wrote it: load it there and save it as .keras"


def describe(model: keras.Model, *, path: Path) -> ModelShape:
    """Return what a model takes and gives.

    Raises:
        RunFileError: It is no image classifier: one image of fixed size in, one row of probabilities out.
    """
    if not model.built or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise RunFileError(Problem(path, "is no image classifier: it needs one input and one output"))
    taken, given = model.inputs[0].shape, model.outputs[0].shape
    if len(taken) != 4 or None in taken[1:] or taken[3] not in CHANNELS.values():
        raise RunFileError(
            Problem(
                path,
                f"is no image classifier: its input is {tuple(taken)}",
                "it must be (batch, height, width, channels) with 1, 3 or 4 channels",
            )
        )
    if len(given) != 2 or given[1] is None:
        raise RunFileError(
            Problem(
                path, f"is no image classifier: its output is {tuple(given)}", "it must be (batch, classes)"
            )
        )
    activation = _output_activation(model.layers[-1])
    if activation not in _ACTIVATIONS or (activation == "softmax") != (given[1] > 1):
        raise RunFileError(
            Problem(
                path,
                f"its output gives no class probabilities: {given[1]} values with activation {activation}",
                "it must end in one sigmoid unit or a softmax over the classes",
            )
        )
    return ModelShape(tuple(taken[1:]), given[1], activation)


def _output_activation(layer: keras.Layer) -> str:
    """Return the name of the last activation, which may be a layer of its own or of a nested model."""
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
        # With it, Keras builds the optimizer of a loaded Sequential for no variables, and then refuses to train.
        del file["optimizer_weights"]
