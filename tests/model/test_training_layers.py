"""Networks that train with the faster layers, held against the same networks of Keras's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model.test_build import build, make_batch, make_config

from imgtrain.model.build import float32_copy
from imgtrain.model.compile import compile_network
from imgtrain.model.runtime import keras, tf
from imgtrain.model.training_layers import BatchNormalization, Dropout

pytestmark = pytest.mark.tensorflow


def conv(**options: Any) -> dict[str, Any]:
    return {"Conv2D": {"filters": 4, "kernel_size": 3, "activation": "relu", **options}}


@pytest.mark.parametrize(
    "layers",
    [
        [conv(), {"MaxPooling2D": 2}, conv(padding="same"), {"MaxPooling2D": {"pool_size": 3, "strides": 2}}],
        [conv(use_bias=False), {"MaxPooling2D": {"pool_size": 2, "padding": "same"}}],
        [conv(), "BatchNormalization", {"MaxPooling2D": 2}],
        [conv(activation=None), "BatchNormalization", "ReLU", {"MaxPooling2D": 2}],
        [
            conv(activation=None),
            {"BatchNormalization": {"scale": False}},
            {"Activation": "relu"},
            {"MaxPooling2D": 2},
        ],
        [conv(activation=None), {"MaxPooling2D": 2}, {"BatchNormalization": {"center": False}}, "ReLU"],
        [
            conv(activation=None),
            {"BatchNormalization": {"axis": 1}},
            {"ReLU": {"max_value": 1.0}},
            {"MaxPooling2D": 2},
        ],
        [conv(activation="tanh"), {"MaxPooling2D": 2}],
        # Small maps, on which the gradient of a kernel is computed differently.
        [
            *(conv(), {"MaxPooling2D": 3}, conv(padding="same", kernel_size=[3, 5])),
            *(conv(padding="same", activation=None), {"MaxPooling2D": 2}),
        ],
        [conv(), {"AveragePooling2D": 2}],
    ],
)
def test_values_and_gradients_are_those_of_keras(layers: list[Any]) -> None:
    config = make_config([*layers, "Flatten", {"Dense": 8}])
    plain, fast = build(config), build(config, for_training=True)
    images, labels = make_batch()
    assert [layer.name for layer in fast.layers] == [layer.name for layer in plain.layers]
    outcomes = []
    for model in (plain, fast):
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = tf.reduce_mean(keras.losses.categorical_crossentropy(labels, outputs))
        outcomes.append([outputs, *tape.gradient(loss, model.trainable_variables)])
    for one, two in zip(*outcomes, strict=True):
        # A bias before a normalization has no gradient but rounding.
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_ties_and_values_below_zero_pass_the_gradient_to_the_same_place() -> None:
    config = make_config([conv(filters=1, kernel_size=1, use_bias=False), {"MaxPooling2D": 2}, "Flatten"])
    plain, fast = build(config), build(config, for_training=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (8, 16, 16, 3)).astype("float32")
    gradients = []
    for model in (plain, fast):
        model.layers[1].kernel.assign(np.reshape([1.0, -1.0, 0.0], (1, 1, 3, 1)))
        tensor = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            pooled = model.layers[2](model.layers[1](tensor, training=True), training=True)
        gradients.append(tape.gradient(pooled, tensor))
    assert np.count_nonzero(gradients[0])
    np.testing.assert_array_equal(gradients[0], gradients[1])


@pytest.mark.parametrize("rate", [0.5, 0.2, 0.25, 0.001, 0.999])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float, dtype: str) -> None:
    layer = Dropout(rate, dtype=dtype)
    ones = tf.ones((40, 50, 53), layer.compute_dtype)
    outputs = np.asarray(tf.cast(layer(ones, training=True), tf.float32))
    dropped = outputs == 0
    deviation = np.sqrt(rate * (1 - rate) / outputs.size)
    assert abs(dropped.mean() - rate) < 5 * deviation
    np.testing.assert_allclose(outputs[~dropped], 1 / (1 - rate), rtol=0.02 if rate > 0.9 else 0.004)
    # Neighbours share a word of random bits; one says nothing of the next.
    kept = (~dropped).astype(float)
    assert abs(np.corrcoef(kept.ravel()[:-1], kept.ravel()[1:])[0, 1]) < 5 / np.sqrt(outputs.size)
    if 0.1 < rate < 0.9:
        assert len(np.unique(kept.reshape(40, -1), axis=0)) == 40


def test_dropout_passes_the_gradient_to_what_it_kept() -> None:
    layer, inputs = Dropout(0.3), tf.random.normal((20, 30))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    np.testing.assert_allclose(tape.gradient(outputs, inputs) * inputs, outputs, rtol=1e-6)


def test_dropout_goes_on_from_the_state_of_its_seed() -> None:
    def draw(layer: Any) -> Any:
        return np.asarray(layer(tf.ones((5, 100)), training=True))

    one, two = Dropout(0.4, seed=3), Dropout(0.4, seed=3)
    first, second = draw(one), draw(one)
    assert (first != second).any()
    np.testing.assert_array_equal(draw(two), first)
    three = Dropout(0.4, seed=99)
    three.seed_generator.state.assign(two.seed_generator.state)
    np.testing.assert_array_equal(draw(three), second)


@pytest.mark.parametrize("layer", [Dropout(0.0), Dropout(1.0), Dropout(0.5, noise_shape=(None, 1))])
def test_special_cases_of_dropout_are_those_of_keras(layer: Any) -> None:
    inputs = tf.ones((30, 40))
    outputs = np.asarray(layer(inputs, training=True))
    if layer.noise_shape is None:
        np.testing.assert_array_equal(outputs, np.full((30, 40), 1 - layer.rate))
    else:
        assert (outputs == outputs[:, :1]).all()
        assert 0 < np.count_nonzero(outputs) < outputs.size
    np.testing.assert_array_equal(layer(inputs, training=False), inputs)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_saved_network_has_layers_of_keras_alone(precision: str, tmp_path: Any) -> None:
    config = make_config([conv(), {"MaxPooling2D": 2}, {"Dropout": 0.2}, "Flatten", {"Dense": 8}])
    model = build(config, for_training=True, precision=precision)
    compile_network(model, config, precision=precision, for_training=True)
    images, labels = make_batch()
    model.train_on_batch(images, labels)
    copy = float32_copy(model, config)
    assert {type(layer).__module__.partition(".")[0] for layer in copy.layers} == {"keras"}
    assert type(copy.optimizer) is keras.optimizers.Adam
    assert copy.get_layer("conv2d_1").activation is keras.activations.relu
    copy.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(again(images), model(images), atol=0.02 if precision == "bfloat16" else 1e-6)


NORMALIZED = [
    conv(activation=None, use_bias=False),
    {"BatchNormalization": {"momentum": 0.9}},
    "ReLU",
    {"MaxPooling2D": 2},
    conv(activation=None, use_bias=False),
    {"MaxPooling2D": 2},
    {"BatchNormalization": {"momentum": 0.8, "epsilon": 0.01}},
    {"Activation": "relu"},
    "GlobalAveragePooling2D",
]


def test_normalization_follows_the_trajectory_of_keras_over_200_steps() -> None:
    """Weights and moving statistics: the fused kernel's variance is unbiased, Keras keeps the biased one."""
    config = make_config(NORMALIZED, training={"optimizer": {"name": "sgd", "learning_rate": 0.002}})
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 8, 16, 16, 3), dtype=np.uint8)
    labels = np.eye(3)[rng.integers(0, 3, (200, 8))]
    weights = [build(config).get_weights()]
    for fast in (False, True):
        model = build(config, for_training=fast)
        compile_network(model, config, for_training=fast)
        for batch, targets in zip(images, labels, strict=True):
            model.train_on_batch(batch, targets)
        weights.append(model.get_weights())
        kinds = {type(layer).__module__ for layer in model.layers if "batch_norm" in layer.name}
        assert kinds == (
            {"imgtrain.model.training_layers"} if fast else {keras.layers.BatchNormalization.__module__}
        )
    for start, plain, fused in zip(*weights, strict=True):
        moved = np.abs(plain - start).max()
        assert np.abs(fused - plain).max() < 1e-3 * moved


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_moving_averages_of_few_values_are_those_of_keras(batch: int) -> None:
    """With few values, the biased and the unbiased variance differ by much."""
    inputs = tf.random.stateless_normal((batch, 1, 1, 3), seed=(1, 2))
    plain, fused = keras.layers.BatchNormalization(), BatchNormalization()
    for layer in (plain, fused):
        layer(inputs, training=True)
    np.testing.assert_allclose(fused.moving_mean, plain.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(fused.moving_variance, plain.moving_variance, rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_with_normalization_is_saved_as_keras_own_and_says_the_same(precision: str) -> None:
    config = make_config(NORMALIZED)
    model = build(config, for_training=True, precision=precision)
    compile_network(model, config, precision=precision, for_training=True)
    images, labels = make_batch()
    for _ in range(20):
        model.train_on_batch(images, labels)
    copy = float32_copy(model, config)
    assert {type(layer).__module__.partition(".")[0] for layer in copy.layers} == {"keras"}
    np.testing.assert_allclose(copy(images), model(images), atol=0.03 if precision == "bfloat16" else 1e-6)
