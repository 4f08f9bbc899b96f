"""`imgtrain compare`: two runs by the predictions that they keep, or two models on a folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imgtrain.errors import ConfigError, Problem
from imgtrain.evaluation.compare import Candidate, Comparison
from imgtrain.evaluation.compare import compare as compare_candidates
from imgtrain.evaluation.compare_runs import compare_runs
from imgtrain.evaluation.eval_inputs import EvalInputs, EvalOptions, inputs_of_imgtrain_model
from imgtrain.events import Emit, Message, ignore
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE, MAX_MODEL_GIB
from imgtrain.run.model_metadata import ModelFile, find_model

__all__ = ["compare"]


def compare(
    a: Path | str,
    b: Path | str,
    *,
    folder: Path | str | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    config: Path | str | None = None,
    rescale: str | float | None = None,
    classes: tuple[str, ...] | None = None,
    emit: Emit = ignore,
) -> Comparison:
    """Say whether B is better than A, image by image.

    Args:
        a: A run directory; with `folder` also a model file.
        b: The other.
        folder: Images to compare on, one sub-folder per class; default: those that both runs were evaluated on.
        batch_size: Images in a batch.
        max_model_gib: The most memory that a model may claim before it is loaded.
        config: For models that imgtrain did not make: the configuration that says how images are read.
        rescale: For models that imgtrain did not make: the factor that their inputs were scaled by.
        classes: For models that imgtrain did not make: their class names in order.
        emit: Takes events while the work goes on, and warnings.

    Raises:
        ConfigError: It is not said how the images are to be read, or it is said for nothing.
        DataError: The images are wrong, or they are not the same for both.
        RunFileError: A run or model is missing or damaged.
    """
    a, b = Path(a), Path(b)
    for_others = {"--config": config, "--rescale": rescale, "--classes": classes}
    if folder is None:
        _refuse(for_others, "is for models that imgtrain did not make", "name the images, too: --data FOLDER")
        comparison = compare_runs(a, b)
    else:
        files = [find_model(path) for path in (a, b)]
        if all(file.metadata is not None for file in files):
            _refuse(for_others, "is for models that imgtrain did not make, and both were", "leave it out")
        asked = [
            EvalOptions(str(file.path), Path(folder))
            if file.metadata is not None
            else EvalOptions(
                str(file.path), Path(folder), None if config is None else Path(config), rescale, classes
            )
            for file in files
        ]
        comparison = _compare_models((str(a), str(b)), files, asked, batch_size, max_model_gib, emit)
    for warning in comparison.content["warnings"]:
        emit(Message(warning, "warning"))
    return comparison


def _refuse(options: Mapping[str, object], what: str, hint: str) -> None:
    if problems := [Problem(name, what, hint) for name, given in options.items() if given is not None]:
        raise ConfigError(problems)


def _compare_models(
    names: tuple[str, str],
    files: list[ModelFile],
    asked: list[EvalOptions],
    batch_size: int,
    max_gib: float,
    emit: Emit,
) -> Comparison:
    """Predict the images with both models, one after the other."""
    inputs: list[EvalInputs | None] = [
        None if file.metadata is None else inputs_of_imgtrain_model(file.metadata, of_file)
        for file, of_file in zip(files, asked, strict=True)
    ]
    # What one of them was trained on cannot be scored for the other either.
    leaked = {digest for of_file in inputs if of_file for digest in of_file.leaked_pictures}

    # TensorFlow is imported from here on.
    from imgtrain.evaluation.predict_folder import load_for_evaluation, predict_folder

    candidates = []
    for name, letter, file, of_file, found in zip(names, "AB", files, asked, inputs, strict=True):
        model = load_for_evaluation(file, found, of_file, max_gib=max_gib, emit=emit)
        _, predictions = predict_folder(
            model, leaked, batch_size=batch_size, task=f"evaluating {letter}", emit=emit
        )
        classes = (predictions.class_names[label] for label in predictions.labels)
        candidates.append(Candidate(name, predictions, list(zip(predictions.paths, classes, strict=True))))
    return compare_candidates(*candidates, split="evaluation")
