"""Preprocessing as built-in Keras layers at the start of the network, so that the saved model takes raw pixels.

The order is that of ImageDataGenerator: rescale, samplewise center and standard deviation, featurewise center and
standard deviation, ZCA. All layers compute in float32, whatever the precision of the network, and load from `.keras`
and `.h5` without custom objects. The latter excludes `keras.ops` in a functional model (unknown when loading `.h5`)
and lists of axes (silently replaced by the default when loading `.h5`).
"""

from __future__ import annotations

import numpy as np

from imgtrain.batches.featurewise import FeaturewiseStatistics
from imgtrain.config.preprocessing import with_implied_options
from imgtrain.config.schema import PreprocessingConfig
from imgtrain.model.runtime import keras

__all__ = ["PREPROCESSING_NAMES", "application_layers", "grey_to_rgb", "preprocessing_layers"]

PREPROCESSING_NAMES = (
    "pixels",
    "rescale",
    "samplewise_center",
    "samplewise_std",
    "featurewise",
    "zca_flatten",
    "zca",
    "zca_image",
    "grey_to_rgb",
    "application_pixels",
    "backbone_pooling",
)
"""Reserved layer names."""

# Of the pixels 0–255 of ImageNet, in the order red, green, blue.
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)
# The mean that the weights of VGG and ResNet were trained with, in the order blue, green, red.
_CAFFE_MEAN = (103.939, 116.779, 123.68)
# Added by ImageDataGenerator to all standard deviations before dividing.
_EPSILON = 1e-6


def preprocessing_layers(
    preprocessing: PreprocessingConfig,
    *,
    image_shape: tuple[int, int, int],
    statistics: FeaturewiseStatistics | None,
) -> list[keras.Layer]:
    """Return the layers that convert raw pixels (b, h, w, c), 0–255, to float32 network inputs of the same shape.

    Args:
        preprocessing: The options.
        image_shape: (height, width, channels).
        statistics: Result of `fit_featurewise_statistics`; required for the featurewise options and ZCA.
    """
    options = with_implied_options(preprocessing)
    layers = [keras.layers.Rescaling(options.rescale, name="rescale", dtype="float32")]
    if options.samplewise_center:
        layers.append(_samplewise_center(image_shape))
    if options.samplewise_std_normalization:
        layers.append(_samplewise_std())
    if options.featurewise_center:
        if statistics is None:
            raise ValueError("featurewise preprocessing requires the statistics of the training images")
        layers.append(_featurewise(statistics, divide=options.featurewise_std_normalization))
        if options.zca_whitening:
            layers.extend(_zca(statistics, image_shape))
    return layers


def application_layers(pixels: str, *, channels: int) -> tuple[keras.Layer, ...]:
    """Return the layers that convert raw pixels for a network of `keras.applications`, as its `preprocess_input` does.

    Args:
        pixels: The pixels that the network takes, as in `Application`.
        channels: Channels of the images: 3, or 1, which is repeated.
    """
    repeated = (grey_to_rgb(),) if channels == 1 else ()
    name = "application_pixels"
    if pixels == "symmetric":
        return (*repeated, keras.layers.Rescaling(1 / 127.5, offset=-1.0, name=name, dtype="float32"))
    if pixels == "standardized":
        variance = [std**2 for std in _IMAGENET_STD]
        return (
            *repeated,
            keras.layers.Normalization(mean=_IMAGENET_MEAN, variance=variance, name=name, dtype="float32"),
        )
    if pixels == "bgr":
        # A frozen 1×1 convolution, because no built-in layer reverses channels.
        reverse = keras.layers.Conv2D(3, 1, trainable=False, name=name, dtype="float32")
        reverse.build((None, None, None, 3))
        reverse.set_weights(
            [np.eye(3, dtype=np.float32)[None, None, ::-1], -np.array(_CAFFE_MEAN, np.float32)]
        )
        return (*repeated, reverse)
    return repeated


def grey_to_rgb() -> keras.Layer:
    """Return a layer that repeats the channel of grayscale images three times."""
    layer = keras.layers.Conv2D(3, 1, use_bias=False, trainable=False, name="grey_to_rgb", dtype="float32")
    layer.build((None, None, None, 1))
    layer.set_weights([np.ones((1, 1, 1, 3), np.float32)])
    return layer


def with_preprocessing(
    model: keras.Model, preprocessing: PreprocessingConfig, image_shape: tuple[int, int, int]
) -> keras.Sequential:
    """Return a model with preprocessing, given one that expects preprocessed inputs."""
    layers = preprocessing_layers(preprocessing, image_shape=image_shape, statistics=None)
    return keras.Sequential([keras.Input(image_shape, dtype="float32"), *layers, model])


def _samplewise_center(image_shape: tuple[int, int, int]) -> keras.Layer:
    """Subtract the mean over all values of an image, including channels."""
    values = int(np.prod(image_shape))
    layers = keras.layers
    pixels = keras.Input(image_shape, dtype="float32", name="pixels")
    column = layers.Reshape((values, 1), name="column", dtype="float32")(pixels)
    mean = layers.GlobalAveragePooling1D(name="mean", dtype="float32")(column)
    mean = layers.Reshape((1, 1, 1), name="mean_image", dtype="float32")(mean)
    centered = layers.Subtract(name="subtract_mean", dtype="float32")([pixels, mean])
    return keras.Model(pixels, centered, name="samplewise_center")


def _samplewise_std() -> keras.Layer:
    """Divide a centered image by its standard deviation over all values: a group normalization with one group.

    Divides by √(variance + ε²), where ImageDataGenerator divides by std + ε. For a standard deviation s they differ by
    at most a factor of 1 + ε/s, and for constant images both give 0.
    """
    return keras.layers.GroupNormalization(
        groups=1, epsilon=_EPSILON**2, center=False, scale=False, name="samplewise_std", dtype="float32"
    )


def _featurewise(statistics: FeaturewiseStatistics, *, divide: bool) -> keras.Layer:
    """Subtract the mean of each channel and optionally divide by its standard deviation."""
    # The layer divides by the square root of the given variance.
    deviation = statistics.std + _EPSILON if divide else np.ones_like(statistics.std)
    return keras.layers.Normalization(
        mean=statistics.mean.tolist(), variance=(deviation**2).tolist(), name="featurewise", dtype="float32"
    )


def _zca(statistics: FeaturewiseStatistics, image_shape: tuple[int, int, int]) -> list[keras.Layer]:
    """Multiply the flattened image by the whitening matrix, stored as the frozen kernel of a Dense layer."""
    if statistics.zca is None:
        raise ValueError("ZCA whitening requires the whitening matrix of the training images")
    values = len(statistics.zca)
    dense = keras.layers.Dense(values, use_bias=False, trainable=False, name="zca", dtype="float32")
    dense.build((None, values))
    dense.set_weights([statistics.zca.astype(np.float32)])
    return [
        keras.layers.Flatten(name="zca_flatten", dtype="float32"),
        dense,
        keras.layers.Reshape(image_shape, name="zca_image", dtype="float32"),
    ]
