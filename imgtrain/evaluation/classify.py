"""What a model says of single files, one after the other: the same pixels and network as in an evaluation."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

from imgtrain.evaluation.decide import decide, is_sure
from imgtrain.evaluation.predict import as_class_probabilities, predictor, views
from imgtrain.evaluation.prediction_formats import FilePrediction, UnreadableFile
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.prefetch import DecodedBatch, prefetch
from imgtrain.run.model_metadata import ModelMetadata

__all__ = ["classify"]


def classify(
    model: Any, record: ModelMetadata, paths: Sequence[str], *, batch_size: int, start: int = 0
) -> Generator[FilePrediction | UnreadableFile, None, None]:
    """Yield what the model says of each file, in order; files are decoded while the network computes.

    Args:
        model: A Keras model that takes raw pixels.
        record: How images are read for it, and how its probabilities become answers.
        paths: The files.
        batch_size: Images in a batch.
        start: The first file that is answered. The batches are those of `start=0`, and so are the answers: the
            last digits of a probability can depend on the batch that a file is in.

    Raises:
        RunFileError: A probability is NaN.
    """
    settings = DecodeSettings.of(record)
    infer = predictor(model, mirrored=views(flip_average=record.flip_average))
    first = start - start % batch_size
    answered = first
    with closing(prefetch(paths[first:], settings, batch_size=batch_size)) as batches:
        for batch in batches:
            for answer in _classify_batch(infer, record, batch):
                answered += 1
                if answered > start:
                    yield answer


def _classify_batch(
    infer: Any, record: ModelMetadata, batch: DecodedBatch
) -> Iterator[FilePrediction | UnreadableFile]:
    answers: Iterator[Any] = iter(())
    # A network fails on a batch of nothing.
    if len(batch.pixels):
        probabilities = as_class_probabilities(infer(batch.pixels))
        predicted = decide(probabilities, record.threshold)
        sure = is_sure(probabilities, predicted, record.abstain_below)
        answers = zip(predicted.tolist(), sure.tolist(), probabilities, strict=True)
    for position, path in enumerate(batch.paths):
        if position in batch.reasons:
            yield UnreadableFile(path, batch.reasons[position])
        else:
            yield FilePrediction(path, *next(answers))
