"""The configuration: frozen pydantic sections. Every default stands in this file and nowhere else.

The names, meanings and defaults of `preprocessing` and `augmentation` are those of Keras's
`ImageDataGenerator`. The descriptions are printed in the reference page and in the JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.fault import Fault, FaultyValueError
from imgtrain.config.source import ConfigSource
from imgtrain.config.wording import Wording, shown
from imgtrain.errors import did_you_mean

__all__ = [
    "AugmentationConfig",
    "Config",
    "DataConfig",
    "EarlyStoppingConfig",
    "EvaluationConfig",
    "LayerSpec",
    "ModelConfig",
    "OptimizerSpec",
    "OutputConfig",
    "PreprocessingConfig",
    "ReduceLROnPlateauConfig",
    "ScheduleConfig",
    "TrainingConfig",
]


def _no_bool(value: object) -> object:
    """Refuse true and false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "not a number")
    return value


def _number_or_fraction(value: object) -> object:
    """Turn `1/255` and its like into a number; anything else is left to pydantic."""
    if isinstance(value, str) and (match := re.fullmatch(r"([^/]+)/([^/]+)", value)):
        try:
            return float(match[1]) / float(match[2])
        except ZeroDivisionError:
            raise ValueError(f"is {shown(value)}; the denominator is zero") from None
        except ValueError:
            return value
    return value


def _number_as_text(value: object) -> object:
    """Take 7 for the name `7`, as folders of digits are called."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _path_with_text(value: object) -> object:
    if isinstance(value, str | Path) and (not str(value) or "\0" in str(value)):
        raise PydanticCustomError("path_type", "not a path")
    return value


Whole = Annotated[int, BeforeValidator(_no_bool)]
Finite = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Fraction = Annotated[
    Finite,
    BeforeValidator(_number_or_fraction),
    Wording("a number, or a fraction such as 1/255"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^[^/]+/[^/]+$"}]}),
]
Side = Annotated[Whole, Field(ge=1, le=16384)]
BlurSigma = Annotated[Finite, Field(ge=0, le=100)]
JpegQuality = Annotated[Whole, Field(ge=1, le=100)]
Name = Annotated[str, StringConstraints(min_length=1)]
# Editors read 7 as a number and `no` as false; both are names here.
_TEXT_OR_LIKE_IT = WithJsonSchema({"type": ["string", "number", "boolean", "null"], "minLength": 1})
ClassName = Annotated[Name, BeforeValidator(_number_as_text), _TEXT_OR_LIKE_IT]
FilePath = Annotated[Path, BeforeValidator(_path_with_text)]
# A whole number stays one: ImageDataGenerator reads 5 and 5.0 differently, and a warning tells them apart.
# True and false are refused outside of the union: inside it, pydantic could not tell 5 from 5.0 any more.
ShiftRange = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, allow_inf_nan=False)] | tuple[Finite, ...],
    BeforeValidator(_no_bool),
    Wording("a number from 0 or a list of numbers"),
]


class Section(BaseModel):
    """The base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True
    )


class DataConfig(Section):
    """Which images, and how they become pixels."""

    train: FilePath
    """Folder with one sub-folder per class. Relative paths are relative to the configuration file."""
    validation: FilePath | None = None
    """Folder with the same sub-folders, for choosing the best epoch; or use `validation_split`."""
    validation_split: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    """Share of the training images that is held out for validation, stratified by class and drawn with \
`training.seed`; 0 < share < 1."""
    test: FilePath | None = None
    """Folder with the same sub-folders, for the final evaluation only."""
    target_size: tuple[Side, Side] = (256, 256)
    """Height and width in pixels that every image is resized to."""
    color_mode: Literal["rgb", "rgba", "grayscale"] = "rgb"
    """Channels of every image: 3, 4 or 1."""
    class_mode: Literal["categorical", "binary", "sparse"] = "categorical"
    """Form of the labels: one-hot rows, one float column of 0 and 1 (exactly two classes, the second of \
`classes` is the positive one), or integers."""
    classes: tuple[ClassName, ...] | None = None
    """Class names in the order of their labels; default: the sorted names of the training sub-folders."""
    batch_size: Annotated[Whole, Field(ge=1)] = 32
    """Images in a batch; the last batch of an epoch may be smaller."""
    shuffle: bool = True
    """Draw the training images in a new order every epoch."""
    balance: Literal["oversample"] | None = None
    """`oversample`: every class is drawn as often as the largest, each copy augmented anew."""
    interpolation: Literal["bilinear", "nearest", "bicubic", "lanczos", "box", "hamming"] = "bilinear"
    """Filter for resizing, by Pillow's names."""
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    """`stretch` ignores the aspect ratio, `crop` keeps it and cuts the centre, `pad` keeps it and fills \
with black."""
    group_by: str | None = None
    """Regular expression with one group, searched in the relative path: images with the same text in the \
group (a patient, a video, a plant) are never divided between training and validation."""
    nested: bool = False
    """Images may lie deeper than the class folder: `Fruit/Apple/1.jpg` is a `Fruit`."""
    follow_links: bool = False
    """Enter folders that are symbolic links."""
    on_bad_image: Literal["error", "skip"] = "error"
    """A file that cannot be decoded stops the run, or is skipped and listed in the run."""
    on_leak: Literal["error", "warn"] = "error"
    """A training image whose decoded pixels also stand in the test folder stops the run, or is a warning."""
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Where decoded pixels are kept: `disk` in a packed file that later runs use again, `memory` for \
this run only, `none` decodes every epoch; `auto` is `disk`, or the next that fits."""
    cache_directory: FilePath | None = None
    """Folder of the disk cache; default: the platform's cache directory."""
    split_file: FilePath | None = None
    """CSV file with the columns path, split and, if wanted, class: which file belongs to train, validation \
or test; it overrides the folders' own splits."""

    @field_validator("group_by")
    @classmethod
    def _compiles_with_one_group(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise ValueError(f"is {shown(value)}, which is no regular expression: {error}") from None
        if pattern.groups != 1:
            raise ValueError(
                f"is {shown(value)}; it needs exactly one group in parentheses, has {pattern.groups}"
            )
        return value

    # Contradictions are found at the later of two fields, not for the whole section, which pydantic would
    # only look at when every field in it is right.

    @field_validator("validation_split")
    @classmethod
    def _one_source_of_validation(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("validation") is not None:
            what = "validation and validation_split exclude each other"
            raise FaultyValueError([Fault((), what, "keep one of them")])
        return value

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if value is None:
            return None
        _refuse_repeated(value, "class")
        if len(value) < 2:
            raise ValueError(f"is {shown(value)}; at least two classes are needed")
        if len(value) > 2 and info.data.get("class_mode") == "binary":
            what = f"names {len(value)} classes, and class_mode binary needs exactly two"
            raise FaultyValueError([Fault((), what, "set data.class_mode to categorical or sparse")])
        return value

    @property
    def channels(self) -> int:
        """Number of channels of a decoded image: 1, 3 or 4."""
        return {"grayscale": 1, "rgb": 3, "rgba": 4}[self.color_mode]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a decoded image."""
        return (*self.target_size, self.channels)


class PreprocessingConfig(Section):
    """How pixel values 0 to 255 become network inputs; part of the saved model, in the order given here."""

    rescale: Fraction = 1 / 255
    """Factor on every pixel value; `1/255` and numbers."""
    samplewise_center: bool = False
    """Subtract each image's own mean."""
    samplewise_std_normalization: bool = False
    """Divide each image by its own standard deviation."""
    featurewise_center: bool = False
    """Subtract the mean of each channel over the training images."""
    featurewise_std_normalization: bool = False
    """Divide by the standard deviation of each channel over the training images."""
    zca_whitening: bool = False
    """Decorrelate all values of an image with the covariance of the training images; for small images."""
    zca_epsilon: Annotated[Finite, Field(gt=0)] = 1e-6
    """Added to the singular values in ZCA whitening."""

    @field_validator("rescale")
    @classmethod
    def _not_zero(cls, value: float) -> float:
        if value == 0:
            raise ValueError("is 0, which would make every image black")
        return value


class RandAugmentConfig(Section):
    """Random operations on each image, as in `torchvision.transforms.v2.RandAugment`."""

    layers: Annotated[Whole, Field(ge=1, le=8)] = 2
    """Operations applied to each image, one after the other; 1 to 8. The same operation may be drawn twice."""
    magnitude: Annotated[Whole, Field(ge=0, le=30)] = 9
    """Strength of every operation on torchvision's scale; 0 to 30."""


class ColorJitterConfig(Section):
    """Random changes of color, in random order, as in `torchvision.transforms.v2.ColorJitter`."""

    brightness: Annotated[Finite, Field(ge=0)] = 0.0
    """Multiply all channels by a factor from [max(0, 1-b), 1+b]."""
    contrast: Annotated[Finite, Field(ge=0)] = 0.0
    """Scale the distance from the image's mean gray level by a factor from [max(0, 1-c), 1+c]."""
    saturation: Annotated[Finite, Field(ge=0)] = 0.0
    """Scale the distance from each pixel's gray level by a factor from [max(0, 1-s), 1+s]."""
    hue: Annotated[Finite, Field(ge=0, le=0.5)] = 0.0
    """Rotate the hue by up to this fraction of the color circle, either way; 0 to 0.5."""


class AugmentationConfig(Section):
    """Random changes of training images; `ImageDataGenerator`'s names and meanings up to `interpolation_order`."""

    rotation_range: Annotated[Finite, Field(ge=0)] = 0.0
    """Turn by up to this many degrees, either way."""
    width_shift_range: ShiftRange = 0.0
    """Move horizontally by up to this fraction of the width if below 1, or pixels from 1 on; a list: one of \
its values with a random sign."""
    height_shift_range: ShiftRange = 0.0
    """Move vertically by up to this fraction of the height if below 1, or pixels from 1 on; a list: one of \
its values with a random sign."""
    shear_range: Annotated[Finite, Field(ge=0)] = 0.0
    """Shear by up to this many degrees, either way."""
    zoom_range: Annotated[Finite, Field(ge=0, lt=1)] | tuple[Finite, Finite] = 0.0
    """Scale height and width, each for itself, by a factor from [1-z, 1+z], or from [low, high]; a factor \
below 1 magnifies."""
    brightness_range: tuple[Finite, Finite] | None = None
    """Multiply by a factor from [low, high]; 1 changes nothing."""
    channel_shift_range: Annotated[Finite, Field(ge=0)] = 0.0
    """Add up to this much, either way, to all channels, within the image's own darkest and brightest value; \
pixel values 0 to 255."""
    horizontal_flip: bool = False
    """Mirror left and right in half of the draws."""
    vertical_flip: bool = False
    """Mirror top and bottom in half of the draws."""
    fill_mode: Literal["nearest", "constant", "reflect", "wrap"] = "nearest"
    """What fills the pixels that come from outside the image."""
    cval: Annotated[Finite, Field(ge=0, le=255)] = 0.0
    """Pixel value 0 to 255 for `fill_mode: constant`."""
    interpolation_order: Literal[0, 1, 3] = 1
    """0 nearest, 1 linear, 3 cubic."""
    randaugment: RandAugmentConfig | None = None
    """RandAugment: `layers` random operations of strength `magnitude` on each image; null turns it off."""
    color_jitter: ColorJitterConfig | None = None
    """Random brightness, contrast, saturation and hue; null turns it off."""
    grayscale: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    """Probability that an image loses its color; 0 to 1."""
    gaussian_blur: tuple[BlurSigma, BlurSigma] | None = None
    """Blur with a Gaussian whose standard deviation is drawn from [low, high], in pixels."""
    jpeg_quality: tuple[JpegQuality, JpegQuality] | None = None
    """Compress as JPEG with a quality drawn from [low, high]; whole numbers from 1 (worst) to 100."""
    erasing: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    """Probability that a random rectangle of the image, 2 to 33 % of its area, is filled with noise; 0 to 1."""

    @field_validator("zoom_range", "brightness_range")
    @classmethod
    def _low_to_high(cls, value: Any) -> Any:
        if isinstance(value, tuple):
            low, high = value
            if low > high:
                raise ValueError(f"is {shown(value)}; the lower factor stands first")
            if low < 0:
                raise ValueError(f"is {shown(value)}; a factor is 0 or more")
        return value

    @field_validator("zoom_range")
    @classmethod
    def _zoom_above_zero(cls, value: Any) -> Any:
        if isinstance(value, tuple) and value[0] <= 0:
            raise ValueError(f"is {shown(value)}; a factor of 0 would magnify one pixel without end")
        return value

    @field_validator("gaussian_blur", "jpeg_quality")
    @classmethod
    def _low_first(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"is {shown(value)}; allowed: [low, high] with low <= high")
        return value

    @field_validator("width_shift_range", "height_shift_range")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if isinstance(value, tuple) and not value:
            raise ValueError("is an empty list, which has no value to choose")
        return value

    @property
    def changes_nothing(self) -> bool:
        """Whether every image stays as it is."""
        neutral = AugmentationConfig()
        return all(
            getattr(self, name) == getattr(neutral, name)
            for name in type(self).model_fields
            if name not in ("fill_mode", "cval", "interpolation_order")
        )


class LayerSpec(Section):
    """A Keras layer by name, with its arguments."""

    name: str
    """A layer class of `keras.layers`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its constructor's arguments."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        """Accept `Flatten`, `{Dropout: 0.2}`, `{Conv2D: {filters: 16, …}}` and the two fields themselves."""
        if isinstance(value, LayerSpec):
            return value
        if isinstance(value, Mapping) and set(value) == {"name", "arguments"}:
            value = {value["name"]: value["arguments"]}
        if isinstance(value, str):
            value = {value: None}
        if not isinstance(value, Mapping) or len(value) != 1:
            what = f"is {shown(value)}; allowed: a layer's name, alone or with its arguments"
            raise FaultyValueError([Fault((), what, "such as `Conv2D: {filters: 16, kernel_size: 3}`")])
        ((name, given),) = value.items()
        signature = load_catalogue().layer(str(name))
        try:
            arguments = signature.bind(given)
        except FaultyValueError as error:
            raise error.below(str(name)) from None
        return {"name": signature.name, "arguments": arguments}

    @model_serializer(mode="plain")
    def _to_short_form(self) -> Any:
        return {self.name: self.arguments} if self.arguments else self.name


class OptimizerSpec(Section):
    """A Keras optimizer by name, with its arguments."""

    name: str
    """A class of `keras.optimizers`; accepted in any case: `adam`, `rmsprop`, `sgd`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its constructor's arguments."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        """Accept `adam`, `{name: adam, beta_1: 0.8}` and the two fields themselves."""
        if isinstance(value, OptimizerSpec):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            what = (
                f"is {shown(value)}; allowed: an optimizer's name, or a mapping of its name and its arguments"
            )
            raise FaultyValueError([Fault((), what, "such as `{name: rmsprop, learning_rate: 0.001}`")])
        try:
            signature = load_catalogue().optimizer(value["name"])
        except FaultyValueError as error:
            raise error.below("name") from None
        given = {key: argument for key, argument in value.items() if key != "name"}
        if set(given) == {"arguments"}:
            given = given["arguments"]
        arguments = signature.bind(given)
        rate = arguments.get("learning_rate", 1)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
            raise FaultyValueError(
                [Fault(("learning_rate",), f"is {shown(rate)}; allowed: a number above 0")]
            )
        return {"name": signature.name, "arguments": arguments}

    @model_serializer(mode="plain")
    def _to_short_form(self) -> Any:
        name = self.name.lower()
        return {"name": name, **self.arguments} if self.arguments else name


Layer = Annotated[LayerSpec, Wording("a layer's name, alone or with its arguments")]
Optimizer = Annotated[
    OptimizerSpec, Wording("an optimizer's name; or a mapping with its name and its arguments")
]


class ModelConfig(Section):
    """The network between the preprocessing and the output."""

    layers: Annotated[tuple[Layer, ...], Field(min_length=1)] = Field(
        default_factory=lambda: tuple(
            LayerSpec.model_validate(layer)
            for layer in (
                {"Conv2D": {"filters": 16, "kernel_size": 3, "padding": "same", "activation": "relu"}},
                {"MaxPooling2D": 2},
                {"Conv2D": {"filters": 32, "kernel_size": 3, "padding": "same", "activation": "relu"}},
                {"MaxPooling2D": 2},
                {"Conv2D": {"filters": 64, "kernel_size": 3, "padding": "same", "activation": "relu"}},
                {"MaxPooling2D": 2},
                "Flatten",
                {"Dropout": 0.5},
                {"Dense": {"units": 128, "activation": "relu"}},
            )
        )
    )
    """Keras layers by name, with their arguments by name or one positional value. A last `Dense` with \
sigmoid or softmax is the output and must fit `data.class_mode`; without one, the output is added."""

    @field_validator("layers")
    @classmethod
    def _names_differ(cls, value: tuple[LayerSpec, ...]) -> tuple[LayerSpec, ...]:
        _refuse_repeated([layer.arguments.get("name") for layer in value], "layer")
        return value


# The options of each schedule of imgtrain's own, besides the warm-up, which all of them take.
SCHEDULE_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cosine": ("final",),
        "linear": ("final",),
        "exponential": ("factor",),
        "step": ("factor", "every_epochs", "at_epochs"),
        "one_cycle": (),
    }
)
_WARMUP = ("warmup_epochs", "warmup_steps")


class ScheduleConfig(Section):
    """How the learning rate changes from batch to batch; the optimizer's `learning_rate` is its highest value."""

    name: Name
    """`cosine`, `linear`, `exponential`, `step`, `one_cycle`, or a class of `keras.optimizers.schedules` with \
its own arguments beside the name."""
    warmup_epochs: Annotated[Finite, Field(ge=0)] | None = None
    """Epochs over which the learning rate rises linearly from 0; parts of an epoch are allowed. Default: 1, or \
30 % of the epochs for `one_cycle`."""
    warmup_steps: Annotated[Whole, Field(ge=0)] | None = None
    """The same in batches; give one of the two."""
    final: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    """`cosine` and `linear`: share of the highest learning rate that is left at the end."""
    factor: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    """`exponential`: the learning rate is multiplied by this every epoch, default 0.95; `step`: at every step, \
default 0.1."""
    every_epochs: Annotated[Whole, Field(ge=1)] | None = None
    """`step`: epochs from one step to the next; default: a third of all epochs."""
    at_epochs: tuple[Annotated[Whole, Field(ge=1)], ...] | None = None
    """`step`: the epochs after which the learning rate drops, instead of `every_epochs`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """The arguments of a Keras schedule."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        """Accept `cosine`, `{name: step, factor: 0.5}` and a Keras schedule with its own arguments."""
        if isinstance(value, ScheduleConfig):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            what = f"is {shown(value)}; allowed: a schedule's name, or a mapping of its name and its options"
            raise FaultyValueError([Fault((), what, "such as `{name: cosine, warmup_epochs: 1}`")])
        name = value["name"]
        given = {key: option for key, option in value.items() if key != "name"}
        if name in SCHEDULE_OPTIONS:
            return {"name": name, **cls._check_options(name, given)}
        try:
            signature = load_catalogue().schedule(name, also=tuple(SCHEDULE_OPTIONS))
        except FaultyValueError as error:
            raise error.below("name") from None
        if set(given) == {"arguments"}:
            given = given["arguments"]
        return {"name": signature.name, "arguments": signature.bind(given)}

    @classmethod
    def _check_options(cls, name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        allowed = (*_WARMUP, *SCHEDULE_OPTIONS[name])
        faults = [
            Fault(
                (str(key),),
                f"{name} has no option {shown(key)}",
                did_you_mean(str(key), allowed) or f"its options: {', '.join(allowed)}",
            )
            for key in given
            if key not in allowed
        ]
        faults += [
            Fault((second,), f"{first} and {second} exclude each other", "keep one of them")
            for first, second in (_WARMUP, ("every_epochs", "at_epochs"))
            if given.get(first) is not None and given.get(second) is not None
        ]
        if faults:
            raise FaultyValueError(faults)
        return given

    @model_serializer(mode="plain")
    def _to_short_form(self) -> Any:
        neutral = {"final": 0.0, "arguments": {}}
        options = {
            name: getattr(self, name)
            for name in (*_WARMUP, "final", "factor", "every_epochs", "at_epochs")
            if getattr(self, name) != neutral.get(name)
        }
        return {"name": self.name, **options, **self.arguments} if options or self.arguments else self.name


Schedule = Annotated[ScheduleConfig, Wording("a schedule's name; or a mapping with its name and its options")]


class EarlyStoppingConfig(Section):
    """When training ends before its last epoch, as in `keras.callbacks.EarlyStopping`."""

    monitor: Name = "val_loss"
    """The metric that is watched."""
    patience: Annotated[Whole, Field(ge=0)] = 4
    """Epochs without an improvement before training ends."""
    min_delta: Annotated[Finite, Field(ge=0)] = 0.0
    """The smallest change that counts as an improvement."""
    mode: Literal["auto", "min", "max"] = "auto"
    """Whether the metric should fall or rise; `auto` knows by its name."""
    start_from_epoch: Annotated[Whole, Field(ge=0)] = 0
    """Epochs before watching begins."""
    restore_best_weights: bool = True
    """Keep the weights of the best epoch instead of the last."""


class ReduceLROnPlateauConfig(Section):
    """When the learning rate is lowered, as in `keras.callbacks.ReduceLROnPlateau`."""

    monitor: Name = "val_loss"
    """The metric that is watched."""
    factor: Annotated[Finite, Field(gt=0, lt=1)] = 0.1
    """The new learning rate is the old one times this."""
    patience: Annotated[Whole, Field(ge=0)] = 10
    """Epochs without an improvement before the learning rate is lowered."""
    min_delta: Annotated[Finite, Field(ge=0)] = 0.0001
    """The smallest change that counts as an improvement."""
    cooldown: Annotated[Whole, Field(ge=0)] = 0
    """Epochs to wait after lowering."""
    min_lr: Annotated[Finite, Field(ge=0)] = 0.0
    """The learning rate never goes below this."""
    mode: Literal["auto", "min", "max"] = "auto"
    """Whether the metric should fall or rise; `auto` knows by its name."""


class TrainingConfig(Section):
    """How the network is trained."""

    epochs: Annotated[Whole, Field(ge=1)] = 10
    """The most epochs that are trained."""
    optimizer: Optimizer = Field(default_factory=lambda: OptimizerSpec.model_validate("adam"))
    """A name, or a name with arguments: `{name: rmsprop, learning_rate: 0.001}`."""
    schedule: Schedule | None = None
    """How the learning rate changes over the whole training, batch by batch; null keeps it constant."""
    gradient_accumulation: Annotated[Whole, Field(ge=1)] = 1
    """Batches whose gradients are averaged before each update of the weights."""
    ema: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    """Momentum of a moving average of the weights, such as 0.999; the average is validated, kept and saved."""
    loss: Annotated[Name, Wording("auto or a loss's name")] = "auto"
    """A Keras loss by name; `auto` follows `data.class_mode`."""
    metrics: tuple[Annotated[Name, Wording("a metric's name")], ...] = ("accuracy",)
    """Keras metrics by name, shown and written for every epoch."""
    early_stopping: EarlyStoppingConfig | None = Field(default_factory=EarlyStoppingConfig)
    """When training ends before its last epoch; null turns it off."""
    reduce_lr_on_plateau: ReduceLROnPlateauConfig | None = None
    """When the learning rate is lowered; null turns it off."""
    steps_per_epoch: Annotated[Whole, Field(ge=1)] | None = None
    """Batches in an epoch; default: every image once."""
    validation_steps: Annotated[Whole, Field(ge=1)] | None = None
    """Batches in a validation pass; default: every image once."""
    class_weight: Literal["balanced"] | dict[ClassName, Annotated[Finite, Field(ge=0)]] | None = None
    """Weight of each class in the loss, by its name; `balanced` is inverse to its share of the images."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the training step; `auto` is what the hardware is fast at. The saved model is \
float32."""
    checkpoint_minutes: Annotated[Finite, Field(gt=0)] = 5.0
    """Minutes between checkpoints inside an epoch; one is also written at its end, unless that would come to \
more than 2 % of the time."""
    tensorboard: bool = False
    """Write curves, confusion matrices and sample images for TensorBoard to `tensorboard` in the run; needs \
`pip install 'imgtrain[tensorboard]'`."""
    mlflow: Name | None = None
    """Name of the MLflow experiment that gets parameters, curves, scores, model and report; \
`MLFLOW_TRACKING_URI` says where it is kept; needs `pip install 'imgtrain[mlflow]'`."""
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 0
    """The seed of everything random: split, order, augmentation, initial weights, Dropout."""

    @field_validator("loss")
    @classmethod
    def _loss_exists(cls, value: str) -> str:
        return value if value == "auto" else load_catalogue().loss(value)

    @field_validator("metrics")
    @classmethod
    def _metrics_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        faults: list[Fault] = []
        for position, name in enumerate(value):
            try:
                load_catalogue().metric(name)
            except FaultyValueError as error:
                faults += error.below(position).faults
        if faults:
            raise FaultyValueError(faults)
        _refuse_repeated(value, "metric")
        return value


class PrecisionTarget(Section):
    """The lowest threshold that reaches a precision on validation."""

    precision: Annotated[Finite, Field(gt=0, le=1)]
    """Precision of the positive class wanted on validation."""


class RecallTarget(Section):
    """The highest threshold that reaches a recall on validation."""

    recall: Annotated[Finite, Field(gt=0, le=1)]
    """Recall of the positive class wanted on validation."""


class EvaluationConfig(Section):
    """How probabilities become decisions."""

    threshold: Annotated[
        Annotated[float, Field(gt=0, lt=1)] | Literal["f1", "youden"] | PrecisionTarget | RecallTarget,
        BeforeValidator(_no_bool),
    ] = 0.5
    """Binary only: the probability from which the positive class is predicted; a number, or how to choose \
it on validation."""
    abstain: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    """Accuracy wanted of the answers given, reached on validation by saying "unsure"."""
    calibrate: bool = False
    """Divide the logits by a temperature fitted on validation, so that probabilities are as sure as they are \
right; becomes part of the saved model."""


class OutputConfig(Section):
    """Where the run goes."""

    directory: FilePath | None = None
    """The run directory; default: `runs/<configuration's name>` below the current directory."""
    model: str = "model.keras"
    """File name of the saved model; ends in `.keras` or `.h5`."""

    @field_validator("model")
    @classmethod
    def _is_a_model_file_name(cls, value: str) -> str:
        if not value.endswith((".keras", ".h5")):
            raise ValueError(f"is {shown(value)}; allowed: a file name that ends in .keras or .h5")
        if "/" in value or "\\" in value or "\0" in value or value.startswith("."):
            raise ValueError(f"is {shown(value)}; allowed: a file name without folders, in the run directory")
        return value


def _refuse_repeated(names: Sequence[str | None], noun: str) -> None:
    faults: list[Fault] = [
        Fault((position,), f"names the {noun} {shown(name)} a second time")
        for position, name in enumerate(names)
        if name is not None and name in names[:position]
    ]
    if faults:
        raise FaultyValueError(faults)


class Config(Section):
    """Everything that was asked."""

    data: DataConfig
    """Which images, and how they become pixels."""
    preprocessing: PreprocessingConfig = Field(default_factory=PreprocessingConfig)
    """How pixel values become network inputs; part of the saved model."""
    augmentation: AugmentationConfig = Field(default_factory=AugmentationConfig)
    """Random changes of training images."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The network."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """How the network is trained."""
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """How probabilities become decisions."""
    output: OutputConfig = Field(default_factory=OutputConfig)
    """Where the run goes."""

    _source: ConfigSource = PrivateAttr(default_factory=ConfigSource)

    @model_validator(mode="before")
    @classmethod
    def _empty_sections_are_defaults(cls, value: Any) -> Any:
        """Take a section that is written without any key like one that is not written."""
        if not isinstance(value, Mapping):
            return value
        return {"data": {}} | {
            key: {} if given is None and key in cls.model_fields else given for key, given in value.items()
        }

    def where(self, *path: str | int) -> str:
        """Return `file:line: dotted.path` of a key, for error messages; the path alone without a file."""
        return self._source.where(*path)
