"""`imgtrain predict`: classify image files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from imgtrain.dataset.named_files import expand_paths
from imgtrain.errors import ConfigError, DataError, Problem
from imgtrain.evaluation.prediction_formats import FilePrediction, UnreadableFile
from imgtrain.evaluation.prediction_writer import check_prediction_path, prediction_writer
from imgtrain.events import Emit, ImageClassified, Message, Progress, ignore
from imgtrain.run.defaults import INFERENCE_BATCH_SIZE, MAX_MODEL_GIB
from imgtrain.run.model_metadata import find_model

__all__ = ["PredictResult", "predict"]


@dataclass(frozen=True, slots=True, eq=False)
class PredictResult:
    """Result of `predict`.

    Attributes:
        output: The file with the predictions; None if no file was written.
        counts: Number of predictions per class; includes `unsure` if it occurred.
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
    resume: bool = False,
    overwrite: bool = False,
    emit: Emit = ignore,
) -> PredictResult:
    """Classify files. Memory usage does not depend on their number.

    Args:
        model: A model file saved by imgtrain, or a run directory.
        names: Files, folders and glob patterns.
        output: A `.csv`, `.json` or `.jsonl` file, written when all files are classified; until then, rows are in
            `<output>.partial`. If None, every prediction is emitted as an event.
        top: Number of most probable classes to return; None returns all in a file, one in an event.
        batch_size: Number of images per batch.
        max_model_gib: Maximum memory requirement of the model in GiB, checked before it is loaded.
        resume: Continue an interrupted prediction after its last complete row, if there is one.
        overwrite: Replace the output if it exists.
        emit: Called with progress events.

    Raises:
        ConfigError: The output's suffix is not supported, the model was not saved by imgtrain, or the interrupted
            prediction used a different model or different files.
        DataError: There are no files to classify.
        RunFileError: The model cannot be loaded, or the output already exists or cannot be written.
        InterruptedRunError: Ctrl-C while writing an output file.
    """
    if output is not None:
        check_prediction_path(Path(output), resume=resume, overwrite=overwrite)
    elif resume:
        raise ConfigError("--resume requires --output: without it, predictions are printed and not saved")
    file = find_model(model)
    if file.metadata is None:
        hint = "evaluate such models with `imgtrain evaluate --rescale`"
        raise ConfigError(Problem(file.path, "was not saved by imgtrain: its class names are unknown", hint))
    class_names = file.metadata.class_names
    paths = list(expand_paths(names))
    if not paths:
        raise DataError(Problem("", "no images found to classify"))

    # TensorFlow is imported from here on.
    from imgtrain.evaluation.classify import classify
    from imgtrain.model.archive import load_model

    network = load_model(file, max_gib=max_model_gib).model
    tally = _Tally(dict.fromkeys(class_names, 0), [])
    with ExitStack() as stack:
        writer, start = None, 0
        if output is not None:
            writer = stack.enter_context(
                prediction_writer(
                    Path(output),
                    paths,
                    class_names,
                    top=None if top is None else min(top, len(class_names)),
                    model=_sha256(file.path),
                    resume=resume,
                    overwrite=overwrite,
                )
            )
            start = writer.done
            for row in writer.earlier:
                tally.count(row.path, row.says, row.reason)
            emit(Progress("classifying", start, len(paths), "files"))
        answers = classify(network, file.metadata, paths, batch_size=batch_size, start=start)
        for done, answer in enumerate(stack.enter_context(closing(answers)), start=start + 1):
            if isinstance(answer, UnreadableFile):
                tally.count(answer.path, None, answer.reason)
                emit(Message(f"{answer.path}: {answer.reason}", "warning"))
            else:
                tally.count(answer.path, answer.says(class_names), "")
            if writer is None:
                _tell_answer(answer, class_names=class_names, top=top or 1, emit=emit)
                continue
            writer.write(answer)
            if done % batch_size == 0 or done == len(paths):
                emit(Progress("classifying", done, len(paths), "files"))
    return PredictResult(None if output is None else Path(output), tally.answers, tuple(tally.unreadable))


@dataclass(frozen=True, slots=True, eq=False)
class _Tally:
    answers: dict[str, int]
    unreadable: list[tuple[str, str]]

    def count(self, path: str, says: str | None, reason: str) -> None:
        if says is None:
            self.unreadable.append((path, reason))
        else:
            self.answers[says] = self.answers.get(says, 0) + 1


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tell_answer(
    answer: FilePrediction | UnreadableFile, *, class_names: tuple[str, ...], top: int, emit: Emit
) -> None:
    if isinstance(answer, FilePrediction):
        ranked = tuple((class_names[label], float(answer.probabilities[label])) for label in answer.top(top))
        emit(ImageClassified(answer.path, answer.says(class_names), answer.probability, ranked))
