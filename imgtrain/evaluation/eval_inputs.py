"""How the images of an evaluation are found and read: from the model's own record, or from what the user says."""

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
from imgtrain.dataset.index import index_folder
from imgtrain.dataset.split import Split, split_data, warn_about_ignored_files
from imgtrain.errors import ConfigError, DataError, Problem, RunFileError
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.run.color_modes import CHANNELS
from imgtrain.run.model_metadata import ModelMetadata

__all__ = ["EvalInputs", "EvalOptions", "inputs_of_imgtrain_model", "inputs_of_other_model"]

# What the split of an evaluation is called, in progress, predictions and scores.
_NAME = "evaluation"

_COLOR_MODES = {count: mode for mode, count in CHANNELS.items()}


@dataclass(frozen=True, slots=True, eq=False)
class EvalInputs:
    """The images of an evaluation, and what the model's outputs for them mean.

    Attributes:
        split: The images, named `evaluation`; labels follow the model's classes.
        settings: What every image is brought to.
        class_mode: Form of labels and outputs.
        threshold: Binary: the probability from which the second class is predicted; None for more classes.
        abstain_below: Probability of the predicted class below which the answer is "unsure"; None never is.
        flip_average: As `evaluation.flip_average`.
        preprocessing: What a model that imgtrain did not make wants done to raw pixels; None if the model does it.
        loss: The Keras loss that the scores name.
        group_by: As `data.group_by`: intervals are over groups.
        on_bad_image: As `data.on_bad_image`.
        leaked_pictures: Pixel digests of images that are not scored, because the model was trained on them.
        majority_label: The most frequent class of the training images; None if it is not known.
        warnings: Sentences to show.
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
    """What was asked for; what was not said is None.

    Attributes:
        model: The model file, as shown in errors.
        folder: What `--data` said.
        config: What `--config` said.
        rescale: What `--rescale` said.
        classes: What `--classes` said.
    """

    model: str
    folder: Path | None = None
    config: Path | None = None
    rescale: str | float | None = None
    classes: tuple[str, ...] | None = None


def inputs_of_imgtrain_model(record: ModelMetadata, asked: EvalOptions) -> EvalInputs:
    """Find the images that a model is to be evaluated on, and how they are read, from what its file says.

    Raises:
        ConfigError: Something is said although the model knows better, or the test images are not known.
        DataError: The folder does not hold images of the model's classes.
        RunFileError: The expression that groups images cannot be used.
    """
    problems = [
        Problem(
            option, f"is for models that imgtrain did not make; {asked.model} brings {what}", "leave it out"
        )
        for option, given, what in (
            ("--rescale", asked.rescale, "its preprocessing in itself"),
            ("--classes", asked.classes, f"its classes: {', '.join(record.class_names)}"),
        )
        if given is not None
    ]
    if asked.config is not None and asked.folder is not None:
        problems.append(Problem("--config", "says which images, as --data does", "give one of the two"))
    if problems:
        raise ConfigError(problems)
    if asked.config is not None:
        split = _test_split(load_config(asked.config))
        if split.class_names != record.class_names:
            raise DataError(
                Problem(
                    asked.config,
                    f"its classes are {', '.join(split.class_names)}, the model's are "
                    f"{', '.join(record.class_names)}",
                )
            )
    else:
        split = _split_of_record(record, asked.model, asked.folder)
    _check_group_by(record, split, asked.model)
    majority = record.majority_class
    return EvalInputs(
        split=split,
        settings=DecodeSettings.of(record),
        class_mode=record.class_mode,
        threshold=record.threshold,
        abstain_below=record.abstain_below,
        flip_average=record.flip_average,
        loss=record.loss or default_loss(record.class_mode),
        group_by=record.group_by,
        on_bad_image=record.on_bad_image,
        leaked_pictures=record.leaked_pictures,
        majority_label=None if majority is None else record.class_names.index(majority),
        warnings=_warnings(split),
    )


def _check_group_by(record: ModelMetadata, split: Split, model: str) -> None:
    """Search the expression now: that of an untrusted model may be wrong or take too long."""
    if record.group_by is None:
        return
    try:
        match_groups(split.group_paths, record.group_by)
    except ConfigError as error:
        what = error.problems[0].what
        raise RunFileError(
            Problem(f"{model}: metadata group_by", what, "the model file is damaged")
        ) from None


def inputs_of_other_model(asked: EvalOptions, input_shape: tuple[int, int, int], units: int) -> EvalInputs:
    """Find the images for a model that imgtrain did not make, and how they are read, from what the user says.

    Args:
        asked: The options.
        input_shape: (height, width, channels) that the model takes.
        units: Number of the model's outputs.

    Raises:
        ConfigError: Something is not said that must be.
        DataError: The folder does not hold images of as many classes as the model has.
    """
    if asked.config is not None:
        return _by_config(load_config(asked.config), asked, input_shape, units)
    return _by_options(asked, input_shape, units)


def _split_of_record(record: ModelMetadata, model: str, folder: Path | None) -> Split:
    if folder is None:
        if record.test_folder is None:
            raise ConfigError(
                Problem(
                    model, "was trained without a test folder", "name one: --data FOLDER, or --config CONFIG"
                )
            )
        folder = Path(record.test_folder)
        if not folder.is_dir():
            raise DataError(
                Problem(
                    folder,
                    "the test folder that the model was trained with is not there",
                    "name another with --data FOLDER",
                )
            )
    return _whole_folder(folder, record.class_names, nested=record.nested, follow_links=record.follow_links)


def _by_config(
    config: Config, asked: EvalOptions, input_shape: tuple[int, int, int], units: int
) -> EvalInputs:
    data = config.data
    problems = [
        Problem(option, f"{asked.config} says it already", "give one of the two")
        for option, given in (("--rescale", asked.rescale), ("--classes", asked.classes))
        if given is not None
    ]
    if input_shape != data.image_shape:
        problems.append(
            Problem(
                config.where("data", "target_size"),
                f"{_shape(data.image_shape)} does not fit the model, which takes {_shape(input_shape)}",
            )
        )
    if needs_featurewise_statistics(config.preprocessing):
        problems.append(
            Problem(
                config.where("preprocessing"),
                "featurewise options and ZCA need statistics that a model of another tool does not bring",
            )
        )
    if (units == 1) != (data.class_mode == "binary"):
        problems.append(
            Problem(
                config.where("data", "class_mode"),
                f"{data.class_mode} does not fit the model, which has {units} output{'' if units == 1 else 's'}",
                "binary goes with one output, categorical and sparse with one for each class",
            )
        )
    if problems:
        raise ConfigError(problems)
    warnings: tuple[str, ...] = ()
    if asked.folder is None:
        split = _test_split(config)
        if data.on_leak == "drop":
            warnings = (
                "data.on_leak: drop has no effect here: only `imgtrain train` reads the training images",
            )
    else:
        split = _whole_folder(asked.folder, data.classes, nested=data.nested, follow_links=data.follow_links)
    _refuse_other_count(split.class_names, units, asked.model)
    threshold = config.evaluation.threshold
    return EvalInputs(
        split=split,
        settings=DecodeSettings.of(data),
        class_mode=data.class_mode,
        threshold=(threshold if isinstance(threshold, float) else 0.5) if units == 1 else None,
        flip_average=config.evaluation.flip_average,
        preprocessing=config.preprocessing,
        loss=resolve_loss(config),
        group_by=data.group_by,
        on_bad_image=data.on_bad_image,
        warnings=(*warnings, *_warnings(split)),
    )


def _by_options(asked: EvalOptions, input_shape: tuple[int, int, int], units: int) -> EvalInputs:
    problems = []
    if asked.folder is None:
        problems.append(Problem(asked.model, "says nothing of its test images", "name them: --data FOLDER"))
    if asked.rescale is None:
        problems.append(
            Problem(
                asked.model,
                "was not made by imgtrain, so how its inputs were scaled is not known",
                "say it: `--rescale 1/255` as in most scripts, `--rescale 1` for raw pixels; or give --config CONFIG",
            )
        )
    if problems:
        raise ConfigError(problems)
    assert asked.folder is not None
    assert asked.rescale is not None
    height, width, channels = input_shape
    split = _whole_folder(asked.folder, asked.classes)
    _refuse_other_count(split.class_names, units, asked.model)
    class_mode: ClassMode = "binary" if units == 1 else "categorical"
    return EvalInputs(
        split=split,
        # As flow_from_directory reads by default, which such models are trained with.
        settings=DecodeSettings(height, width, _COLOR_MODES[channels], "nearest", "stretch"),
        class_mode=class_mode,
        threshold=0.5 if units == 1 else None,
        preprocessing=_preprocessing(asked.rescale),
        loss=default_loss(class_mode),
        warnings=_warnings(split),
    )


def _preprocessing(rescale: str | float) -> PreprocessingConfig:
    try:
        return PreprocessingConfig.model_validate({"rescale": rescale})
    except ValidationError:
        raise ConfigError(
            Problem("--rescale", f"must be a number or a fraction such as 1/255; got {rescale!r}")
        ) from None


def _test_split(config: Config) -> Split:
    test = split_data(config).test
    if test is None:
        raise ConfigError(
            Problem(config.where("data"), "names no test images", "set data.test, or give --data FOLDER")
        )
    return replace(test, name=_NAME)


def _whole_folder(
    folder: Path, class_names: tuple[str, ...] | None, *, nested: bool = False, follow_links: bool = False
) -> Split:
    index = index_folder(
        folder.absolute(), class_names=class_names, nested=nested, follow_links=follow_links, where="--data"
    )
    return Split(_NAME, index, np.arange(len(index), dtype=np.intp))


def _refuse_other_count(class_names: tuple[str, ...], units: int, model: str) -> None:
    wanted = 2 if units == 1 else units
    if len(class_names) != wanted:
        raise DataError(
            Problem(
                model,
                f"tells {wanted} classes apart, but there are {len(class_names)}: {', '.join(class_names)}",
                "give the folder with the model's classes, or their names in order with --classes",
            )
        )


def _warnings(split: Split) -> tuple[str, ...]:
    missing = [name for name, count in zip(split.class_names, split.counts(), strict=True) if not count]
    without = f"there are no images of {', '.join(missing)}: their scores say nothing"
    return (*([without] if missing else []), *warn_about_ignored_files([split.folder]))


def _shape(shape: tuple[int, int, int]) -> str:
    return "×".join(map(str, shape))
