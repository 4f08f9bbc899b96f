"""What a model says of single files, one after the other: the same pixels and network as in an evaluation."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Any

from imgtrain.dataset.decode import DecodeSettings
from imgtrain.dataset.decode_ahead import decode_ahead
from imgtrain.evaluation.answers import Answer, Unreadable
from imgtrain.evaluation.decide import decide, is_sure
from imgtrain.evaluation.predict import as_class_probabilities, predictor
from imgtrain.record import ModelRecord

__all__ = ["classify"]


def classify(
    model: Any, record: ModelRecord, paths: Iterable[str], *, batch_size: int
) -> Generator[Answer | Unreadable, None, None]:
    """Yield what the model says of each file, in order; files are decoded while the network computes.

    Args:
        model: A Keras model that takes raw pixels.
        record: How images are read for it, and how its probabilities become answers.
        paths: The files.
        batch_size: Images in a batch.
    """
    settings = DecodeSettings(*record.target_size, record.color_mode, record.interpolation, record.resize)
    infer = predictor(model)
    with closing(decode_ahead(paths, settings, batch_size=batch_size)) as batches:
        for batch in batches:
            probabilities = as_class_probabilities(infer(batch.pixels))
            predicted = decide(probabilities, record.threshold)
            sure = is_sure(probabilities, predicted, record.abstain_below)
            answers = zip(predicted.tolist(), sure.tolist(), probabilities, strict=True)
            for place, path in enumerate(batch.paths):
                if place in batch.reasons:
                    yield Unreadable(path, batch.reasons[place])
                else:
                    yield Answer(path, *next(answers))
