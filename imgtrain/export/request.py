"""The formats and paths to export, checked before the model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imgtrain.errors import ConfigError, Problem, RunFileError
from imgtrain.run.exported_model import FORMATS, ExportFormat, check_installed

__all__ = ["ExportRequest", "InputType", "Quantization"]

Quantization = Literal["none", "float16", "dynamic", "int8"]
InputType = Literal["float32", "uint8"]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Format and quantization of an exported model.

    Attributes:
        format: The format.
        quantize: `none`; `float16` or `dynamic` (int8) for the weights; `int8` for weights and activations.
        input_type: ONNX: type of the images. LiteRT and SavedModel have a signature for each.
    """

    format: ExportFormat
    quantize: Quantization = "none"
    input_type: InputType = "float32"

    def describe(self) -> dict[str, object]:
        """Return format, quantization and accepted image types, for the metadata."""
        types = [self.input_type] if self.format == "onnx" else ["float32", "uint8"]
        return {"format": self.format, "quantize": self.quantize, "input_types": types}

    def check(self) -> None:
        """Raise ConfigError if the request is impossible here; lists all problems."""
        described = FORMATS[self.format]
        problems = []
        if self.quantize not in described.quantizations:
            what = f"{self.quantize} is not available for {described.title}"
            problems.append(Problem("--quantize", what, "use --format litert or --format onnx"))
        if self.input_type != "float32" and self.format != "onnx":
            what = f"only for --format onnx; {described.title} models take both float32 and uint8 images"
            problems.append(Problem("--input-type", what, "omit it"))
        try:
            check_installed(self.format)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)

    def destination(self, model: Path, output: Path | None, *, overwrite: bool) -> Path:
        """Return the file or folder to write.

        Args:
            model: The Keras model; by default, the exported model is written next to it.
            output: `--output`.
            overwrite: Replace an existing file.

        Raises:
            ConfigError: The output has the suffix of another format.
            RunFileError: It exists.
        """
        described = FORMATS[self.format]
        if output is None:
            quantized = "" if self.quantize == "none" else f"-{self.quantize}"
            output = model.with_name(f"{model.stem}{quantized}{described.suffix or '.saved_model'}")
        elif described.suffix and output.suffix != described.suffix:
            what = f"must end in {described.suffix} for {described.title}; got {output.name}"
            raise ConfigError(Problem("--output", what))
        if output.exists() and not overwrite:
            raise RunFileError(
                Problem(output, "already exists", "use --overwrite to replace it, or choose another --output")
            )
        if output.exists() and output.is_dir() != (self.format == "saved_model"):
            raise RunFileError(Problem(output, "is not a file" if output.is_dir() else "is not a folder"))
        if self.format == "saved_model" and output.exists() and not (output / "saved_model.pb").exists():
            raise RunFileError(Problem(output, "is not a SavedModel, so it is not replaced"))
        return output
