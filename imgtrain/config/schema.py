"""The configuration: frozen pydantic models. Every default is defined in this file and nowhere else.

The names, meanings and defaults of `preprocessing` and `augmentation` are those of Keras's
`ImageDataGenerator`. The field descriptions become the reference page and the JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
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
from imgtrain.config.wording import Wording, format_value
from imgtrain.errors import did_you_mean
from imgtrain.run.color_modes import CHANNELS
from imgtrain.run.model_metadata import MOST_GROUP_BY_CHARACTERS
from imgtrain.text import printable

__all__ = [
    "AugmentationConfig",
    "BackboneConfig",
    "Config",
    "DataConfig",
    "EarlyStoppingConfig",
    "EvaluationConfig",
    "FineTuneConfig",
    "LabelsConfig",
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
    """Reject booleans, which Python treats as 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "not a number")
    return value


def _number_or_fraction(value: object) -> object:
    """Convert fractions such as `1/255` to a number; anything else is left to pydantic."""
    if isinstance(value, str) and (match := re.fullmatch(r"([^/]+)/([^/]+)", value)):
        try:
            return float(match[1]) / float(match[2])
        except ZeroDivisionError:
            raise ValueError(f"must not have a zero denominator; got {format_value(value)}") from None
        except ValueError:
            return value
    return value


def _square_size(value: object) -> object:
    """Convert the side of a square to height and width."""
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number_as_text(value: object) -> object:
    """Convert the number 7 to the name `7`, for folders of digits."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _path_with_text(value: object) -> object:
    if isinstance(value, str | Path) and (not str(value) or "\0" in str(value)):
        raise PydanticCustomError("path_type", "not a path")
    return value


Whole = Annotated[int, BeforeValidator(_no_bool)]
ColorValue = Annotated[Whole, Field(ge=0, le=255)]
Finite = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Fraction = Annotated[
    Finite,
    BeforeValidator(_number_or_fraction),
    Wording("a number or a fraction such as 1/255"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^[^/]+/[^/]+$"}]}),
]
Side = Annotated[Whole, Field(ge=1, le=16384)]
# 150 means [150, 150].
Size = Annotated[
    tuple[Side, Side],
    BeforeValidator(_square_size),
    Wording("an integer in [1, 16384], or a list of two: height, width"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 16384},
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 1, "maximum": 16384},
                    "minItems": 2,
                    "maxItems": 2,
                },
            ]
        }
    ),
]
BlurSigma = Annotated[Finite, Field(ge=0, le=100)]
JpegQuality = Annotated[Whole, Field(ge=1, le=100)]
Name = Annotated[str, StringConstraints(min_length=1)]
# Editors parse 7 as a number and `no` as false; both are valid names here.
_TEXT_OR_LIKE_IT = WithJsonSchema({"type": ["string", "number", "boolean", "null"], "minLength": 1})
ClassName = Annotated[Name, BeforeValidator(_number_as_text), _TEXT_OR_LIKE_IT]
ColumnName = ClassName
FilePath = Annotated[Path, BeforeValidator(_path_with_text)]
# Integers stay integers: ImageDataGenerator interprets 5 and 5.0 differently, which triggers a warning.
# Booleans are rejected outside the union: inside it, pydantic could no longer distinguish 5 from 5.0.
ShiftRange = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, allow_inf_nan=False)] | tuple[Finite, ...],
    BeforeValidator(_no_bool),
    Wording("a number ≥ 0 or a list of numbers"),
]


class Section(BaseModel):
    """Base class of all sections: immutable, unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        use_attribute_docstrings=True,
        # Keys that are keywords of Python, such as `from`, are aliases of their fields.
        serialize_by_alias=True,
    )


class LabelsConfig(Section):
    """A CSV file with the label of every image, and optionally its split. Columns that are not given are guessed."""

    file: FilePath
    """The CSV file, with a header, separated by commas, semicolons or tabs."""
    path: ColumnName | None = None
    """Column with the path of each image: relative to `data.train`, another configured folder or the CSV file, with \
or without suffix; or a file name that is unique below these folders. Default: the column that names most images."""
    label: ColumnName | None = None
    """Column with the label. Default: the only other column, or one with a common name such as `label` or `class`."""
    split: ColumnName | None = None
    """Column with the split: train, validation or test. Default: a column named `split`, if there is one; otherwise \
the split is that of the folder (`data.train`, `data.validation`, `data.test`) that contains the image."""


class DataConfig(Section):
    """The images and how they are loaded."""

    train: FilePath
    """Folder with one subfolder per class; with `labels` or `label_pattern`, any folder of images. \
Relative paths are relative to the configuration file."""
    validation: FilePath | None = None
    """Folder with the same subfolders, used to select the best epoch. Alternative: `validation_split`."""
    validation_split: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    """Fraction of the training images to hold out for validation, stratified by class and drawn with \
`training.seed`; 0 < fraction < 1. Images with identical pixels stay together."""
    test: FilePath | None = None
    """Folder with the same subfolders, used for the final evaluation only."""
    target_size: Annotated[
        Size | Literal["auto"], Wording("auto, an integer in [1, 16384], or a list of two: height, width")
    ] = (256, 256)
    """Size [height, width] in pixels to resize all images to; 150 is [150, 150]. `auto` chooses it, like \
`imgtrain init`, from `training.minutes` and the number and sizes of the images."""
    color_mode: Literal["rgb", "rgba", "grayscale"] = "rgb"
    """Color mode to convert all images to: 3, 4 or 1 channels."""
    class_mode: Literal["categorical", "binary", "sparse"] = "categorical"
    """Type of the labels. `categorical`: one-hot vectors; `binary`: 0 or 1 (exactly two classes, the second one \
is the positive class); `sparse`: integers."""
    classes: tuple[ClassName, ...] | None = None
    """Class names in label order. Default: the sorted names of the training subfolders, or the sorted \
labels."""
    batch_size: Annotated[Whole, Field(ge=1)] = 32
    """Number of images per batch; the last batch of an epoch may be smaller."""
    shuffle: bool = True
    """Shuffle the training images in every epoch."""
    balance: Literal["oversample"] | None = None
    """`oversample`: repeat images of smaller classes until each class is as frequent as the largest one; each \
copy is augmented differently."""
    interpolation: Literal["bilinear", "nearest", "bicubic", "lanczos", "box", "hamming"] = "bilinear"
    """Interpolation for resizing, as in Pillow."""
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    """How to fit images to `target_size`. `stretch` ignores the aspect ratio; `crop` keeps it and crops the \
center; `pad` keeps it and pads with black."""
    background: tuple[ColorValue, ColorValue, ColorValue] | None = None
    """Color [red, green, blue], 0 to 255, to blend transparent images with, such as [255, 255, 255] for white, if \
`color_mode` is rgb or grayscale. null ignores transparency, as Keras does: the colors of transparent pixels \
show."""
    group_by: str | None = None
    """Regular expression with one group, searched in the relative path. Images with the same group value (a \
patient, a video, a plant) are never split between training and validation; groups that share an image are \
merged."""
    nested: bool | Literal["leaf"] = False
    """Whether class folders are searched recursively. `true`: `Fruit/Apple/1.jpg` is a `Fruit`; `leaf`: the deepest \
folders are the classes, named by their path: `Fruit/Apple`."""
    follow_links: bool = False
    """Whether to follow symbolic links to folders inside the class folders. A class folder itself can always be a \
link."""
    on_bad_image: Literal["error", "skip"] = "error"
    """What to do with a file that cannot be decoded: stop the run, or skip the file and list it in `data.json`. \
`skip` also skips rows of `labels` without a file."""
    on_leak: Literal["error", "drop", "warn"] = "error"
    """What to do if training and test images have identical pixels: stop the run, `drop` these images from the \
validation and test images and list them in `data.json`, or print a warning."""
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Where to cache decoded pixels. `disk`: a file that later runs reuse; `memory`: for this run only; `none`: \
decode in every epoch; `auto`: `disk` if possible, otherwise `memory`, otherwise `none`."""
    cache_directory: FilePath | None = None
    """Folder of the disk cache. Default: the platform's cache directory."""
    split_file: FilePath | None = None
    """CSV file with the columns `path`, `split` (train, validation or test) and optionally `class`; overrides \
the splits given by the folders."""
    labels: FilePath | LabelsConfig | None = None
    """CSV file that labels the images, instead of class folders: a path, or a mapping that names its columns."""
    label_pattern: str | None = None
    """Regular expression with one group, the label, searched in the relative path of every image in or below the \
folders, instead of class folders: `([a-z]+)\\.\\d+` for `cat.0.jpg`. Other images are ignored."""

    @field_validator("group_by", "label_pattern")
    @classmethod
    def _compiles_with_one_group(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if len(value) > MOST_GROUP_BY_CHARACTERS:
            raise ValueError(f"must have at most {MOST_GROUP_BY_CHARACTERS:,} characters; got {len(value):,}")
        try:
            pattern = re.compile(value)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"must be a regular expression; got {format_value(value)}: {error}") from None
        if pattern.groups != 1:
            raise ValueError(
                f"must have exactly one group in parentheses; {format_value(value)} has {pattern.groups}"
            )
        return value

    # Contradictions are checked at the later of two fields: pydantic only runs a validator of the whole section
    # if all of its fields are valid.

    @field_validator("validation_split")
    @classmethod
    def _one_source_of_validation(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("validation") is not None:
            what = "validation and validation_split are mutually exclusive"
            raise FaultyValueError([Fault((), what, "remove one of them")])
        return value

    @field_validator("labels", "label_pattern")
    @classmethod
    def _one_source_of_labels(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return None
        faults = [
            Fault((), f"{info.field_name} and {other} are mutually exclusive", "remove one of them")
            for other in ("labels", "nested")
            if other != info.field_name and info.data.get(other)
        ]
        if faults:
            raise FaultyValueError(faults)
        return LabelsConfig(file=value) if isinstance(value, Path) else value

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if value is None:
            return None
        _reject_duplicates(value, "class")
        if len(value) < 2:
            raise ValueError(f"must contain at least two classes; got {format_value(value)}")
        if len(value) > 2 and info.data.get("class_mode") == "binary":
            what = f"must contain exactly two classes for class_mode binary; got {len(value)}"
            raise FaultyValueError([Fault((), what, "set data.class_mode to categorical or sparse")])
        return value

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a decoded image.

        Raises:
            ValueError: `target_size` is `auto`, which `make_plan` replaces.
        """
        if self.target_size == "auto":
            raise ValueError("the size of target_size: auto is not known yet")
        return self.target_size

    @property
    def shows_transparency(self) -> bool:
        """Whether transparent pixels affect decoded images: as the alpha channel, or blended with `background`."""
        return self.color_mode == "rgba" or self.background is not None

    @property
    def has_class_folders(self) -> bool:
        """Whether the folders alone determine classes and splits: without CSV files and `label_pattern`."""
        return self.split_file is None and self.labels is None and self.label_pattern is None

    @property
    def label_file(self) -> LabelsConfig | None:
        """The CSV file of `labels`; None without one."""
        assert not isinstance(self.labels, Path)  # replaced during validation
        return self.labels

    @property
    def channels(self) -> int:
        """Number of channels of a decoded image: 1, 3 or 4."""
        return CHANNELS[self.color_mode]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a decoded image; see `size`."""
        return (*self.size, self.channels)


class PreprocessingConfig(Section):
    """How pixel values 0–255 are converted to network inputs, in this order; part of the saved model."""

    rescale: Fraction = 1 / 255
    """Factor to multiply all pixel values by: a number or a fraction."""
    samplewise_center: bool = False
    """Subtract the mean of each image."""
    samplewise_std_normalization: bool = False
    """Divide each image by its standard deviation."""
    featurewise_center: bool = False
    """Subtract the per-channel mean of the training images."""
    featurewise_std_normalization: bool = False
    """Divide by the per-channel standard deviation of the training images."""
    zca_whitening: bool = False
    """Apply ZCA whitening fitted on the training images; for small images only."""
    zca_epsilon: Annotated[Finite, Field(gt=0)] = 1e-6
    """Epsilon for ZCA whitening."""

    @field_validator("rescale")
    @classmethod
    def _not_zero(cls, value: float) -> float:
        if value == 0:
            raise ValueError("must not be 0, which would make all images black")
        return value


class RandAugmentConfig(Section):
    """Random operations on each image, as in `torchvision.transforms.v2.RandAugment`."""

    layers: Annotated[Whole, Field(ge=1, le=8)] = 2
    """Number of operations applied to each image; the same operation may be drawn more than once."""
    magnitude: Annotated[Whole, Field(ge=0, le=30)] = 9
    """Magnitude of all operations, on torchvision's scale of 0 to 30."""


class ColorJitterConfig(Section):
    """Random changes of color, in random order, as in `torchvision.transforms.v2.ColorJitter`."""

    brightness: Annotated[Finite, Field(ge=0)] = 0.0
    """Brightness factor, drawn from [max(0, 1-b), 1+b]."""
    contrast: Annotated[Finite, Field(ge=0)] = 0.0
    """Contrast factor, drawn from [max(0, 1-c), 1+c]."""
    saturation: Annotated[Finite, Field(ge=0)] = 0.0
    """Saturation factor, drawn from [max(0, 1-s), 1+s]."""
    hue: Annotated[Finite, Field(ge=0, le=0.5)] = 0.0
    """Maximum hue rotation as a fraction of the color circle, in either direction."""


class AugmentationConfig(Section):
    """Random transformations of the training images; up to `interpolation_order` as in `ImageDataGenerator`."""

    rotation_range: Annotated[Finite, Field(ge=0)] = 0.0
    """Maximum rotation in degrees, in either direction."""
    width_shift_range: ShiftRange = 0.0
    """Maximum horizontal shift: a fraction of the width if < 1, otherwise pixels. A list: one of its values \
with a random sign."""
    height_shift_range: ShiftRange = 0.0
    """Maximum vertical shift: a fraction of the height if < 1, otherwise pixels. A list: one of its values \
with a random sign."""
    shear_range: Annotated[Finite, Field(ge=0)] = 0.0
    """Maximum shear angle in degrees, in either direction."""
    zoom_range: Annotated[Finite, Field(ge=0, lt=1)] | tuple[Finite, Finite] = 0.0
    """Zoom factor, drawn independently for height and width from [1-z, 1+z] or [low, high]; < 1 zooms in."""
    brightness_range: tuple[Finite, Finite] | None = None
    """Brightness factor, drawn from [low, high]; 1 leaves the image unchanged."""
    channel_shift_range: Annotated[Finite, Field(ge=0)] = 0.0
    """Maximum value to add to or subtract from all channels, in pixel values 0–255; the result is clipped to \
the minimum and maximum of the image."""
    horizontal_flip: bool = False
    """Randomly flip images horizontally, with probability 0.5."""
    vertical_flip: bool = False
    """Randomly flip images vertically, with probability 0.5."""
    fill_mode: Literal["nearest", "constant", "reflect", "wrap"] = "nearest"
    """How to fill pixels outside the image boundaries."""
    cval: Annotated[Finite, Field(ge=0, le=255)] = 0.0
    """Fill value for `fill_mode: constant`, 0–255."""
    interpolation_order: Literal[0, 1, 3] = 1
    """Interpolation of the transformation: 0 nearest, 1 linear, 3 cubic."""
    randaugment: RandAugmentConfig | None = None
    """RandAugment: `layers` random operations of strength `magnitude` per image; null disables it."""
    color_jitter: ColorJitterConfig | None = None
    """Random brightness, contrast, saturation and hue; null disables it."""
    grayscale: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    """Probability of converting an image to grayscale."""
    gaussian_blur: tuple[BlurSigma, BlurSigma] | None = None
    """Standard deviation of a Gaussian blur in pixels, drawn from [low, high]; null disables it."""
    jpeg_quality: tuple[JpegQuality, JpegQuality] | None = None
    """JPEG quality to compress the image with, drawn from [low, high], 1 (worst) to 100; null disables it."""
    erasing: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    """Probability of filling a random rectangle (2 to 33 % of the area) with noise."""
    mixup: Annotated[Finite, Field(gt=0)] | None = None
    """MixUp: blend each image and its label with those of another image; the weight is drawn from \
Beta(alpha, alpha) for this alpha. null disables it."""
    cutmix: Annotated[Finite, Field(gt=0)] | None = None
    """CutMix: replace a rectangle of each image with that of another image, and mix the labels by area; the \
area is drawn from Beta(alpha, alpha) for this alpha. With `mixup` as well, each image gets one of the two with \
equal probability. null disables it."""
    mix_probability: Annotated[Finite, Field(gt=0, le=1)] = 1.0
    """Probability of mixing an image, if `mixup` or `cutmix` is set."""

    @field_validator("zoom_range", "brightness_range")
    @classmethod
    def _low_to_high(cls, value: Any) -> Any:
        if isinstance(value, tuple):
            low, high = value
            if low > high:
                raise ValueError(f"must be [low, high] with low ≤ high; got {format_value(value)}")
            if low < 0:
                raise ValueError(f"must not contain negative factors; got {format_value(value)}")
        return value

    @field_validator("zoom_range")
    @classmethod
    def _zoom_above_zero(cls, value: Any) -> Any:
        if isinstance(value, tuple) and value[0] <= 0:
            raise ValueError(f"must only contain factors > 0; got {format_value(value)}")
        return value

    @field_validator("gaussian_blur", "jpeg_quality")
    @classmethod
    def _low_first(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"must be [low, high] with low ≤ high; got {format_value(value)}")
        return value

    @field_validator("width_shift_range", "height_shift_range")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if isinstance(value, tuple) and not value:
            raise ValueError("must not be an empty list")
        return value

    @property
    def changes_nothing(self) -> bool:
        """Whether all images are left unchanged."""
        neutral = AugmentationConfig()
        return all(
            getattr(self, name) == getattr(neutral, name)
            for name in type(self).model_fields
            if name not in ("fill_mode", "cval", "interpolation_order", "mix_probability")
        )

    @property
    def mixes(self) -> bool:
        """Whether images and their labels are mixed with each other."""
        return self.mixup is not None or self.cutmix is not None


class LayerSpec(Section):
    """A Keras layer and its arguments."""

    name: str
    """Name of a class in `keras.layers`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Constructor arguments."""

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
            what = f"must be the name of a layer, optionally with arguments; got {format_value(value)}"
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
    """A Keras optimizer and its arguments."""

    name: str
    """Name of a class in `keras.optimizers`, case-insensitive: `adam`, `rmsprop`, `sgd`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Constructor arguments."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        """Accept `adam`, `{name: adam, beta_1: 0.8}` and the two fields themselves."""
        if isinstance(value, OptimizerSpec):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            what = f"must be the name of an optimizer, or a mapping with name and arguments; got {format_value(value)}"
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
                [Fault(("learning_rate",), f"must be a number > 0; got {format_value(rate)}")]
            )
        return {"name": signature.name, "arguments": arguments}

    @model_serializer(mode="plain")
    def _to_short_form(self) -> Any:
        name = self.name.lower()
        return {"name": name, **self.arguments} if self.arguments else name


Layer = Annotated[LayerSpec, Wording("the name of a layer, optionally with arguments")]
Optimizer = Annotated[
    OptimizerSpec, Wording("the name of an optimizer, or a mapping with name and arguments")
]


_DEFAULT_LAYERS = (
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
_DEFAULT_LAYERS_ON_A_BACKBONE = ({"Dropout": 0.2},)


def _default_layers(given: Mapping[str, Any]) -> tuple[LayerSpec, ...]:
    layers = _DEFAULT_LAYERS if given.get("backbone") is None else _DEFAULT_LAYERS_ON_A_BACKBONE
    return tuple(LayerSpec.model_validate(layer) for layer in layers)


class BackboneConfig(Section):
    """A pretrained network without its classifier; `model.layers` follow it. Give either `name` or `from`."""

    name: Name | None = None
    """Name of a network in `keras.applications`, such as `ResNet50`. It takes raw pixels: its own preprocessing \
becomes part of the model."""
    source: FilePath | None = Field(default=None, alias="from")
    """A run directory, or a `.keras` or `.h5` model; everything after its last feature map is removed."""
    weights: Literal["imagenet"] | FilePath | None = "imagenet"
    """Weights for `name`. `imagenet` downloads them; otherwise, a file with the weights of this network without its \
classifier, or a run or model that contains it; null for random weights. Not used with `from`."""
    trainable: bool | Name = False
    """Which layers are trained. `false`: none; the name of a layer: this one and all after it; both run the \
backbone in inference mode, in which batch normalization uses its moving statistics. `true`: all, in training mode."""
    pooling: Literal["avg", "max"] = "avg"
    """Global pooling of the last feature map."""

    @field_validator("name")
    @classmethod
    def _is_an_application(cls, value: str | None) -> str | None:
        return None if value is None else load_catalogue().application(value).name

    @field_validator("source")
    @classmethod
    def _not_with_a_name(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("name") is not None:
            raise FaultyValueError([Fault((), "name and from are mutually exclusive", "remove one of them")])
        return value

    @field_validator("trainable", mode="before")
    @classmethod
    def _not_a_number(cls, value: object) -> object:
        # pydantic would accept 0 and 1 as booleans.
        if not isinstance(value, bool | str):
            what = f"must be true, false or the name of a layer; got {format_value(value)}"
            raise FaultyValueError([Fault((), what)])
        return value

    @model_validator(mode="after")
    def _has_an_origin(self) -> Self:
        if self.name is None and self.source is None:
            hint = "use `{name: ResNet50}` or `{from: runs/cats}`"
            raise FaultyValueError([Fault((), "requires name or from", hint)])
        return self

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit the keys that don't apply, so that the written configuration can be read again."""
        unused = {"from"} if self.source is None else {"name", "weights"}
        return {key: value for key, value in serialize(self).items() if key not in unused}


class ModelConfig(Section):
    """The network architecture."""

    # Before the layers, whose default depends on it.
    backbone: BackboneConfig | None = None
    """Pretrained network that the layers follow; null trains a network from scratch."""
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)] = Field(default_factory=_default_layers)
    """Keras layers by name, with keyword arguments or one positional argument. If the last layer is `Dense` with \
sigmoid or softmax, it is the output layer and must match `data.class_mode`; otherwise the output layer is \
added. Default after a backbone: `[Dropout: 0.2]`."""

    @field_validator("layers")
    @classmethod
    def _names_differ(cls, value: tuple[LayerSpec, ...]) -> tuple[LayerSpec, ...]:
        _reject_duplicates([layer.arguments.get("name") for layer in value], "layer")
        return value


# The options of imgtrain's own schedules, besides the warm-up options, which all of them have.
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
    """Learning rate schedule, updated after every batch; the optimizer's `learning_rate` is its maximum."""

    name: Name
    """`cosine`, `linear`, `exponential`, `step`, `one_cycle`, or the name of a class in \
`keras.optimizers.schedules`, followed by its arguments."""
    warmup_epochs: Annotated[Finite, Field(ge=0)] | None = None
    """Number of epochs over which the learning rate increases linearly from 0; can be fractional. Default: 1, or \
30 % of the epochs for `one_cycle`."""
    warmup_steps: Annotated[Whole, Field(ge=0)] | None = None
    """Number of warm-up batches, as an alternative to `warmup_epochs`."""
    final: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    """`cosine` and `linear`: final learning rate as a fraction of the maximum."""
    factor: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    """Factor to multiply the learning rate by: every epoch for `exponential` (default 0.95), at every step for \
`step` (default 0.1)."""
    every_epochs: Annotated[Whole, Field(ge=1)] | None = None
    """`step`: number of epochs between steps. Default: a third of all epochs."""
    at_epochs: tuple[Annotated[Whole, Field(ge=1)], ...] | None = None
    """`step`: the epochs after which the learning rate is reduced, as an alternative to `every_epochs`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Constructor arguments of a Keras schedule."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        """Accept `cosine`, `{name: step, factor: 0.5}` and Keras schedules with their arguments."""
        if isinstance(value, ScheduleConfig):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            what = f"must be the name of a schedule, or a mapping with name and options; got {format_value(value)}"
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
                f"{name} has no option {format_value(key)}",
                did_you_mean(str(key), allowed) or f"allowed options: {', '.join(allowed)}",
            )
            for key in given
            if key not in allowed
        ]
        faults += [
            Fault((second,), f"{first} and {second} are mutually exclusive", "remove one of them")
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


Schedule = Annotated[ScheduleConfig, Wording("the name of a schedule, or a mapping with name and options")]


class EarlyStoppingConfig(Section):
    """Stop training when a metric has stopped improving, as in `keras.callbacks.EarlyStopping`."""

    monitor: Name = "val_loss"
    """Metric to monitor."""
    patience: Annotated[Whole, Field(ge=0)] = 4
    """Number of epochs without improvement after which training is stopped."""
    min_delta: Annotated[Finite, Field(ge=0)] = 0.0
    """Minimum change that counts as an improvement."""
    mode: Literal["auto", "min", "max"] = "auto"
    """Whether lower (`min`) or higher (`max`) is better; `auto` infers it from the name of the metric."""
    start_from_epoch: Annotated[Whole, Field(ge=0)] = 0
    """Number of epochs to wait before monitoring starts."""
    restore_best_weights: bool = True
    """Restore the weights of the best epoch; otherwise those of the last epoch are kept."""


class ReduceLROnPlateauConfig(Section):
    """Reduce the learning rate when a metric has stopped improving, as in `keras.callbacks.ReduceLROnPlateau`."""

    monitor: Name = "val_loss"
    """Metric to monitor."""
    factor: Annotated[Finite, Field(gt=0, lt=1)] = 0.1
    """Factor to multiply the learning rate by."""
    patience: Annotated[Whole, Field(ge=0)] = 10
    """Number of epochs without improvement after which the learning rate is reduced."""
    min_delta: Annotated[Finite, Field(ge=0)] = 0.0001
    """Minimum change that counts as an improvement."""
    cooldown: Annotated[Whole, Field(ge=0)] = 0
    """Number of epochs to wait after a reduction before monitoring resumes."""
    min_lr: Annotated[Finite, Field(ge=0)] = 0.0
    """Lower bound on the learning rate."""
    mode: Literal["auto", "min", "max"] = "auto"
    """Whether lower (`min`) or higher (`max`) is better; `auto` infers it from the name of the metric."""


class FineTuneConfig(Section):
    """Second stage of training, which starts with the best weights of the first one.

    Layers of the backbone are trained as well, in inference mode: batch normalization keeps its moving statistics.
    """

    first_layer: Name = Field(default="all", alias="from")
    """Name of the first layer of the backbone to train; `all` trains all of them."""
    epochs: Annotated[Whole, Field(ge=1)] = 5
    """Maximum number of epochs, in addition to `training.epochs`."""
    learning_rate: Annotated[Finite, Field(gt=0)] = 0.00001
    """Learning rate; much lower than in the first stage, so that the pretrained weights are not destroyed. \
`training.schedule` restarts with it as the maximum; Keras's own schedules are not used in this stage."""


class TrainingConfig(Section):
    """How the network is trained."""

    epochs: Annotated[Whole, Field(ge=1)] = 10
    """Maximum number of epochs."""
    optimizer: Optimizer = Field(default_factory=lambda: OptimizerSpec.model_validate("adam"))
    """Keras optimizer: a name, or a mapping with arguments: `{name: rmsprop, learning_rate: 0.001}`. `muon` has an \
additional argument, `convolutions: true`: convolution kernels are trained with Muon too, as in its author's \
implementation; Keras trains them with AdamW."""
    schedule: Schedule | None = None
    """Learning rate schedule over the whole training, updated after every batch; null keeps it constant."""
    minutes: Annotated[Finite, Field(gt=0)] | None = None
    """Time budget in minutes for training and the validation after each epoch: the first steps are timed, and \
`epochs` and `steps_per_epoch` are chosen to fit the budget and written to the run's `config.yaml`. `epochs`, if \
given, limits the number of passes over the training images."""
    label_smoothing: Annotated[Finite, Field(ge=0, lt=1)] = 0.0
    """Share of each training label that is spread evenly over all classes, such as 0.1; validation labels are not \
smoothed."""
    gradient_accumulation: Annotated[Whole, Field(ge=1)] = 1
    """Number of batches whose gradients are averaged for each weight update."""
    ema: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    """Momentum of the exponential moving average of the weights, such as 0.999. If set, the averaged weights are \
validated and saved."""
    fine_tune: FineTuneConfig | None = None
    """Second stage of training that also trains layers of the backbone, after `epochs` with a frozen backbone; null \
for one stage."""
    loss: Annotated[Name, Wording("auto or the name of a loss")] = "auto"
    """Name of a Keras loss; `auto` chooses the cross-entropy for `data.class_mode`."""
    metrics: tuple[Annotated[Name, Wording("the name of a metric")], ...] = ("accuracy",)
    """Names of Keras metrics, computed in every epoch."""
    early_stopping: EarlyStoppingConfig | None = Field(default_factory=EarlyStoppingConfig)
    """Stop training when a metric has stopped improving; null disables it."""
    reduce_lr_on_plateau: ReduceLROnPlateauConfig | None = None
    """Reduce the learning rate when a metric has stopped improving; null disables it."""
    steps_per_epoch: Annotated[Whole, Field(ge=1)] | None = None
    """Number of batches per epoch. Default: every image once."""
    validation_steps: Annotated[Whole, Field(ge=1)] | None = None
    """Number of validation batches. Default: every image once."""
    class_weight: Literal["balanced"] | dict[ClassName, Annotated[Finite, Field(ge=0)]] | None = None
    """Weight of each class in the loss, by class name; `balanced` weights classes inversely to their frequency."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of training; `auto` chooses the fastest one on this hardware. The saved model is always float32."""
    checkpoint_minutes: Annotated[Finite, Field(gt=0)] = 5.0
    """Minutes between checkpoints within an epoch. One is also written at the end of each epoch, unless that \
would take more than 2 % of the time."""
    tensorboard: bool = False
    """Write TensorBoard logs (curves, confusion matrices, sample images) to `tensorboard` in the run directory. \
Requires `pip install 'imgtrain[tensorboard]'`."""
    mlflow: Name | None = None
    """Name of the MLflow experiment to log parameters, curves, scores, model and report to, at \
`MLFLOW_TRACKING_URI`. Requires `pip install 'imgtrain[mlflow]'`."""
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 0
    """Random seed for the split, shuffling, augmentation, weight initialization and Dropout."""

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
        _reject_duplicates(value, "metric")
        return value


class PrecisionTarget(Section):
    """The lowest threshold that reaches a given precision on the validation images."""

    precision: Annotated[Finite, Field(gt=0, le=1)]
    """Required precision of the positive class."""


class RecallTarget(Section):
    """The highest threshold that reaches a given recall on the validation images."""

    recall: Annotated[Finite, Field(gt=0, le=1)]
    """Required recall of the positive class."""


class EvaluationConfig(Section):
    """How probabilities are turned into predictions."""

    threshold: Annotated[
        Annotated[float, Field(gt=0, lt=1)] | Literal["f1", "youden"] | PrecisionTarget | RecallTarget,
        BeforeValidator(_no_bool),
    ] = 0.5
    """Binary only: probability from which the positive class is predicted. A number, or how to choose it on \
the validation images."""
    abstain: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    """Accuracy to reach on the validation images by predicting "unsure" for images of low confidence."""
    calibrate: bool = False
    """Calibrate the probabilities by temperature scaling, fitted on the validation images; part of the saved \
model."""
    flip_average: bool = False
    """Average the probabilities of each image and its mirror image, also in `evaluate`, `predict` and `compare`. \
Doubles the prediction time; the validation after each epoch does not average."""


class OutputConfig(Section):
    """Where the results are saved."""

    directory: FilePath | None = None
    """The run directory. A relative path in the file is relative to the file; with `--set`, as with `--output`, \
it is relative to the current directory. Default: `runs/<name of the configuration>` in the current directory."""
    model: str = "model.keras"
    """File name of the saved model, ending in `.keras` or `.h5`."""

    @field_validator("model")
    @classmethod
    def _is_a_model_file_name(cls, value: str) -> str:
        if not value.endswith((".keras", ".h5")):
            raise ValueError(f"must be a file name ending in .keras or .h5; got {format_value(value)}")
        if "/" in value or "\\" in value or "\0" in value or value.startswith("."):
            raise ValueError(f"must be a file name without folders; got {format_value(value)}")
        return value


def _reject_duplicates(names: Sequence[str | None], noun: str) -> None:
    faults: list[Fault] = [
        Fault((position,), f"duplicate {noun} {format_value(name)}")
        for position, name in enumerate(names)
        if name is not None and name in names[:position]
    ]
    if faults:
        raise FaultyValueError(faults)


class Config(Section):
    """The complete configuration."""

    data: DataConfig
    """The images and how they are loaded."""
    preprocessing: PreprocessingConfig = Field(default_factory=PreprocessingConfig)
    """How pixel values are converted to network inputs."""
    augmentation: AugmentationConfig = Field(default_factory=AugmentationConfig)
    """Random transformations of the training images."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The network architecture."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """How the network is trained."""
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """How probabilities are turned into predictions."""
    output: OutputConfig = Field(default_factory=OutputConfig)
    """Where the results are saved."""

    _source: ConfigSource = PrivateAttr(default_factory=ConfigSource)

    @property
    def source(self) -> ConfigSource:
        """The file and options that the configuration was loaded from."""
        return self._source

    def __repr__(self) -> str:
        """Return a one-line summary; `print(config)` shows all values."""
        origin = f" {self._source.path}" if self._source.path is not None else ""
        height, width, channels = self.data.image_shape
        return printable(
            f"<Config{origin}: {self.data.train}, {height}×{width}×{channels} pixels, "
            f"{len(self.model.layers)} layers, {self.training.epochs} epochs>"
        )

    @model_validator(mode="before")
    @classmethod
    def _empty_sections_are_defaults(cls, value: Any) -> Any:
        """Treat a section without keys like a missing section."""
        if not isinstance(value, Mapping):
            return value
        return {"data": {}} | {
            key: {} if given is None and key in cls.model_fields else given for key, given in value.items()
        }

    def where(self, *path: str | int) -> str:
        """Return `file:line: dotted.path` of a key for error messages; only the path if there is no file."""
        return self._source.where(*path)

    def relative_path(self, *path: str) -> str:
        """Return what a path was relative to, for error messages; empty if it was absolute, or is a default."""
        return str(self._source.relative_paths.get(path, ""))
