"""Load a model for evaluation or prediction: a Keras model, or an exported one in its own runtime."""

from __future__ import annotations

from typing import Any

from imgtrain.evaluation.eval_inputs import EvalInputs, EvalOptions
from imgtrain.evaluation.predict_folder import EvalModel, load_for_evaluation
from imgtrain.events import Emit, Message, ignore
from imgtrain.export.runtimes import load_exported
from imgtrain.model.archive import load_model
from imgtrain.run.model_metadata import ModelFile

__all__ = ["load_any_for_evaluation", "load_any_network"]


def load_any_network(file: ModelFile, *, max_gib: float) -> Any:
    """Return a Keras model, or for an exported model a function from raw pixels to outputs.

    Raises:
        ConfigError: The runtime of an exported model is not installed.
        RunFileError: The model cannot be loaded.
    """
    if file.export_format is None:
        return load_model(file, max_gib=max_gib).model
    return load_exported(file, max_gib=max_gib)


def load_any_for_evaluation(
    file: ModelFile, inputs: EvalInputs | None, options: EvalOptions, *, max_gib: float, emit: Emit = ignore
) -> EvalModel:
    """Load a model and its inputs like `load_for_evaluation`, also an exported model."""
    if file.export_format is None:
        return load_for_evaluation(file, inputs, options, max_gib=max_gib, emit=emit)
    assert inputs is not None  # Exported models have metadata.
    for warning in inputs.warnings:
        emit(Message(warning, "warning"))
    return EvalModel(load_exported(file, max_gib=max_gib), inputs)
