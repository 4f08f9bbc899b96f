"""`imgtrain predict`: classify files, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imgtrain.batches.make_batches import INFERENCE_BATCH_SIZE
from imgtrain.dataset.named_files import expand_paths
from imgtrain.errors import ConfigError, DataError, Problem
from imgtrain.evaluation.prediction_writer import (
    FilePrediction,
    UnreadableFile,
    Write,
    check_prediction_path,
    prediction_writer,
)
from imgtrain.events import Emit, ImageClassified, Message, Progress, ignore
from imgtrain.run.model_metadata import MAX_MODEL_GIB, find_model

__all__ = ["PredictResult", "predict"]


@dataclass(frozen=True, slots=True, eq=False)
class PredictResult:
    """Classified files.

    Attributes:
        output: The file with the answers; None if none was asked for.
        counts: How often each answer was given; all classes, and `unsure` if it was.
        unreadable: (path, reason) of every file that could not be decoded.
    """

    output: Path | None
    counts: Mapping[str, int]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def answered(self) -> int:
        """Number of files that were classified."""
        return sum(self.counts.values())


def predict(
    model: Path | str,
    names: Iterable[str],
    *,
    output: Path | str | None = None,
    top: int | None = None,
    batch_size: int = INFERENCE_BATCH_SIZE,
    max_model_gib: float = MAX_MODEL_GIB,
    emit: Emit = ignore,
) -> PredictResult:
    """Classify files, one after the other, in memory that does not grow with their number.

    Args:
        model: A file that imgtrain saved, or a run directory.
        names: Files, folders and patterns.
        output: A `.csv`, `.json` or `.jsonl` file; without it every answer is told as an event.
        top: Only so many of the most probable classes; None: all in a file, one in an event.
        batch_size: Images in a batch.
        max_model_gib: The most memory that the model may claim before it is loaded.
        emit: Takes events while the work goes on.

    Raises:
        ConfigError: The output's suffix is none of these, or the model was not made by imgtrain.
        DataError: There is no file to classify.
        RunFileError: The model cannot be loaded, or the output cannot be written.
    """
    if output is not None:
        check_prediction_path(Path(output))
    file = find_model(model)
    if file.metadata is None:
        hint = "`imgtrain evaluate` takes such models, with --rescale"
        raise ConfigError(
            Problem(str(file.path), "was not made by imgtrain: its classes are not known", hint)
        )
    class_names = file.metadata.class_names
    paths = list(expand_paths(names))
    if not paths:
        raise DataError(Problem("", "there is nothing to classify: no image was found"))

    # Only here does TensorFlow start.
    from imgtrain.evaluation.classify import classify
    from imgtrain.model.archive import load_model

    network = load_model(file, max_gib=max_model_gib).model
    counts = dict.fromkeys(class_names, 0)
    unreadable: list[tuple[str, str]] = []
    with ExitStack() as stack:
        write: Write = partial(_tell_answer, class_names=class_names, top=top or 1, emit=emit)
        if output is not None:
            shown = None if top is None else min(top, len(class_names))
            write = stack.enter_context(prediction_writer(Path(output), class_names, shown))
            emit(Progress("classifying", 0, len(paths), "files"))
        answers = classify(network, file.metadata, paths, batch_size=batch_size)
        for done, answer in enumerate(stack.enter_context(closing(answers)), start=1):
            if isinstance(answer, UnreadableFile):
                unreadable.append((answer.path, answer.reason))
                emit(Message(f"{answer.path}: {answer.reason}", "warning"))
            else:
                says = answer.says(class_names)
                counts[says] = counts.get(says, 0) + 1
            write(answer)
            if output is not None and (done % batch_size == 0 or done == len(paths)):
                emit(Progress("classifying", done, len(paths), "files"))
    return PredictResult(None if output is None else Path(output), counts, tuple(unreadable))


def _tell_answer(
    answer: FilePrediction | UnreadableFile, *, class_names: tuple[str, ...], top: int, emit: Emit
) -> None:
    if isinstance(answer, FilePrediction):
        ranked = tuple((class_names[label], float(answer.probabilities[label])) for label in answer.top(top))
        emit(ImageClassified(answer.path, answer.says(class_names), answer.probability, ranked))
