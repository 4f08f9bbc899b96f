"""What a model says of single files, one after the other: the same pixels and network as in an evaluation."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Any

from imgtrain.evaluation.decide import decide, is_sure
from imgtrain.evaluation.predict import as_class_probabilities, predictor
from imgtrain.evaluation.prediction_writer import FilePrediction, UnreadableFile
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.prefetch import prefetch
from imgtrain.run.model_metadata import ModelMetadata

__all__ = ["classify"]


def classify(
    model: Any, record: ModelMetadata, paths: Iterable[str], *, batch_size: int
) -> Generator[FilePrediction | UnreadableFile, None, None]:
    """Yield what the model says of each file, in order; files are decoded while the network computes.

    Args:
        model: A Keras model that takes raw pixels.
        record: How images are read for it, and how its probabilities become answers.
        paths: The files.
        batch_size: Images in a batch.
    """
    settings = DecodeSettings(*record.target_size, record.color_mode, record.interpolation, record.resize)
    infer = predictor(model)
    with closing(prefetch(paths, settings, batch_size=batch_size)) as batches:
        for batch in batches:
            probabilities = as_class_probabilities(infer(batch.pixels))
            predicted = decide(probabilities, record.threshold)
            sure = is_sure(probabilities, predicted, record.abstain_below)
            answers = zip(predicted.tolist(), sure.tolist(), probabilities, strict=True)
            for place, path in enumerate(batch.paths):
                if place in batch.reasons:
                    yield UnreadableFile(path, batch.reasons[place])
                else:
                    yield FilePrediction(path, *next(answers))
