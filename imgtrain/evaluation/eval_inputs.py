"""How the images of an evaluation are found and read: from the model's own record, or from what the user says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from imgtrain.batches.batches import ClassMode
from imgtrain.config.head import resolve_loss
from imgtrain.config.load import load_config
from imgtrain.config.preprocessing import needs_featurewise_statistics
from imgtrain.config.schema import PreprocessingConfig
from imgtrain.dataset.index import ImageFolder, index_folder
from imgtrain.dataset.split import Split, name_ignored, split_data
from imgtrain.errors import ConfigError, DataError, Problem
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.run.model_metadata import ModelMetadata

__all__ = ["EvalInputs", "resolve_eval_inputs"]

# The name that problems give to the place of what the command line said.
_DATA_OPTION = "--data"
# What the split of an evaluation is called, in progress, predictions and scores.
_NAME = "evaluation"

_COLOR_MODES = {1: "grayscale", 3: "rgb", 4: "rgba"}
_LOSSES = {
    "binary": "binary_crossentropy",
    "categorical": "categorical_crossentropy",
    "sparse": "sparse_categorical_crossentropy",
}


@dataclass(frozen=True, slots=True, eq=False)
class EvalInputs:
    """The images of an evaluation, and what the model's outputs for them mean.

    Attributes:
        split: The images, named `evaluation`; labels follow the model's classes.
        settings: What every image is brought to.
        class_mode: Form of labels and outputs.
        threshold: Binary: the probability from which the second class is predicted; None for more classes.
        abstain_below: Probability of the predicted class below which the answer is "unsure"; None never is.
        preprocessing: What a model that imgtrain did not make wants done to raw pixels; None if the model does it.
        loss: The Keras loss that the scores name.
        group_by: As `data.group_by`: intervals are over groups.
        on_bad_image: As `data.on_bad_image`.
        majority_label: The most frequent class of the training images; None if it is not known.
        warnings: Sentences to show.
    """

    split: Split
    settings: DecodeSettings
    class_mode: ClassMode
    threshold: float | None
    abstain_below: float | None
    preprocessing: PreprocessingConfig | None
    loss: str
    group_by: str | None = None
    on_bad_image: Literal["error", "skip"] = "error"
    majority_label: int | None = None
    warnings: tuple[str, ...] = ()


def resolve_eval_inputs(
    record: ModelMetadata | None,
    *,
    model: str,
    input_shape: tuple[int, int, int],
    units: int,
    folder: Path | None,
    config: Path | None,
    rescale: str | float | None,
    classes: tuple[str, ...] | None,
) -> EvalInputs:
    """Find the images that a model is to be evaluated on.

    Args:
        record: What the model file says of itself; None for a model that imgtrain did not make.
        model: The model file, as shown in errors.
        input_shape: (height, width, channels) that the model takes.
        units: Number of the model's outputs.
        folder: What `--data` said.
        config: What `--config` said.
        rescale: What `--rescale` said.
        classes: What `--classes` said.

    Raises:
        ConfigError: Something is not said that must be, or said although the model knows better.
        DataError: The folder does not hold images of the model's classes.
    """
    if record is not None:
        return _by_record(record, model, folder, config, rescale, classes)
    if config is not None:
        return _by_config(config, model, input_shape, units, folder, rescale, classes)
    return _by_options(model, input_shape, units, folder, rescale, classes)


def _by_record(
    record: ModelMetadata,
    model: str,
    folder: Path | None,
    config: Path | None,
    rescale: str | float | None,
    classes: tuple[str, ...] | None,
) -> EvalInputs:
    problems = [
        Problem(option, f"is for models that imgtrain did not make; {model} brings {what}", "leave it out")
        for option, given, what in (
            ("--rescale", rescale, "its preprocessing in itself"),
            ("--classes", classes, f"its classes: {', '.join(record.class_names)}"),
        )
        if given is not None
    ]
    if config is not None and folder is not None:
        problems.append(Problem("--config", "says which images, as --data does", "give one of the two"))
    if problems:
        raise ConfigError(problems)
    warnings: tuple[str, ...] = ()
    if config is not None:
        split, warnings = _test_split(config)
        if split.class_names != record.class_names:
            raise DataError(
                Problem(
                    str(config),
                    f"its classes are {', '.join(split.class_names)}, the model's are "
                    f"{', '.join(record.class_names)}",
                )
            )
    else:
        split = _whole(_folder_of_record(record, model, folder))
        warnings = (*_missing_classes(split), *name_ignored([split.folder]))
    return EvalInputs(
        split=split,
        settings=DecodeSettings(*record.target_size, record.color_mode, record.interpolation, record.resize),
        class_mode=record.class_mode,
        threshold=record.threshold,
        abstain_below=record.abstain_below,
        preprocessing=None,
        loss=record.loss or _LOSSES[record.class_mode],
        group_by=record.group_by,
        on_bad_image=record.on_bad_image,
        majority_label=None
        if record.majority_class is None
        else record.class_names.index(record.majority_class),
        warnings=warnings,
    )


def _folder_of_record(record: ModelMetadata, model: str, folder: Path | None) -> ImageFolder:
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
                    str(folder),
                    "the test folder that the model was trained with is not there",
                    "name another with --data FOLDER",
                )
            )
    return index_folder(
        folder.absolute(),
        class_names=record.class_names,
        nested=record.nested,
        follow_links=record.follow_links,
        where=_DATA_OPTION,
    )


def _by_config(
    config_path: Path,
    model: str,
    input_shape: tuple[int, int, int],
    units: int,
    folder: Path | None,
    rescale: str | float | None,
    classes: tuple[str, ...] | None,
) -> EvalInputs:
    config = load_config(config_path)
    data = config.data
    problems = [
        Problem(option, f"{config_path} says it already", "give one of the two")
        for option, given in (("--rescale", rescale), ("--classes", classes))
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
    if folder is None:
        split, warnings = _test_split(config_path)
    else:
        index = index_folder(
            folder.absolute(),
            class_names=data.classes,
            nested=data.nested,
            follow_links=data.follow_links,
            where=_DATA_OPTION,
        )
        split = _whole(index)
        warnings = (*_missing_classes(split), *name_ignored([split.folder]))
    _refuse_other_count(split.class_names, units, model)
    threshold = config.evaluation.threshold
    return EvalInputs(
        split=split,
        settings=DecodeSettings.of(data),
        class_mode=data.class_mode,
        threshold=(threshold if isinstance(threshold, float) else 0.5) if units == 1 else None,
        abstain_below=None,
        preprocessing=config.preprocessing,
        loss=resolve_loss(config),
        group_by=data.group_by,
        on_bad_image=data.on_bad_image,
        warnings=warnings,
    )


def _by_options(
    model: str,
    input_shape: tuple[int, int, int],
    units: int,
    folder: Path | None,
    rescale: str | float | None,
    classes: tuple[str, ...] | None,
) -> EvalInputs:
    problems = []
    if folder is None:
        problems.append(Problem(model, "says nothing of its test images", "name them: --data FOLDER"))
    if rescale is None:
        problems.append(
            Problem(
                model,
                "was not made by imgtrain, so how its inputs were scaled is not known",
                "say it: `--rescale 1/255` as in most scripts, `--rescale 1` for raw pixels; or give --config CONFIG",
            )
        )
    if problems:
        raise ConfigError(problems)
    assert folder is not None
    assert rescale is not None
    height, width, channels = input_shape
    index = index_folder(
        folder.absolute(), class_names=classes, nested=False, follow_links=False, where=_DATA_OPTION
    )
    _refuse_other_count(index.class_names, units, model)
    split = _whole(index)
    class_mode: ClassMode = "binary" if units == 1 else "categorical"
    return EvalInputs(
        split=split,
        # As flow_from_directory reads by default, which such models are trained with.
        settings=DecodeSettings(height, width, _COLOR_MODES[channels], "nearest", "stretch"),
        class_mode=class_mode,
        threshold=0.5 if units == 1 else None,
        abstain_below=None,
        preprocessing=_preprocessing(rescale),
        loss=_LOSSES[class_mode],
        warnings=(*_missing_classes(split), *name_ignored([split.folder])),
    )


def _preprocessing(rescale: str | float) -> PreprocessingConfig:
    try:
        return PreprocessingConfig.model_validate({"rescale": rescale})
    except ValidationError:
        raise ConfigError(
            Problem("--rescale", f"must be a number or a fraction such as 1/255; got {rescale!r}")
        ) from None


def _test_split(config_path: Path) -> tuple[Split, tuple[str, ...]]:
    """Return the test images of a configuration, and what the user should know of them."""
    config = load_config(config_path)
    test = split_data(config).test
    if test is None:
        raise ConfigError(
            Problem(config.where("data"), "names no test images", "set data.test, or give --data FOLDER")
        )
    split = replace(test, name=_NAME)
    return split, (*_missing_classes(split), *name_ignored([split.folder]))


def _whole(folder: ImageFolder) -> Split:
    return Split(_NAME, folder, np.arange(len(folder), dtype=np.intp))


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


def _missing_classes(split: Split) -> tuple[str, ...]:
    missing = [name for name, count in zip(split.class_names, split.counts(), strict=True) if not count]
    return (f"there are no images of {', '.join(missing)}: their scores say nothing",) if missing else ()


def _shape(shape: tuple[int, int, int]) -> str:
    return "×".join(map(str, shape))
