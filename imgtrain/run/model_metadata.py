"""The record that travels inside a model file: what evaluation and prediction must know about the training.

It is JSON: the member `imgtrain.json` of a `.keras` file, the root attribute `imgtrain` of an `.h5` file. A
model file may come from anyone, so a record is checked as strictly as a configuration. TensorFlow is not
needed to read it.
"""

from __future__ import annotations

import struct
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from imgtrain.errors import Problem, RunFileError

__all__ = [
    "ATTRIBUTE",
    "FORMAT_VERSION",
    "MAX_MODEL_GIB",
    "MEMBER",
    "WEIGHTS_MEMBER",
    "ModelFile",
    "ModelMetadata",
    "find_model",
    "find_model_file",
    "model_file_kind",
    "read_metadata",
]

MEMBER = "imgtrain.json"
"""Name of the record inside a `.keras` file."""
WEIGHTS_MEMBER = "model.weights.h5"
"""Name of the weights inside a `.keras` file, as Keras calls them."""
ATTRIBUTE = "imgtrain"
"""Name of the record inside an `.h5` file."""
MAX_MODEL_GIB = 4.0
"""The largest model that is loaded unless a larger one is allowed; no network of keras.applications has half of it."""
FORMAT_VERSION = 1
"""Raised when an older imgtrain could misread a record; a further key does not raise it."""

# A record of 20,000 long class names is about 2 MB; what is larger is not a record.
_MAX_RECORD_BYTES = 16 * 2**20
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC = b"PK\x03\x04"
# Where the header of a member says how long its name and its extra field are; its content follows them.
_ZIP_NAME_LENGTHS = 26
_LFS_MAGIC = b"version https://git-lfs.github.com/"
# What people take for a Keras model, by (offset, bytes) at the beginning of the file.
_OTHERS = {
    (0, b"\x80"): "is a Python pickle (of PyTorch or scikit-learn, say), which runs code when it is opened",
    (4, b"TFL3"): "is a TensorFlow Lite model",
}

Name = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
ImageStore = Annotated[int, Field(ge=1, le=16384)]


class ModelMetadata(BaseModel):
    """What a saved model says about itself; a further key from a later imgtrain is ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)

    format_version: Annotated[int, Field(ge=1)] = FORMAT_VERSION
    """The version of this record."""
    class_names: Annotated[tuple[Name, ...], Field(min_length=2, max_length=100_000)]
    """In the order of the labels."""
    target_size: tuple[ImageStore, ImageStore]
    """Height and width in pixels."""
    color_mode: Literal["rgb", "rgba", "grayscale"]
    """As `data.color_mode`."""
    class_mode: Literal["categorical", "binary", "sparse"]
    """As `data.class_mode`."""
    resize: Literal["stretch", "crop", "pad"]
    """As `data.resize`."""
    interpolation: Literal["bilinear", "nearest", "bicubic", "lanczos", "box", "hamming"]
    """As `data.interpolation`."""
    threshold: Share | None = None
    """Binary only: the probability from which the second class is predicted."""
    threshold_rule: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """How the threshold was chosen, in words."""
    abstain_below: Share | None = None
    """Probability of the predicted class below which the answer is "unsure"; None never is."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """What the logits were divided by to calibrate the probabilities; it is in the weights already."""
    test_folder: Name | None = None
    """Absolute path of the test folder of the training."""
    nested: bool = False
    """As `data.nested`."""
    follow_links: bool = False
    """As `data.follow_links`."""
    group_by: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """As `data.group_by`: intervals are over groups."""
    on_bad_image: Literal["error", "skip"] = "error"
    """As `data.on_bad_image`."""
    loss: Name | None = None
    """The training loss by its Keras name."""
    majority_class: Name | None = None
    """The most frequent class of the training images, the simplest baseline."""
    data_fingerprint: Name
    """Fingerprint of the images that were used."""
    versions: dict[str, str]
    """Version by package."""
    created: Name
    """When the model was saved: ISO 8601 with the offset from UTC."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("class_names names a class twice")
        if self.class_mode == "binary" and len(self.class_names) != 2:
            raise ValueError(f"class_mode binary needs two class_names, has {len(self.class_names)}")
        if self.majority_class is not None and self.majority_class not in self.class_names:
            raise ValueError("majority_class is none of class_names")
        if (self.class_mode == "binary") != (self.threshold is not None):
            raise ValueError("threshold goes with class_mode binary, and with no other")
        return self

    @property
    def channels(self) -> int:
        """Number of channels of an image: 1, 3 or 4."""
        return {"grayscale": 1, "rgb": 3, "rgba": 4}[self.color_mode]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image."""
        return (*self.target_size, self.channels)

    @property
    def units(self) -> int:
        """Number of the model's outputs: 1 for binary, else one per class."""
        return 1 if self.class_mode == "binary" else len(self.class_names)

    def to_json(self) -> str:
        """Return the JSON text that travels in the model file."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str | bytes, *, path: Path) -> Self:
        """Return the record of the JSON text found in the model file `path`.

        Raises:
            RunFileError: When the text is no JSON, or a value is missing, of the wrong type or out of range.
        """
        where = str(path)
        try:
            record = cls.model_validate_json(text)
        except ValidationError as error:
            raise RunFileError(
                Problem(
                    f"{where}: record {'.'.join(map(str, problem['loc']))}".rstrip(),
                    problem["msg"],
                    "the record of this model file is damaged or was not written by imgtrain",
                )
                for problem in error.errors(include_url=False, include_context=False, include_input=False)[
                    :10
                ]
            ) from None
        if record.format_version > FORMAT_VERSION:
            raise RunFileError(
                Problem(
                    where,
                    f"was written by a later imgtrain (record version {record.format_version})",
                    "update imgtrain",
                )
            )
        return record


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file that was found, and not opened further than its metadata.

    Attributes:
        path: The file.
        metadata: None for a model that imgtrain did not make.
    """

    path: Path
    metadata: ModelMetadata | None


def find_model(path: Path | str) -> ModelFile:
    """Return the model file that the user means by a path, and its metadata.

    Raises:
        RunFileError: As `find_model_file` and `read_metadata`.
    """
    file = find_model_file(path)
    return ModelFile(file, read_metadata(file))


def read_metadata(path: Path | str) -> ModelMetadata | None:
    """Return the record inside a model file; None for a Keras model that imgtrain did not make.

    Args:
        path: A `.keras` or `.h5` file, told apart by content.

    Raises:
        RunFileError: When the file is missing, is no model file, or its record is damaged.
    """
    path = Path(path)
    where = str(path)
    kind = model_file_kind(path)
    text = _from_keras_file(path, where) if kind == "keras" else _from_h5_file(path, where)
    return None if text is None else ModelMetadata.from_json(text, path=path)


def model_file_kind(path: Path) -> Literal["keras", "h5"]:
    """Return the format of a model file: the one that its first bytes, its suffix and Keras agree on.

    Keras chooses the format by the suffix and by what the file ends with, and HDF5 may begin behind other bytes:
    a file made of two could be inspected as one and loaded as the other.

    Raises:
        RunFileError: There is no such file; it is neither format, and the error says what it is where that shows;
            its suffix is that of another format; or it can be opened as both.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError:
        raise RunFileError(Problem(where, "there is no such model file or run directory")) from None
    except OSError as error:
        raise RunFileError(Problem(where, f"cannot be read: {error.strerror or error}")) from None
    if start.startswith(_ZIP_MAGIC):
        _check_suffix(path, ".keras (a zip archive)", (".keras",))
        if _hdf5_behind_other_bytes(path):
            raise _two_formats(where)
        return "keras"
    if start.startswith(_HDF5_MAGIC):
        _check_suffix(path, "HDF5", (".h5", ".hdf5"))
        if zipfile.is_zipfile(path):
            raise _two_formats(where)
        return "h5"
    if start.startswith(_LFS_MAGIC):
        raise RunFileError(
            Problem(where, "is a Git LFS pointer, not the model itself", "fetch the file with `git lfs pull`")
        )
    for (offset, magic), what in _OTHERS.items():
        if start.startswith(magic, offset):
            raise RunFileError(Problem(where, what, "only .keras and .h5 files are models here"))
    what = "is empty" if not start else "is no Keras model file: neither .keras (a zip) nor .h5 (HDF5)"
    raise RunFileError(Problem(where, what))


def _check_suffix(path: Path, content: str, suffixes: tuple[str, ...]) -> None:
    if not path.name.endswith(suffixes):  # as Keras compares: case matters
        given = f"the suffix {path.suffix}" if path.suffix else "no suffix"
        raise RunFileError(
            Problem(
                str(path),
                f"contains {content} but has {given}, and Keras chooses the format by the suffix",
                f"rename it to end in {suffixes[0]}",
            )
        )


def _two_formats(where: str) -> RunFileError:
    what = (
        "is a zip archive and an HDF5 file at once, so it could be inspected as one and loaded as the other"
    )
    return RunFileError(Problem(where, what, "save the model again with Keras"))


def _hdf5_behind_other_bytes(path: Path) -> bool:
    """Return whether the HDF5 library would open a zip archive, except by its stored weights.

    The library looks for its signature at 512, 1,024, 2,048 … bytes, where those of an honest archive may begin.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = 512
        while offset < size:
            file.seek(offset)
            if file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC:
                return offset != _start_of_weights(path)
            offset *= 2
    return False


def _start_of_weights(path: Path) -> int | None:
    """Return where in a `.keras` file the content of its weights begins; None if it has none."""
    damaged = (zipfile.BadZipFile, OSError, KeyError, ValueError, NotImplementedError, struct.error)
    with suppress(*damaged), zipfile.ZipFile(path) as archive, path.open("rb") as file:
        file.seek(archive.getinfo(WEIGHTS_MEMBER).header_offset + _ZIP_NAME_LENGTHS)
        name_length, extra_length = struct.unpack("<HH", file.read(4))
        return file.tell() + int(name_length) + int(extra_length)
    return None


def find_model_file(path: Path | str) -> Path:
    """Return the model file that the user means by a path: the file itself, or the model of a run directory.

    Raises:
        RunFileError: When the path does not exist, or the directory does not hold exactly one model.
    """
    path = Path(path)
    if not path.is_dir():
        model_file_kind(path)
        return path
    where = str(path)
    found = sorted(
        file for file in path.iterdir() if file.suffix in (".keras", ".h5") and file.name[0] != "."
    )
    if len(found) == 1:
        return found[0]
    if (path / "saved_model.pb").exists():
        hint = "load it with the TensorFlow that wrote it, and save it as a .keras or .h5 file"
        raise RunFileError(Problem(where, "is a TensorFlow SavedModel", hint))
    if found:
        names = ", ".join(file.name for file in found)
        raise RunFileError(Problem(where, f"holds several models: {names}", "name the one that is meant"))
    hint = (
        "the run has not saved a model yet"
        if (path / "run.json").exists()
        else "a run directory holds run.json"
    )
    raise RunFileError(Problem(where, "is a folder without a .keras or .h5 model file", hint))


def _from_keras_file(path: Path, where: str) -> bytes | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if MEMBER not in archive.namelist():
                return None
            if archive.getinfo(MEMBER).file_size > _MAX_RECORD_BYTES:
                raise RunFileError(Problem(where, f"its member {MEMBER} is too large to be a record"))
            return archive.read(MEMBER)
    # What zipfile and zlib raise on damaged archives: no common base class.
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise RunFileError(Problem(where, f"is a damaged .keras file: {error}")) from None


def _from_h5_file(path: Path, where: str) -> str | bytes | None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if ATTRIBUTE not in file.attrs:
                return None
            if file.attrs.get_id(ATTRIBUTE).get_storage_size() > _MAX_RECORD_BYTES:
                raise RunFileError(Problem(where, f"its attribute {ATTRIBUTE} is too large to be a record"))
            value: Any = file.attrs[ATTRIBUTE]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise RunFileError(Problem(where, f"is a damaged .h5 file: {error}")) from None
    if not isinstance(value, str | bytes):
        raise RunFileError(Problem(where, f"its attribute {ATTRIBUTE} is no text"))
    return value
