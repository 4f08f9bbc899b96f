"""Models exported for other runtimes: which format a path has, and the metadata inside it.

The metadata is the JSON of `ModelMetadata` with another key, `export`. Each format provides a place for it:
`metadata_props` of an ONNX file; an associated file of a LiteRT file, which is a zip archive behind the model
(https://ai.google.dev/edge/litert/models/metadata); an asset of a SavedModel. Reading it doesn't need TensorFlow.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imgtrain.errors import ConfigError, Problem, RunFileError

__all__ = [
    "ASSET",
    "FORMATS",
    "METADATA_KEY",
    "ExportFormat",
    "FormatDescription",
    "check_installed",
    "export_format",
    "read_exported_metadata",
]

ExportFormat = Literal["litert", "onnx", "saved_model"]

METADATA_KEY = "imgtrain"
"""Key of the metadata in `metadata_props` of an ONNX file."""
ASSET = "imgtrain.json"
"""Name of the metadata in the zip archive of a LiteRT file, and among the assets of a SavedModel."""

_MAX_METADATA_BYTES = 16 * 2**20
_LITERT_MAGIC = b"TFL3"


@dataclass(frozen=True, slots=True)
class FormatDescription:
    """A format for exported models.

    Attributes:
        title: Its name.
        suffix: Suffix of its files; empty for a folder.
        modules: What must be installed to export to it and to run it, beyond TensorFlow.
        extra: The extra of imgtrain that installs these modules.
        quantizations: Supported values of `--quantize`.
    """

    title: str
    suffix: str
    modules: tuple[str, ...]
    extra: str
    quantizations: tuple[str, ...]


_ALL = ("none", "float16", "dynamic", "int8")
FORMATS: Mapping[ExportFormat, FormatDescription] = {
    "litert": FormatDescription("LiteRT (TensorFlow Lite)", ".tflite", ("ai_edge_litert",), "litert", _ALL),
    "onnx": FormatDescription("ONNX", ".onnx", ("tf2onnx", "onnx", "onnxruntime"), "onnx", _ALL),
    "saved_model": FormatDescription("TensorFlow SavedModel", "", (), "", ("none",)),
}
"""All formats by their name on the command line."""


def check_installed(name: ExportFormat) -> None:
    """Raise ConfigError if the packages for a format are not installed."""
    described = FORMATS[name]
    if missing := [module for module in described.modules if importlib.util.find_spec(module) is None]:
        packages = ", ".join(module.replace("_", "-") for module in missing)
        hint = f"pip install 'imgtrain[{described.extra}]'"
        raise ConfigError(
            Problem("", f"{described.title} models need packages not installed: {packages}", hint)
        )


def export_format(path: Path) -> ExportFormat | None:
    """Return the format of an exported model; None for everything else, such as Keras models and missing files.

    ONNX files have no signature, so they are recognized by their suffix.
    """
    if path.is_dir():
        return "saved_model" if (path / "saved_model.pb").is_file() else None
    if not path.is_file():
        return None
    if path.suffix == ".onnx":
        return "onnx"
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return None
    return "litert" if start[4:] == _LITERT_MAGIC else None


def read_exported_metadata(path: Path, name: ExportFormat) -> bytes:
    """Return the metadata in an exported model, as JSON.

    Raises:
        ConfigError: The package that reads ONNX files is not installed.
        RunFileError: The file is corrupt, or was not exported by imgtrain.
    """
    read = {"litert": _from_litert, "onnx": _from_onnx, "saved_model": _from_saved_model}[name]
    text = read(path)
    if text is None:
        what = f"is a {FORMATS[name].title} model without the metadata that `imgtrain export` adds"
        raise RunFileError(Problem(path, what, "give the Keras model: a .keras or .h5 file"))
    if len(text) > _MAX_METADATA_BYTES:
        raise RunFileError(Problem(path, "its metadata is too large"))
    return text


def _from_litert(path: Path) -> bytes | None:
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if ASSET not in archive.namelist():
                return None
            if archive.getinfo(ASSET).file_size > _MAX_METADATA_BYTES:
                raise RunFileError(Problem(path, "its metadata is too large"))
            return archive.read(ASSET)
    # Raised by zipfile and zlib for corrupt archives; they have no common base class.
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise RunFileError(Problem(path, f"is a corrupt LiteRT file: {error}")) from None


def _from_onnx(path: Path) -> bytes | None:
    check_installed("onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise RunFileError(Problem(path, f"is a corrupt ONNX file: {error}")) from None
    found = {entry.key: entry.value for entry in model.metadata_props}
    return found[METADATA_KEY].encode() if METADATA_KEY in found else None


def _from_saved_model(path: Path) -> bytes | None:
    asset = path / "assets" / ASSET
    try:
        return asset.read_bytes()[: _MAX_METADATA_BYTES + 1]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFileError(Problem(asset, f"cannot be read: {error.strerror or error}")) from None
