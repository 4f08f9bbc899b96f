"""`imgtrain predict`: classify image files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from imgtrain.dataset.named_files import expand_paths
from imgtrain.errors import ConfigError, DataError, Problem
from imgtrain.evaluation.predict_result import PredictResult
from imgtrain.evaluation.prediction_writer import prediction_writer, validate_prediction_path
from imgtrain.events import Emit, ignore
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE, MAX_MODEL_GIB
from imgtrain.run.model_metadata import find_model

__all__ = ["predict"]


def predict(
    model: Path | str,
    paths: Iterable[Path | str],
    *,
    output: Path | str | None = None,
    top: int | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    resume: bool = False,
    overwrite: bool = False,
    keep: bool = False,
    emit: Emit = ignore,
) -> PredictResult:
    """Classify files. Memory usage does not depend on their number, unless predictions are kept.

    Args:
        model: A model file saved by imgtrain, a run directory, or a model made by `imgtrain export`.
        paths: Files, folders and glob patterns.
        output: A `.csv`, `.json` or `.jsonl` file, written when all files are classified; until then, rows are in
            `<output>.partial`. If None, every prediction is emitted as an event.
        top: Number of most probable classes to return; None returns all in a file, one in an event.
        batch_size: Number of images per batch.
        max_model_gib: Maximum memory requirement of the model in GiB, checked before it is loaded.
        resume: Continue an interrupted prediction after its last complete row, if there is one.
        overwrite: Replace the output if it exists.
        keep: Whether to return the predictions, instead of emitting them without `output`.
        emit: Called with progress events.

    Raises:
        ConfigError: The output's suffix is not supported, the model was not saved by imgtrain, or the interrupted
            prediction used a different model or different files.
        DataError: There are no files to classify.
        RunFileError: The model cannot be loaded, or the output already exists or cannot be written.
        InterruptedRunError: Ctrl-C while writing an output file.
    """
    if output is not None:
        validate_prediction_path(Path(output), resume=resume, overwrite=overwrite)
    elif resume:
        raise ConfigError("--resume requires --output: without it, predictions are printed and not saved")
    file = find_model(model)
    if file.metadata is None:
        hint = "evaluate such models with `imgtrain evaluate --rescale`"
        raise ConfigError(Problem(file.path, "was not saved by imgtrain: its class names are unknown", hint))
    class_names = file.metadata.class_names
    files = list(expand_paths(os.fspath(path) for path in paths))
    if not files:
        raise DataError(Problem("", "no images found to classify"))

    # TensorFlow is imported from here on.
    from imgtrain.evaluation.classify import classify_files
    from imgtrain.export.evaluate import load_any_network

    network = load_any_network(file, max_gib=max_model_gib)
    with ExitStack() as stack:
        writer = None
        if output is not None:
            writer = stack.enter_context(
                prediction_writer(
                    Path(output),
                    files,
                    class_names,
                    top=None if top is None else min(top, len(class_names)),
                    model=file.sha256(),
                    resume=resume,
                    overwrite=overwrite,
                )
            )
        found = classify_files(
            network, file.metadata, files, writer, top=top, batch_size=batch_size, keep=keep, emit=emit
        )
    return PredictResult(
        file.metadata.class_names,
        found.counts,
        tuple(found.unreadable),
        None if output is None else Path(output),
        found.predictions,
    )
