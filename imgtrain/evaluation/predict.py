"""Predict class probabilities in inference mode."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.batches.batches import Batches
from imgtrain.errors import RunFileError
from imgtrain.events import Emit, Progress, ignore
from imgtrain.model.runtime import keras, tf

__all__ = ["as_class_probabilities", "predict_split", "predictor", "views"]

# Which versions of an image the network sees, each by whether it is mirrored.
_ONLY_THE_IMAGE: Sequence[bool] = (False,)


def views(*, flip_average: bool) -> Sequence[bool]:
    """Return the versions of each image whose probabilities are averaged, by whether they are mirrored."""
    return (False, True) if flip_average else _ONLY_THE_IMAGE


def predictor(model: Any, *, mirrored: Sequence[bool] = _ONLY_THE_IMAGE) -> Any:
    """Return a function that maps a batch of raw pixels to outputs; compiled once.

    Unlike `model.predict`, it does not build a tf.data pipeline at every call.

    Args:
        model: A Keras model that takes raw pixels; or already such a function, as an exported model is.
        mirrored: The versions of each image to average, as returned by `views`.
    """
    if not isinstance(model, keras.Model):
        return lambda images: np.mean(
            [model(images[:, :, ::-1] if flipped else images) for flipped in mirrored], axis=0
        )
    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)

    def outputs(images: Any) -> Any:
        return _average_outputs(model, images, mirrored)

    infer = tf.function(outputs, input_signature=[signature], autograph=False)
    return lambda images: infer(tf.cast(images, tf.float32)).numpy()


def predict_split(
    model: Any,
    batches: Batches,
    *,
    loss: str,
    task: str,
    mirrored: Sequence[bool] = _ONLY_THE_IMAGE,
    emit: Emit = ignore,
) -> tuple[NDArray[np.float32], float]:
    """Return the probabilities for a split, (n, classes) in file order, and its mean loss.

    For a binary model, the columns are 1 − p and p. The loss is computed in the same graph as the outputs, so that
    Keras uses the logits as in training: the loss of a probability that was rounded to 0 or 1 would be wrong.

    Args:
        model: A Keras model that takes raw pixels, or a function from raw pixels to outputs.
        batches: An unshuffled split.
        loss: Name of a Keras loss.
        task: Name of the task in progress messages.
        mirrored: The versions of each image to average, as returned by `views`.
        emit: Called with `Progress` events.

    Raises:
        RunFileError: A probability is NaN.
    """
    infer = _predictor_with_loss(model, loss, batches.targets(), mirrored)
    outputs: list[NDArray[np.float32]] = []
    losses: list[NDArray[np.float32]] = []
    done, total = 0, batches.images_per_epoch
    emit(Progress(task, 0, total))
    with closing(batches.read_ahead(0)) as ahead:
        for images, labels, *_ in ahead:
            output, loss_of_each = infer(images, labels)
            outputs.append(output.numpy())
            losses.append(loss_of_each.numpy())
            done += len(images)
            emit(Progress(task, done, total))
    mean = float(np.concatenate(losses).mean(dtype=np.float64))
    return as_class_probabilities(np.concatenate(outputs)), mean


def _predictor_with_loss(model: Any, loss: str, labels: NDArray[Any], mirrored: Sequence[bool]) -> Any:
    function = keras.losses.get(loss)
    if not isinstance(model, keras.Model):
        run = predictor(model, mirrored=mirrored)

        def infer_and_score(images: Any, targets: Any) -> Any:
            outputs = tf.constant(run(images))
            return outputs, function(targets, outputs)

        return infer_and_score
    signature = [
        tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8),
        tf.TensorSpec((None, *labels.shape[1:]), labels.dtype),
    ]

    def infer(images: Any, targets: Any) -> Any:
        outputs = _average_outputs(model, tf.cast(images, tf.float32), mirrored)
        return outputs, function(targets, outputs)

    return tf.function(infer, input_signature=signature, autograph=False)


def _average_outputs(model: Any, images: Any, mirrored: Sequence[bool]) -> Any:
    """Return the mean of the model's outputs over versions of the images, one forward pass each.

    The mean of several softmax or sigmoid outputs is itself written as softmax or sigmoid of logits, from which Keras
    computes the loss.
    """
    outputs = [
        model(tf.reverse(images, axis=[2]) if flipped else images, training=False) for flipped in mirrored
    ]
    if len(outputs) == 1:
        return outputs[0]
    activation = getattr(model.layers[-1], "activation", None)
    logits: list[Any] = [getattr(output, "_keras_logits", None) for output in outputs]
    if not any(value is None for value in logits):
        if activation is keras.activations.softmax:
            return activation(tf.reduce_logsumexp([tf.nn.log_softmax(value) for value in logits], axis=0))
        if activation is keras.activations.sigmoid:
            positive, negative = (
                tf.reduce_logsumexp([tf.math.log_sigmoid(sign * value) for value in logits], axis=0)
                for sign in (1, -1)
            )
            return activation(positive - negative)
    return tf.add_n(outputs) / len(outputs)


def as_class_probabilities(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one column per class: the single column p of a sigmoid becomes 1 − p and p.

    Raises:
        RunFileError: A probability is NaN.
    """
    outputs = outputs.astype(np.float32)
    if not np.isfinite(outputs).all():
        raise RunFileError(
            "the model outputs NaN or infinity instead of probabilities: its weights are corrupt"
        )
    return np.concatenate([1 - outputs, outputs], axis=1) if outputs.shape[1] == 1 else outputs
