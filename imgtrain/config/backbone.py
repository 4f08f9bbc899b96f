"""The backbone checked against the rest of the configuration, without TensorFlow.

A backbone takes raw pixels, because its preprocessing is part of it. The exception is a Keras model that was not made
by imgtrain: it doesn't record whether it contains its preprocessing, so `preprocessing` must be given.
"""

from __future__ import annotations

from imgtrain.config.catalogue import Application, load_catalogue
from imgtrain.config.schema import BackboneConfig, Config, PreprocessingConfig
from imgtrain.errors import Problem, RunFileError
from imgtrain.run.model_metadata import ModelMetadata, find_model, find_model_file

__all__ = ["check_backbone", "with_backbone_pixels"]

_PIXELS = {
    "raw": "raw pixels",
    "symmetric": "pixels from -1 to 1",
    "standardized": "pixels standardized with ImageNet's mean and standard deviation",
    "bgr": "blue, green and red minus ImageNet's mean",
}


def with_backbone_pixels(config: Config) -> Config:
    """Return the configuration with `preprocessing.rescale: 1` if a backbone takes raw pixels, unless it is set."""
    if not _takes_raw_pixels(config.model.backbone) or "rescale" in config.preprocessing.model_fields_set:
        return config
    raw = config.preprocessing.model_copy(update={"rescale": 1.0})
    return config.model_copy(update={"preprocessing": raw})


def check_backbone(config: Config) -> list[Problem]:
    """Return the problems of the backbone and its input.

    Args:
        config: The result of `with_backbone_pixels`.
    """
    backbone = config.model.backbone
    if backbone is None:
        return []
    if backbone.name is not None:
        application = load_catalogue().application(backbone.name)
        return [
            *_check_weights(config, backbone),
            *_check_image(config, application),
            *_check_preprocessing(config, _describe(application)),
        ]
    try:
        metadata = _read_source(backbone)
    except RunFileError as error:
        where = config.where("model", "backbone", "from")
        return [Problem(where, f"{problem.where} {problem.what}", problem.hint) for problem in error.problems]
    if metadata is not None:
        return _check_preprocessing(config, f"{backbone.source} contains its own preprocessing")
    if "rescale" in config.preprocessing.model_fields_set:
        return []
    return [
        Problem(
            config.where("preprocessing", "rescale"),
            f"{backbone.source} was not made by imgtrain and doesn't record which pixels it takes",
            "set preprocessing.rescale as in its training: 1/255 for pixels from 0 to 1, or 1 for raw pixels",
        )
    ]


def _takes_raw_pixels(backbone: BackboneConfig | None) -> bool:
    if backbone is None or backbone.name is not None:
        return backbone is not None
    try:
        return _read_source(backbone) is not None
    except RunFileError:
        return True  # reported by `check_backbone`


def _read_source(backbone: BackboneConfig) -> ModelMetadata | None:
    """Return the metadata of the model in `from`.

    Raises:
        RunFileError: The model does not exist, or its metadata is corrupt.
    """
    assert backbone.source is not None
    return find_model(backbone.source).metadata


def _describe(application: Application) -> str:
    if application.pixels == "raw":
        return f"{application.name} takes raw pixels"
    return f"{application.name} takes {_PIXELS[application.pixels]}, which are computed inside the model"


def _check_weights(config: Config, backbone: BackboneConfig) -> list[Problem]:
    """Return a problem if the file with the weights is missing or has the wrong format."""
    if backbone.weights in (None, "imagenet"):
        return []
    try:
        find_model_file(str(backbone.weights))
    except RunFileError as error:
        where = config.where("model", "backbone", "weights")
        return [Problem(where, f"{problem.where} {problem.what}", problem.hint) for problem in error.problems]
    return []


def _check_image(config: Config, application: Application) -> list[Problem]:
    """Return problems of images that are too small for the network, or have four channels."""
    problems = []
    height, width = config.data.size
    smallest = application.smallest
    if min(height, width) < smallest:
        problems.append(
            Problem(
                config.where("data", "target_size"),
                f"{application.name} needs images of at least {smallest}×{smallest}; got [{height}, {width}]",
                f"set data.target_size to [{max(height, smallest)}, {max(width, smallest)}] or larger",
            )
        )
    if config.data.color_mode == "rgba":
        where = config.where("data", "color_mode")
        what = f"{application.name} takes three channels; rgba has four"
        problems.append(Problem(where, what, "set data.color_mode to rgb or grayscale"))
    return problems


def _check_preprocessing(config: Config, reason: str) -> list[Problem]:
    """Return a problem for each preprocessing option beside a backbone that takes raw pixels.

    Args:
        config: The configuration.
        reason: Why there must be none.
    """
    neutral = PreprocessingConfig(rescale=1.0)
    given = config.preprocessing
    return [
        Problem(
            config.where("preprocessing", name),
            f"{reason}; {name} would be applied in addition",
            f"remove preprocessing.{name}",
        )
        for name in type(given).model_fields
        if name != "zca_epsilon" and getattr(given, name) != getattr(neutral, name)
    ]
