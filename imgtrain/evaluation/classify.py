"""Classify single files, with the same pixels and network as in an evaluation."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from imgtrain.evaluation.decide import decide, is_sure
from imgtrain.evaluation.predict import as_class_probabilities, predictor, views
from imgtrain.evaluation.prediction_formats import FilePrediction, UnreadableFile
from imgtrain.evaluation.prediction_writer import PredictionWriter
from imgtrain.events import Emit, ImageClassified, Message, Progress, ignore
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.prefetch import DecodedBatch, prefetch
from imgtrain.run.model_metadata import ModelMetadata

__all__ = ["ClassifiedFiles", "classify", "classify_files"]


@dataclass(frozen=True, slots=True, eq=False)
class ClassifiedFiles:
    """How often each class was predicted, and the predictions if they are kept.

    Attributes:
        counts: Number of files by class name or `UNSURE`.
        unreadable: (path, reason) of each file that could not be decoded.
        predictions: The prediction for each file classified now; empty if they are not kept.
    """

    counts: dict[str, int]
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    predictions: list[FilePrediction | UnreadableFile] = field(default_factory=list)

    def add(self, path: str, predicted: str | None, reason: str) -> None:
        """Count a file; `predicted` is None if it could not be decoded for `reason`."""
        if predicted is None:
            self.unreadable.append((path, reason))
        else:
            self.counts[predicted] = self.counts.get(predicted, 0) + 1


def classify_files(
    model: Any,
    metadata: ModelMetadata,
    paths: Sequence[str],
    writer: PredictionWriter | None,
    *,
    top: int | None,
    batch_size: int,
    keep: bool = False,
    emit: Emit = ignore,
) -> ClassifiedFiles:
    """Classify files, and write or keep the predictions; without either, emit them as events.

    Args:
        model: A Keras model that takes raw pixels.
        metadata: The model's metadata.
        paths: The files.
        writer: Where predictions are written; files that it already contains are counted, not classified.
        top: Number of most probable classes in an event; None is 1.
        batch_size: Number of images per batch.
        keep: Whether to return the predictions.
        emit: Called with progress, warnings about unreadable files and, if not written or kept, predictions.

    Raises:
        RunFileError: A probability is NaN, or a row cannot be written.
    """
    names = metadata.class_names
    found = ClassifiedFiles(dict.fromkeys(names, 0))
    start, saved = 0, keep or writer is not None
    if writer is not None:
        start = writer.done
        for row in writer.earlier:
            found.add(row.path, row.predicted, row.reason)
    if saved:
        emit(Progress("classifying", start, len(paths), "files"))
    predictions = classify(model, metadata, paths, batch_size=batch_size, start=start)
    with closing(predictions):
        for done, prediction in enumerate(predictions, start=start + 1):
            if isinstance(prediction, UnreadableFile):
                found.add(prediction.path, None, prediction.reason)
                emit(Message(f"{prediction.path}: {prediction.reason}", "warning"))
            else:
                found.add(prediction.path, prediction.predicted(names), "")
            if writer is not None:
                writer.write(prediction)
            if keep:
                found.predictions.append(prediction)
            if not saved and isinstance(prediction, FilePrediction):
                _emit_prediction(prediction, names, top or 1, emit)
            elif saved and (done % batch_size == 0 or done == len(paths)):
                emit(Progress("classifying", done, len(paths), "files"))
    return found


def _emit_prediction(prediction: FilePrediction, names: Sequence[str], top: int, emit: Emit) -> None:
    ranked = tuple((names[label], float(prediction.probabilities[label])) for label in prediction.top(top))
    emit(ImageClassified(prediction.path, prediction.predicted(names), prediction.probability, ranked))


def classify(
    model: Any, metadata: ModelMetadata, paths: Sequence[str], *, batch_size: int, start: int = 0
) -> Generator[FilePrediction | UnreadableFile, None, None]:
    """Yield the prediction for each file, in order; files are decoded while the network computes.

    Args:
        model: A Keras model that takes raw pixels.
        metadata: The model's metadata.
        paths: The files.
        batch_size: Number of images per batch.
        start: Index of the first file to yield. Batches are those of `start=0`, because the last digits of a
            probability can depend on the other images of the batch.

    Raises:
        RunFileError: A probability is NaN.
    """
    infer = predictor(model, mirrored=views(flip_average=metadata.flip_average))
    index = start - start % batch_size
    with closing(prefetch(paths[index:], DecodeSettings.of(metadata), batch_size=batch_size)) as batches:
        for batch in batches:
            for prediction in _classify_batch(infer, metadata, batch):
                if index >= start:
                    yield prediction
                index += 1


def _classify_batch(
    infer: Any, metadata: ModelMetadata, batch: DecodedBatch
) -> Iterator[FilePrediction | UnreadableFile]:
    predictions: Iterator[Any] = iter(())
    # Networks fail on an empty batch.
    if len(batch.pixels):
        probabilities = as_class_probabilities(infer(batch.pixels))
        predicted = decide(probabilities, metadata.threshold)
        sure = is_sure(probabilities, predicted, metadata.abstain_below)
        predictions = zip(predicted.tolist(), sure.tolist(), probabilities, strict=True)
    for position, path in enumerate(batch.paths):
        if position in batch.reasons:
            yield UnreadableFile(path, batch.reasons[position])
        else:
            yield FilePrediction(path, *next(predictions))
