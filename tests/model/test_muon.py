"""Muon for convolutions: what it orthogonalizes, and that it is Keras's Muon otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model.test_archive import RECORD
from model.test_build import build, make_batch, make_config

from imgtrain.errors import ConfigError
from imgtrain.model.archive import save_model
from imgtrain.model.build import float32_copy
from imgtrain.model.compile import build_optimizer, compile_network
from imgtrain.model.muon import convolutional_muon
from imgtrain.model.runtime import keras, tf

pytestmark = pytest.mark.tensorflow

LAYERS = [
    {"Conv2D": {"filters": 12, "kernel_size": 3, "use_bias": False}},
    {"DepthwiseConv2D": {"kernel_size": 3}},
    "BatchNormalization",
    "GlobalAveragePooling2D",
    {"Dense": 10},
]


def make_muon_config(**options: Any) -> Any:
    optimizer = {"name": "muon", "learning_rate": 0.01, "convolutions": True, **options}
    return make_config(LAYERS, training={"optimizer": optimizer})


def compiled(config: Any, *, precision: str = "float32") -> Any:
    model = build(config, for_training=True, precision=precision)
    compile_network(model, config, precision=precision, for_training=True)
    model.optimizer.build(model.trainable_variables)
    return model


def test_kernels_of_convolutions_are_orthogonalized_and_the_output_layer_is_not() -> None:
    model = compiled(make_muon_config())
    muon = [
        variable.path
        for variable, velocity in zip(model.trainable_variables, model.optimizer.adam_velocities, strict=True)
        if velocity is None
    ]
    assert muon == ["conv2d_1/kernel", "dense_1/kernel"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_update_of_a_kernel_has_singular_values_near_one(precision: str) -> None:
    """Times the learning rate and Keras's factor, √(longer side) · rms_rate."""
    model = compiled(make_muon_config(weight_decay=None), precision=precision)
    kernel = model.get_layer("conv2d_1").kernel
    before = np.asarray(kernel).copy()
    model.train_on_batch(*make_batch())
    update = (np.asarray(kernel) - before).reshape(-1, before.shape[-1])
    values = np.linalg.svd(update, compute_uv=False) / (0.01 * np.sqrt(max(update.shape)) * 0.2)
    assert values.min() > 0.3
    assert values.max() < 1.4


@pytest.mark.parametrize("shape", [(5, 7), (7, 5)])
@pytest.mark.parametrize("options", [{}, {"nesterov": False, "ns_steps": 3, "weight_decay": 0.1}])
def test_matrices_and_vectors_follow_the_trajectory_of_keras(
    shape: tuple[int, int], options: dict[str, Any]
) -> None:
    plain = keras.optimizers.Muon(learning_rate=0.01, **options)
    fast = convolutional_muon(keras.optimizers.Muon(learning_rate=0.01, **options), precision="float32")
    results = []
    for optimizer in (plain, fast):
        rng = np.random.default_rng(0)
        weights = [keras.Variable(rng.normal(size=size).astype("float32")) for size in (shape, (7,))]
        optimizer.build(weights)
        for _ in range(20):
            gradients = [tf.constant(rng.normal(size=weight.shape), tf.float32) for weight in weights]
            optimizer.apply(gradients, weights)
        results.append([*map(np.asarray, weights), *map(np.asarray, optimizer.variables)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


def test_a_kernel_is_updated_like_the_matrix_of_its_filters() -> None:
    rng = np.random.default_rng(0)
    start, gradient = rng.normal(size=(2, 3, 3, 4, 6)).astype("float32")
    updated = []
    for shape in ((3, 3, 4, 6), (36, 6)):
        muon = convolutional_muon(keras.optimizers.Muon(learning_rate=0.1), precision="float32")
        weight = keras.Variable(start.reshape(shape))
        muon.build([weight])
        muon.apply([tf.constant(gradient.reshape(shape))], [weight])
        updated.append(np.asarray(weight).reshape(36, 6))
    np.testing.assert_allclose(*updated, rtol=1e-6)


def test_the_saved_model_has_keras_own_optimizer(tmp_path: Any) -> None:
    config = make_muon_config(ns_steps=3)
    model = compiled(config)
    model.train_on_batch(*make_batch())
    save_model(float32_copy(model, config), RECORD, tmp_path / "model.keras")
    optimizer = keras.models.load_model(tmp_path / "model.keras").optimizer
    assert type(optimizer) is keras.optimizers.Muon
    assert optimizer.ns_steps == 3


def test_convolutions_must_be_true_or_false() -> None:
    with pytest.raises(ConfigError, match="must be true or false; got 1"):
        build_optimizer(make_muon_config(convolutions=1))
