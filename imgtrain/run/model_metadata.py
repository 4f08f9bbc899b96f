"""The metadata stored inside a model file, needed for evaluation and prediction.

It is JSON: the member `imgtrain.json` of a `.keras` file, or the root attribute `imgtrain` of an `.h5` file. Model
files can be untrusted, so metadata is validated as strictly as a configuration. Reading it doesn't need TensorFlow.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from imgtrain.errors import Problem, RunFileError, missing_here
from imgtrain.run.color_modes import CHANNELS
from imgtrain.run.exported_model import ExportFormat, export_format, read_exported_metadata

__all__ = [
    "ATTRIBUTE",
    "FORMAT_VERSION",
    "MEMBER",
    "MOST_GROUP_BY_CHARACTERS",
    "WEIGHTS_MEMBER",
    "ModelFile",
    "ModelMetadata",
    "find_model",
    "find_model_file",
    "model_file_kind",
    "read_metadata",
]

MEMBER = "imgtrain.json"
"""Name of the metadata in a `.keras` file."""
WEIGHTS_MEMBER = "model.weights.h5"
"""Keras's name of the weights in a `.keras` file."""
ATTRIBUTE = "imgtrain"
"""Name of the metadata in an `.h5` file."""
FORMAT_VERSION = 2
"""The newest format: incremented if older versions would misinterpret the metadata; not for other additional keys.

Version 2 has `flip_average: true` or a `background`. Files without them have version 1, which older versions of
imgtrain can read.
"""
MOST_GROUP_BY_CHARACTERS = 1000
"""The longest `data.group_by`."""

# Metadata with 20,000 long class names takes about 2 MB.
_MAX_METADATA_BYTES = 16 * 2**20
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC = b"PK\x03\x04"
# Offset, in the header of a member, of the lengths of its name and extra field, which precede its content.
_ZIP_NAME_LENGTHS = 26
_LFS_MAGIC = b"version https://git-lfs.github.com/"
# Other formats that users may pass, by (offset, bytes) at the start of the file.
_OTHER_FORMATS = {
    (
        0,
        b"\x80",
    ): "is a Python pickle (such as from PyTorch or scikit-learn), which can execute code when loaded",
    (4, b"TFL3"): "is a TensorFlow Lite model",
}

Name = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Probability = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
ColorValue = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=1, le=16384)]


class ModelMetadata(BaseModel):
    """The metadata of a saved model; unknown keys of later versions are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)

    format_version: Annotated[int, Field(ge=1)] = 1
    """Version of the metadata format."""
    class_names: Annotated[tuple[Name, ...], Field(min_length=2, max_length=100_000)]
    """Class names in label order."""
    target_size: tuple[Side, Side]
    """(height, width) in pixels."""
    color_mode: Literal["rgb", "rgba", "grayscale"]
    """As `data.color_mode`."""
    class_mode: Literal["categorical", "binary", "sparse"]
    """As `data.class_mode`."""
    resize: Literal["stretch", "crop", "pad"]
    """As `data.resize`."""
    interpolation: Literal["bilinear", "nearest", "bicubic", "lanczos", "box", "hamming"]
    """As `data.interpolation`."""
    background: tuple[ColorValue, ColorValue, ColorValue] | None = None
    """As `data.background`."""
    threshold: Probability | None = None
    """Binary only: the probability from which the second class is predicted."""
    threshold_rule: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """How the threshold was chosen, in words."""
    abstain_below: Probability | None = None
    """Probability of the predicted class below which the prediction is "unsure"; None disables it."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Calibration temperature of the logits; already part of the weights."""
    flip_average: bool = False
    """As `evaluation.flip_average`: threshold and temperature are for the mean over image and mirror image."""
    test_folder: Name | None = None
    """Absolute path of the test folder used in training."""
    leaked_pictures: tuple[Digest, ...] = ()
    """Pixel digests of the test images that `data.on_leak: drop` left out; these images are never scored."""
    nested: bool | Literal["leaf"] = False
    """As `data.nested`."""
    follow_links: bool = False
    """As `data.follow_links`."""
    group_by: Annotated[str, StringConstraints(max_length=MOST_GROUP_BY_CHARACTERS)] | None = None
    """As `data.group_by`; confidence intervals are over groups."""
    on_bad_image: Literal["error", "skip"] = "error"
    """As `data.on_bad_image`."""
    loss: Name | None = None
    """Keras name of the training loss."""
    majority_class: Name | None = None
    """The most frequent class of the training images, used as a baseline."""
    data_fingerprint: Name
    """Fingerprint of the data."""
    versions: dict[str, str]
    """Versions by package."""
    created: Name
    """Time when the model was saved: ISO 8601 with UTC offset."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("class_names contains duplicates")
        if self.class_mode == "binary" and len(self.class_names) != 2:
            raise ValueError(f"class_mode binary requires two class_names; got {len(self.class_names)}")
        if self.majority_class is not None and self.majority_class not in self.class_names:
            raise ValueError("majority_class must be one of class_names")
        if (self.class_mode == "binary") != (self.threshold is not None):
            raise ValueError("threshold is required for class_mode binary, and only allowed there")
        return self

    @property
    def channels(self) -> int:
        """Number of channels of an image: 1, 3 or 4."""
        return CHANNELS[self.color_mode]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image."""
        return (*self.target_size, self.channels)

    @property
    def units(self) -> int:
        """Number of output units: 1 for binary, otherwise one per class."""
        return 1 if self.class_mode == "binary" else len(self.class_names)

    def to_json(self) -> str:
        """Return the metadata as JSON."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str | bytes, *, path: Path) -> Self:
        """Parse the metadata found in the model file `path`.

        Raises:
            RunFileError: The text is not JSON, or a value is missing, of the wrong type or out of range.
        """
        try:
            metadata = cls.model_validate_json(text)
        except ValidationError as error:
            raise RunFileError(
                Problem(
                    f"{path}: metadata {'.'.join(map(str, problem['loc']))}".rstrip(),
                    problem["msg"],
                    "the metadata of this model file is corrupt or was not written by imgtrain",
                )
                for problem in error.errors(include_url=False, include_context=False, include_input=False)[
                    :10
                ]
            ) from None
        if metadata.format_version > FORMAT_VERSION:
            raise RunFileError(
                Problem(
                    path,
                    f"was written by a newer version of imgtrain (metadata version {metadata.format_version})",
                    "update imgtrain",
                )
            )
        return metadata


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file and its metadata; the model itself is not loaded.

    Attributes:
        path: The file.
        metadata: None for a model not made by imgtrain.
        export_format: The format of a model made by `imgtrain export`; None for a Keras model.
    """

    path: Path
    metadata: ModelMetadata | None
    export_format: ExportFormat | None = None

    def sha256(self) -> str:
        """Return the hash of the file, or of a SavedModel's files and their names, as hexadecimal digits."""
        if not self.path.is_dir():
            return _file_sha256(self.path)
        files = sorted(file for file in self.path.rglob("*") if file.is_file())
        lines = [f"{file.relative_to(self.path)} {_file_sha256(file)}" for file in files]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_model(path: Path | str) -> ModelFile:
    """Return the model file for a path, and its metadata.

    Args:
        path: A Keras model, a run directory, or a model made by `imgtrain export`.

    Raises:
        ConfigError: The packages to read an exported model are not installed.
        RunFileError: As in `find_model_file` and `read_metadata`.
    """
    path = Path(path)
    if exported := export_format(path):
        text = read_exported_metadata(path, exported)
        return ModelFile(path, ModelMetadata.from_json(text, path=path), exported)
    file = find_model_file(path)
    return ModelFile(file, read_metadata(file))


def read_metadata(path: Path | str) -> ModelMetadata | None:
    """Return the metadata in a model file; None for a Keras model not made by imgtrain.

    Args:
        path: A `.keras` or `.h5` file, identified by content.

    Raises:
        RunFileError: The file is missing or not a model file, or its metadata is corrupt.
    """
    path = Path(path)
    kind = model_file_kind(path)
    text = _from_keras_file(path) if kind == "keras" else _from_h5_file(path)
    return None if text is None else ModelMetadata.from_json(text, path=path)


def model_file_kind(path: Path) -> Literal["keras", "h5"]:
    """Return the format of a model file, on which its first bytes, its suffix and Keras must agree.

    Keras chooses the format by the suffix and the end of the file, and HDF5 data may start after other bytes. A file
    that is valid in both formats could be inspected as one and loaded as the other.

    Raises:
        RunFileError: The file is missing, has neither format (the error names known other formats), has the suffix
            of the other format, or can be opened as both.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError:
        raise RunFileError(Problem(path, "no such model file or run directory", missing_here(path))) from None
    except OSError as error:
        raise RunFileError(Problem(path, f"cannot be read: {error.strerror or error}")) from None
    if start.startswith(_ZIP_MAGIC):
        _check_suffix(path, ".keras (a zip archive)", (".keras",))
        if _hdf5_behind_other_bytes(path):
            raise _two_formats(path)
        return "keras"
    if start.startswith(_HDF5_MAGIC):
        _check_suffix(path, "HDF5", (".h5", ".hdf5"))
        if zipfile.is_zipfile(path):
            raise _two_formats(path)
        return "h5"
    if start.startswith(_LFS_MAGIC):
        raise RunFileError(
            Problem(path, "is a Git LFS pointer instead of a model", "download the file with `git lfs pull`")
        )
    for (offset, magic), what in _OTHER_FORMATS.items():
        if start.startswith(magic, offset):
            raise RunFileError(Problem(path, what, "only .keras and .h5 files are supported"))
    what = "is empty" if not start else "is not a Keras model file: neither .keras (a zip) nor .h5 (HDF5)"
    raise RunFileError(Problem(path, what))


def _check_suffix(path: Path, content: str, suffixes: tuple[str, ...]) -> None:
    if not path.name.endswith(suffixes):  # case-sensitive, as in Keras
        given = f"the suffix {path.suffix}" if path.suffix else "no suffix"
        raise RunFileError(
            Problem(
                path,
                f"contains {content} but has {given}, and Keras chooses the format by the suffix",
                f"rename it to end in {suffixes[0]}",
            )
        )


def _two_formats(path: Path) -> RunFileError:
    what = "is both a zip archive and an HDF5 file, so it could be inspected as one and loaded as the other"
    return RunFileError(Problem(path, what, "save the model again with Keras"))


def _hdf5_behind_other_bytes(path: Path) -> bool:
    """Return whether the HDF5 library could open a zip archive other than by its stored weights.

    The library looks for its signature at bytes 512, 1,024, 2,048, …, where the weights of a regular archive may
    start.
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
    """Return the offset of the weights in a `.keras` file; None if there are none."""
    corrupt = (zipfile.BadZipFile, OSError, KeyError, ValueError, NotImplementedError, struct.error)
    with suppress(*corrupt), zipfile.ZipFile(path) as archive, path.open("rb") as file:
        file.seek(archive.getinfo(WEIGHTS_MEMBER).header_offset + _ZIP_NAME_LENGTHS)
        name_length, extra_length = struct.unpack("<HH", file.read(4))
        return file.tell() + int(name_length) + int(extra_length)
    return None


def find_model_file(path: Path | str) -> Path:
    """Return the model file for a path: the file itself, or the model of a run directory.

    Raises:
        RunFileError: The path does not exist, or the directory does not contain exactly one model.
    """
    path = Path(path)
    if not path.is_dir():
        model_file_kind(path)
        return path
    found = sorted(
        file for file in path.iterdir() if file.suffix in (".keras", ".h5") and file.name[0] != "."
    )
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise RunFileError(Problem(path, f"contains several models: {names}", "give the path of one of them"))
    hint = (
        "the run has not saved a model yet"
        if (path / "run.json").exists()
        else "it is not a run directory either: it contains no run.json"
    )
    raise RunFileError(Problem(path, "is a folder without a .keras or .h5 model file", hint))


def _from_keras_file(path: Path) -> bytes | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if MEMBER not in archive.namelist():
                return None
            if archive.getinfo(MEMBER).file_size > _MAX_METADATA_BYTES:
                raise RunFileError(Problem(path, f"its member {MEMBER} is too large"))
            return archive.read(MEMBER)
    # Raised by zipfile and zlib for corrupt archives; they have no common base class.
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise RunFileError(Problem(path, f"is a corrupt .keras file: {error}")) from None


def _from_h5_file(path: Path) -> str | bytes | None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if ATTRIBUTE not in file.attrs:
                return None
            if file.attrs.get_id(ATTRIBUTE).get_storage_size() > _MAX_METADATA_BYTES:
                raise RunFileError(Problem(path, f"its attribute {ATTRIBUTE} is too large"))
            value: Any = file.attrs[ATTRIBUTE]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise RunFileError(Problem(path, f"is a corrupt .h5 file: {error}")) from None
    if not isinstance(value, str | bytes):
        raise RunFileError(Problem(path, f"its attribute {ATTRIBUTE} is not a string"))
    return value
