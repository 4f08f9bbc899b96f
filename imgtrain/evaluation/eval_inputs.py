"""Determine which images an evaluation uses and how they are read: from the model's metadata, or from options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from imgtrain.batches.batches import ClassMode
from imgtrain.config.head import default_loss, resolve_loss
from imgtrain.config.load import load_config
from imgtrain.config.preprocessing import needs_featurewise_statistics
from imgtrain.config.schema import Config, PreprocessingConfig
from imgtrain.dataset.groups import match_groups
from imgtrain.dataset.index import Nested, index_folder
from imgtrain.dataset.split import Split, split_data, warn_about_ignored_files
from imgtrain.errors import ConfigError, DataError, Problem, RunFileError
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.run.color_modes import CHANNELS
from imgtrain.run.model_metadata import ModelMetadata
from imgtrain.run.run_directory import RunDirectory

__all__ = ["EvalInputs", "EvalOptions", "inputs_for_split", "inputs_from_metadata", "inputs_from_options"]

# Name of the split in progress messages, predictions and scores.
_NAME = "evaluation"

_COLOR_MODES = {count: mode for mode, count in CHANNELS.items()}


@dataclass(frozen=True, slots=True, eq=False)
class EvalInputs:
    """The images of an evaluation, and how to interpret the model's outputs.

    Attributes:
        split: The images, named `evaluation`; labels are in the order of the model's classes.
        settings: How images are decoded.
        class_mode: Form of labels and outputs.
        threshold: Binary models: minimum probability of the second class to predict it; otherwise None.
        loss: Name of the Keras loss to report.
        abstain_below: Minimum probability of the predicted class; below it, the prediction is "unsure". None disables
            this.
        flip_average: As `evaluation.flip_average`.
        preprocessing: Preprocessing of raw pixels for a model not saved by imgtrain; None if the model contains it.
        group_by: As `data.group_by`; intervals are computed over groups.
        on_bad_image: As `data.on_bad_image`.
        leaked_pictures: Pixel hashes of images to exclude because the model was trained on them.
        majority_label: The most frequent class of the training images; None if unknown.
        warnings: Warnings for the user.
    """

    split: Split
    settings: DecodeSettings
    class_mode: ClassMode
    threshold: float | None
    loss: str
    abstain_below: float | None = None
    flip_average: bool = False
    preprocessing: PreprocessingConfig | None = None
    group_by: str | None = None
    on_bad_image: Literal["error", "skip"] = "error"
    leaked_pictures: tuple[str, ...] = ()
    majority_label: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The user's options; None if not given.

    Attributes:
        model: The model file, as shown in errors.
        folder: `--data`.
        config: `--config`.
        rescale: `--rescale`.
        classes: `--classes`.
    """

    model: str
    folder: Path | None = None
    config: Path | None = None
    rescale: str | float | None = None
    classes: tuple[str, ...] | None = None


def inputs_from_metadata(metadata: ModelMetadata, options: EvalOptions) -> EvalInputs:
    """Return the inputs for a model that imgtrain saved.

    Raises:
        ConfigError: An option contradicts the metadata, or the test images are unknown.
        DataError: The folder is missing, or does not match the model's classes.
        RunFileError: `group_by` of the metadata is invalid.
    """
    problems = [
        Problem(option, f"only for models not saved by imgtrain; {options.model} contains {what}", "omit it")
        for option, value, what in (
            ("--rescale", options.rescale, "its preprocessing"),
            ("--classes", options.classes, f"its class names: {', '.join(metadata.class_names)}"),
        )
        if value is not None
    ]
    if options.config is not None and options.folder is not None:
        problems.append(Problem("--config", "and --data both specify the images", "use only one of them"))
    if problems:
        raise ConfigError(problems)
    config = options.config or _config_of_run(metadata, options)
    if config is not None:
        split = _test_split(load_config(config))
        if split.class_names != metadata.class_names:
            ours, theirs = ", ".join(split.class_names), ", ".join(metadata.class_names)
            raise DataError(Problem(config, f"its classes are {ours}; those of the model are {theirs}"))
    else:
        folder = options.folder or _test_folder(metadata, options.model)
        split = _whole_folder(
            folder, metadata.class_names, nested=metadata.nested, follow_links=metadata.follow_links
        )
    return inputs_for_split(metadata, split, model=options.model)


def inputs_for_split(metadata: ModelMetadata, split: Split, *, model: str) -> EvalInputs:
    """Return the inputs for a model that imgtrain saved, with given images.

    Args:
        metadata: The model's metadata.
        split: The images.
        model: The model file, as shown in errors.

    Raises:
        RunFileError: `group_by` of the metadata is invalid.
    """
    _validate_group_by(metadata, split, model)
    majority = metadata.majority_class
    return EvalInputs(
        split=split,
        settings=DecodeSettings.of(metadata),
        class_mode=metadata.class_mode,
        threshold=metadata.threshold,
        abstain_below=metadata.abstain_below,
        flip_average=metadata.flip_average,
        loss=metadata.loss or default_loss(metadata.class_mode),
        group_by=metadata.group_by,
        on_bad_image=metadata.on_bad_image,
        leaked_pictures=metadata.leaked_pictures,
        majority_label=None if majority is None else metadata.class_names.index(majority),
        warnings=_warnings(split),
    )


def _config_of_run(metadata: ModelMetadata, options: EvalOptions) -> Path | None:
    """Return the configuration beside the model, if it knows test images that a folder alone does not determine."""
    config = RunDirectory(Path(options.model).parent).config
    if options.folder is not None or metadata.test_folder is not None or not config.is_file():
        return None
    return None if load_config(config).data.has_class_folders else config


def inputs_from_options(
    options: EvalOptions, input_shape: tuple[int, int, int], output_units: int
) -> EvalInputs:
    """Return the inputs for a model that imgtrain did not save.

    Args:
        options: The user's options.
        input_shape: Input shape of the model: (height, width, channels).
        output_units: Number of outputs of the model.

    Raises:
        ConfigError: A required option is missing, or an option does not match the model.
        DataError: The number of classes does not match the model.
    """
    if options.config is not None:
        return _from_config(load_config(options.config), options, input_shape, output_units)
    return _from_folder(options, input_shape, output_units)


def _test_folder(metadata: ModelMetadata, model: str) -> Path:
    if metadata.test_folder is None:
        hint = "specify the images with --data FOLDER or --config CONFIG"
        raise ConfigError(Problem(model, "was trained without a test folder", hint))
    folder = Path(metadata.test_folder)
    if not folder.is_dir():
        hint = "specify another folder with --data FOLDER"
        raise DataError(Problem(folder, "the test folder of the training run does not exist", hint))
    return folder


def _validate_group_by(metadata: ModelMetadata, split: Split, model: str) -> None:
    """Apply the expression before predicting: that of an untrusted model may be invalid or too slow."""
    if metadata.group_by is None:
        return
    try:
        match_groups(split.group_paths, metadata.group_by)
    except ConfigError as error:
        where, what = f"{model}: metadata group_by", error.problems[0].what
        raise RunFileError(Problem(where, what, "the model file is corrupt")) from None


def _from_config(
    config: Config, options: EvalOptions, input_shape: tuple[int, int, int], output_units: int
) -> EvalInputs:
    data = config.data
    if data.target_size == "auto":
        data = data.model_copy(update={"target_size": input_shape[:2]})
    problems = [
        Problem(option, f"is already specified by {options.config}", "use only one of them")
        for option, value in (("--rescale", options.rescale), ("--classes", options.classes))
        if value is not None
    ]
    if input_shape != data.image_shape:
        what = f"{_shape(data.image_shape)} does not match the model's input shape {_shape(input_shape)}"
        problems.append(Problem(config.where("data", "target_size"), what))
    if needs_featurewise_statistics(config.preprocessing):
        what = "featurewise options and ZCA need statistics, which models not saved by imgtrain don't contain"
        problems.append(Problem(config.where("preprocessing"), what))
    if (output_units == 1) != (data.class_mode == "binary"):
        outputs = "1 output" if output_units == 1 else f"{output_units} outputs"
        what = f"{data.class_mode} does not match the model, which has {outputs}"
        hint = "use binary for one output, categorical or sparse for one output per class"
        problems.append(Problem(config.where("data", "class_mode"), what, hint))
    if problems:
        raise ConfigError(problems)
    warnings: tuple[str, ...] = ()
    if options.folder is None:
        split = _test_split(config)
        if data.on_leak == "drop":
            warnings = ("data.on_leak: drop has no effect: only `imgtrain train` reads the training images",)
    else:
        split = _whole_folder(
            options.folder, data.classes, nested=data.nested, follow_links=data.follow_links
        )
    _validate_class_count(split.class_names, output_units, options.model)
    threshold = config.evaluation.threshold
    return EvalInputs(
        split=split,
        settings=DecodeSettings.of(data),
        class_mode=data.class_mode,
        threshold=(threshold if isinstance(threshold, float) else 0.5) if output_units == 1 else None,
        flip_average=config.evaluation.flip_average,
        preprocessing=config.preprocessing,
        loss=resolve_loss(config),
        group_by=data.group_by,
        on_bad_image=data.on_bad_image,
        warnings=(*warnings, *_warnings(split)),
    )


def _from_folder(options: EvalOptions, input_shape: tuple[int, int, int], output_units: int) -> EvalInputs:
    if options.folder is None or options.rescale is None:
        problems = []
        if options.folder is None:
            what = "was not saved by imgtrain, so its test images are unknown"
            problems.append(Problem(options.model, what, "specify them with --data FOLDER"))
        if options.rescale is None:
            what = "was not saved by imgtrain, so the scaling of its inputs is unknown"
            hint = (
                "use `--rescale 1/255` as in most scripts, `--rescale 1` for raw pixels, or --config CONFIG"
            )
            problems.append(Problem(options.model, what, hint))
        raise ConfigError(problems)
    height, width, channels = input_shape
    split = _whole_folder(options.folder, options.classes)
    _validate_class_count(split.class_names, output_units, options.model)
    class_mode: ClassMode = "binary" if output_units == 1 else "categorical"
    return EvalInputs(
        split=split,
        # The defaults of flow_from_directory, which most such models were trained with.
        settings=DecodeSettings(height, width, _COLOR_MODES[channels], "nearest", "stretch"),
        class_mode=class_mode,
        threshold=0.5 if output_units == 1 else None,
        preprocessing=_preprocessing(options.rescale),
        loss=default_loss(class_mode),
        warnings=_warnings(split),
    )


def _preprocessing(rescale: str | float) -> PreprocessingConfig:
    try:
        return PreprocessingConfig.model_validate({"rescale": rescale})
    except ValidationError:
        what = f"must be a number or a fraction such as 1/255; received {rescale!r}"
        raise ConfigError(Problem("--rescale", what)) from None


def _test_split(config: Config) -> Split:
    test = split_data(config).test
    if test is None:
        what = "specifies no test images"
        raise ConfigError(Problem(config.where("data"), what, "set data.test, or use --data FOLDER"))
    return replace(test, name=_NAME)


def _whole_folder(
    folder: Path, class_names: tuple[str, ...] | None, *, nested: Nested = False, follow_links: bool = False
) -> Split:
    index = index_folder(
        folder.absolute(), class_names=class_names, nested=nested, follow_links=follow_links, where="--data"
    )
    return Split(_NAME, index, np.arange(len(index), dtype=np.intp))


def _validate_class_count(class_names: tuple[str, ...], output_units: int, model: str) -> None:
    expected = 2 if output_units == 1 else output_units
    if len(class_names) != expected:
        what = f"has {expected} classes, but there are {len(class_names)}: {', '.join(class_names)}"
        hint = "use a folder with the model's classes, or list their names in label order with --classes"
        raise DataError(Problem(model, what, hint))


def _warnings(split: Split) -> tuple[str, ...]:
    missing = [name for name, count in zip(split.class_names, split.counts(), strict=True) if not count]
    without = f"there are no images of {', '.join(missing)}: their scores are meaningless"
    return (*([without] if missing else []), *warn_about_ignored_files([split.folder]))


def _shape(shape: tuple[int, int, int]) -> str:
    return "×".join(map(str, shape))
