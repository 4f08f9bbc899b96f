"""`imgtrain compare`: compare two runs by their saved predictions, or two models on a folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imgtrain.errors import ConfigError, Problem
from imgtrain.evaluation.compare import Candidate, Comparison
from imgtrain.evaluation.compare import compare as compare_candidates
from imgtrain.evaluation.compare_runs import compare_runs
from imgtrain.evaluation.eval_inputs import EvalInputs, EvalOptions, inputs_from_metadata
from imgtrain.events import Emit, Message, ignore
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE, MAX_MODEL_GIB
from imgtrain.run.model_metadata import ModelFile, find_model

__all__ = ["compare"]


def compare(
    a: Path | str,
    b: Path | str,
    *,
    data: Path | str | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    config: Path | str | None = None,
    rescale: str | float | None = None,
    classes: tuple[str, ...] | None = None,
    emit: Emit = ignore,
) -> Comparison:
    """Return whether B is better than A on the same images.

    Args:
        a: A run directory; with `data`, also a model file.
        b: As `a`.
        data: One subfolder per class; default: the images that both runs were evaluated on.
        batch_size: Number of images per batch.
        max_model_gib: Maximum memory requirement of a model in GiB, checked before it is loaded.
        config: For models not saved by imgtrain: the configuration that defines how images are read.
        rescale: For models not saved by imgtrain: the scaling factor of the inputs.
        classes: For models not saved by imgtrain: class names in label order.
        emit: Called with progress events and warnings.

    Raises:
        ConfigError: How to read the images is not specified, or specified needlessly.
        DataError: The images are invalid, or differ between the runs.
        RunFileError: A run or model is missing or corrupt.
    """
    a, b = Path(a), Path(b)
    for_others = {"--config": config, "--rescale": rescale, "--classes": classes}
    if data is None:
        _reject(for_others, "only for models not saved by imgtrain", "use it with --data FOLDER")
        comparison = compare_runs(a, b)
    else:
        files = [find_model(path) for path in (a, b)]
        if all(file.metadata is not None for file in files):
            _reject(for_others, "only for models not saved by imgtrain; both were", "omit it")
        eval_options = [
            EvalOptions(str(file.path), Path(data))
            if file.metadata is not None
            else EvalOptions(
                str(file.path), Path(data), None if config is None else Path(config), rescale, classes
            )
            for file in files
        ]
        comparison = _compare_models((str(a), str(b)), files, eval_options, batch_size, max_model_gib, emit)
    for warning in comparison.content["warnings"]:
        emit(Message(warning, "warning"))
    return comparison


def _reject(options: Mapping[str, object], what: str, hint: str) -> None:
    if problems := [Problem(name, what, hint) for name, value in options.items() if value is not None]:
        raise ConfigError(problems)


def _compare_models(
    names: tuple[str, str],
    files: list[ModelFile],
    options: list[EvalOptions],
    batch_size: int,
    max_gib: float,
    emit: Emit,
) -> Comparison:
    """Predict the images with both models, one after the other."""
    inputs: list[EvalInputs | None] = [
        None if file.metadata is None else inputs_from_metadata(file.metadata, of_model)
        for file, of_model in zip(files, options, strict=True)
    ]
    # Images that one model was trained on are excluded for both.
    leaked = {digest for of_model in inputs if of_model for digest in of_model.leaked_pictures}

    # TensorFlow is imported from here on.
    from imgtrain.evaluation.predict_folder import predict_folder
    from imgtrain.export.evaluate import load_any_for_evaluation

    candidates = []
    for name, letter, file, of_model, known in zip(names, "AB", files, options, inputs, strict=True):
        model = load_any_for_evaluation(file, known, of_model, max_gib=max_gib, emit=emit)
        _, predictions = predict_folder(
            model, leaked, batch_size=batch_size, task=f"evaluating {letter}", emit=emit
        )
        classes = (predictions.class_names[label] for label in predictions.labels)
        candidates.append(Candidate(name, predictions, list(zip(predictions.paths, classes, strict=True))))
    return compare_candidates(*candidates, split="evaluation")
