"""Weights for the networks of `keras.applications`: downloaded by Keras, or read from a local file or model.

Local files can be untrusted; they pass the same checks as models before Keras reads them.
"""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from imgtrain.config.layers import format_shape
from imgtrain.config.schema import Config
from imgtrain.errors import ConfigError, Problem, RunFileError
from imgtrain.model.archive import load_network
from imgtrain.model.inspect import has_model, validate_weights_file
from imgtrain.model.keras_errors import first_sentences
from imgtrain.model.runtime import keras
from imgtrain.run.defaults import MAX_MODEL_GIB
from imgtrain.run.model_metadata import find_model_file

__all__ = ["read_application_weights"]

_FAILED_DOWNLOAD = re.compile(r"URL fetch failure on (\S+): .*? -- (.*)")
# Keras's errors list all arrays.
_MOST_CHARACTERS = 300


def read_application_weights(
    config: Config, name: str, weights: str | Path | None
) -> list[NDArray[Any]] | None:
    """Return the weights of a network of `keras.applications` without its classifier, in Keras's order.

    Args:
        config: For the location in errors.
        name: The network.
        weights: `imagenet`, a file with weights, a model or run that contains the network, or None.

    Returns:
        The arrays; None if `weights` is None.

    Raises:
        ConfigError: The weights cannot be downloaded or read, or are those of another network.
    """
    if weights is None:
        return None
    build = getattr(keras.applications, name)
    try:
        if weights == "imagenet":
            return _download(build)
        path = find_model_file(weights)
        network = build(weights=None, include_top=False)
        return _from_model(path, network, name) if has_model(path) else _from_weights(path, network, name)
    except _Unfit as unfit:
        problems = [Problem(config.where("model", "backbone", "weights"), unfit.what, unfit.hint)]
    except RunFileError as error:
        where = config.where("model", "backbone", "weights")
        problems = [
            Problem(where, f"{problem.where} {problem.what}", problem.hint) for problem in error.problems
        ]
    raise ConfigError(problems)


class _Unfit(Exception):  # noqa: N818 (an answer, not an error)
    """The weights cannot be used; the arguments are the problem and a hint."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what, self.hint = what, hint


def _download(build: Any) -> list[NDArray[Any]]:
    """Return the ImageNet weights, downloaded by Keras to its cache directory unless they are there."""
    try:
        # Keras prints the progress to stdout, and warns that weights of several image sizes exist.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings(action="ignore"):
            network = build(weights="imagenet", include_top=False)
    # Keras raises plain exceptions for failed downloads.
    except Exception as error:
        failed = _FAILED_DOWNLOAD.search(str(error))
        if failed is None:
            raise _Unfit(f"Keras cannot load the ImageNet weights: {first_sentences(error)}") from error
        url, reason = failed.groups()
        raise _Unfit(
            f"the ImageNet weights cannot be downloaded: {reason}",
            f"download {url} elsewhere, and set model.backbone.weights to the path of that file",
        ) from error
    weights: list[NDArray[Any]] = network.get_weights()
    return weights


def _from_model(path: Path, network: keras.Model, name: str) -> list[NDArray[Any]]:
    """Return the weights of the part of a saved model that is the same network."""
    shapes = _shapes(network)
    for model in _models_inside(load_network(path)):
        if _shapes(model) == shapes:
            weights: list[NDArray[Any]] = model.get_weights()
            return weights
    raise _Unfit(
        f"{path} is a model that doesn't contain {name} without its classifier",
        "use `from` instead of `name` and `weights` to start from this model",
    )


def _models_inside(model: keras.Model) -> Iterator[keras.Model]:
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _models_inside(layer)


def _shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights]


def _from_weights(path: Path, network: keras.Model, name: str) -> list[NDArray[Any]]:
    """Return the weights in a file written by `save_weights`, in the format of Keras 3 or earlier."""
    stored = validate_weights_file(path, most_bytes=int(MAX_MODEL_GIB * 2**30))
    # Scalars are counters, and other types are the state of random generators.
    needed = Counter(shape for shape in _shapes(network) if shape)
    found = Counter(stored)
    further, missing = found - needed, needed - found
    if missing:
        raise _Unfit(
            f"the weights in {path} are not those of {name}: there is no array of shape "
            f"{format_shape(next(iter(missing)))}",
            f"use the weights of {name} without its classifier",
        )
    if further:
        shown = ", ".join(format_shape(shape) for shape in list(further)[:3])
        raise _Unfit(
            f"{path} contains {name} and further weights, of shape {shown}: it was saved with its classifier",
            "use the weights without the classifier (include_top=False; files from Keras end in `_notop.h5`)",
        )
    try:
        # It warns about containers of Keras's own that older files don't have.
        with warnings.catch_warnings(action="ignore"):
            network.load_weights(path)
    # Keras raises various exceptions for weights of other networks.
    except Exception as error:
        raise _Unfit(
            f"the weights in {path} are not those of {name}: {first_sentences(error)[:_MOST_CHARACTERS]}",
            f"use the weights of {name} without its classifier",
        ) from error
    weights: list[NDArray[Any]] = network.get_weights()
    return weights
