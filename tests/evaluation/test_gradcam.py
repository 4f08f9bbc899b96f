"""Grad-CAM highlights the region that determines the class: a bright square."""

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow

SIDE, SQUARE = 32, 8


def draw_images(count, *, seed=0):
    """Return dark noise, with a bright square in images of class 1, and the masks of the squares."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, SIDE, SIDE, 3)).astype(np.uint8)
    masks = np.zeros((count, SIDE, SIDE), bool)
    labels = (np.arange(count) % 2).astype(np.int32)
    for number in np.flatnonzero(labels):
        top, left = rng.integers(0, SIDE - SQUARE, 2)
        masks[number, top : top + SQUARE, left : left + SQUARE] = True
    images[masks] = 255
    return images, labels, masks


def networks():
    """Return common network architectures by name."""
    from imgtrain.config.schema import PreprocessingConfig
    from imgtrain.model.preprocess import preprocessing_layers
    from imgtrain.model.runtime import keras

    layers = keras.layers

    def block():
        return [layers.Conv2D(8, 3, padding="same", activation="relu"), layers.MaxPooling2D(2)]

    def front():
        return [keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255)]

    # Here a nested model precedes the network. Centering makes the background darker in images with a square, from
    # which a dense layer on all positions would learn instead.
    centring = preprocessing_layers(
        PreprocessingConfig(samplewise_center=True), image_shape=(SIDE, SIDE, 3), statistics=None
    )
    separate = [layers.Conv2D(8, 3, use_bias=False), layers.BatchNormalization(momentum=0.5), layers.ReLU()]
    return {
        "softmax": [*front(), *block(), layers.Flatten(), layers.Dense(2, activation="softmax")],
        "sigmoid": [*front(), *block(), layers.GlobalMaxPooling2D(), layers.Dense(1, activation="sigmoid")],
        "nested": [
            *front(),
            keras.Sequential(
                [*block(), *block(), layers.Flatten(), layers.Dropout(0.2), layers.Dense(2, activation="softmax")]
            ),
        ],
        "functional in front": [
            keras.Input((SIDE, SIDE, 3)), *centring, *block(), layers.GlobalMaxPooling2D(),
            layers.Dense(2), layers.Activation("softmax"),
        ],
        "normalized": [*front(), *separate, layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "nested", "functional in front", "normalized"])
def test_the_heat_map_highlights_the_square(name):
    from imgtrain.evaluation.gradcam import grad_cam
    from imgtrain.model.runtime import keras

    keras.utils.set_random_seed(3)
    model = keras.Sequential(networks()[name])
    images, labels, masks = draw_images(192)
    model.compile(
        keras.optimizers.Adam(0.01),
        "binary_crossentropy" if name == "sigmoid" else "sparse_categorical_crossentropy",
    )
    model.fit(images.astype(np.float32), labels, batch_size=32, epochs=16, verbose=0)
    new_images, new_labels, masks = draw_images(40, seed=9)
    outputs = model.predict(new_images.astype(np.float32), verbose=0)
    answers = (outputs[:, 0] > 0.5) if name == "sigmoid" else outputs.argmax(axis=1)
    assert (answers == new_labels).mean() >= 0.9
    positive = new_labels == 1
    heat = grad_cam(model, new_images[positive], new_labels[positive])
    assert heat.shape == (20, SIDE, SIDE)
    assert heat.min() >= 0
    assert heat.max() <= 1
    # Including a border of two pixels, the receptive field, the square is a seventh of the image.
    grown = np.array([_grow(mask) for mask in masks[positive]])
    share = (heat * grown).sum(axis=(1, 2)) / heat.sum(axis=(1, 2))
    assert np.median(share) > 0.65, share


def _grow(mask):
    padded = np.pad(mask, 2)
    return np.logical_or.reduce(
        [padded[2 + y : 2 + y + SIDE, 2 + x : 2 + x + SIDE] for y in (-2, 0, 2) for x in (-2, 0, 2)]
    )


def test_a_network_without_convolutions_returns_none():
    from imgtrain.evaluation.gradcam import grad_cam
    from imgtrain.model.runtime import keras

    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    assert grad_cam(model, np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, np.int32)) is None


@pytest.mark.parametrize(("border", "separable"), [(0, False), (255, False), (0, True)])
def test_a_border_of_one_color_is_not_highlighted(border, separable):
    """Neither by the biases nor by the zeros with which the convolutions pad it."""
    from imgtrain.evaluation.gradcam import grad_cam
    from imgtrain.model.runtime import keras

    keras.utils.set_random_seed(4)
    layers = [keras.Input((48, 48, 3)), keras.layers.Rescaling(1 / 255)]
    for _ in range(3):
        bias = keras.initializers.RandomUniform(0, 0.5)
        kind = keras.layers.SeparableConv2D if separable else keras.layers.Conv2D
        convolution = kind(8, 3, padding="same", activation="relu", bias_initializer=bias)
        layers += [convolution, keras.layers.MaxPooling2D(2)]
    layers = [*layers[:-1], keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax")]
    images = np.full((8, 48, 48, 3), border, np.uint8)
    images[:, 16:32, 16:32] = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3))
    heat = grad_cam(keras.Sequential(layers), images, (np.arange(8) % 4).astype(np.int32))
    outside = np.ones((48, 48), bool)
    outside[4:-4, 4:-4] = False  # no pixel of the center reaches further
    assert heat[:, outside].max() < 1e-5
    assert np.median(heat[:, 16:32, 16:32].max(axis=(1, 2))) > 0.5
