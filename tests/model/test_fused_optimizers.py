"""Held against Keras's own optimizers, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imgtrain.model.fused_optimizers import fused
from imgtrain.model.runtime import keras, tf

pytestmark = pytest.mark.tensorflow

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4}),
    ("Adam", {"clipnorm": 0.5}),
    ("Adam", {"global_clipnorm": 0.5}),
    ("Adam", {"weight_decay": 0.02}),
    ("Adam", {"use_ema": True, "ema_momentum": 0.9}),
    ("Adam", {"gradient_accumulation_steps": 3}),
    ("AdamW", {"learning_rate": 0.01}),
    ("AdamW", {"weight_decay": 0.1, "clipvalue": 0.3}),
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("RMSprop", {}),
    ("RMSprop", {"rho": 0.8, "momentum": 0.9}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "epsilon": 1e-3}),
]
STEPS = 200


def descend(optimizer: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the weights after each step, and the optimizer's variables, on gradients that grow and vanish."""
    rng = np.random.default_rng(0)
    weights = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in [(5, 7), (7,), (1,)]]
    optimizer.build(weights)

    @tf.function
    def step(*gradients: Any) -> None:
        optimizer.apply(gradients, weights)

    trajectory = []
    for number in range(STEPS):
        scale = 10.0 ** rng.integers(-4, 2) if number % 7 else 0.0
        step(
            *(
                tf.constant(scale * rng.normal(size=weight.shape), tf.float32) + 0.1 * weight
                for weight in weights
            )
        )
        trajectory.append(np.concatenate([np.ravel(weight) for weight in weights]))
    return trajectory, [np.asarray(variable) for variable in optimizer.variables]


@pytest.mark.parametrize(("name", "arguments"), OPTIMIZERS)
def test_the_trajectory_is_that_of_keras(name: str, arguments: dict[str, Any]) -> None:
    plain = getattr(keras.optimizers, name)(**arguments)
    fast = fused(getattr(keras.optimizers, name)(**arguments))
    assert type(fast) is not type(plain)
    wanted, slots = descend(plain)
    got, fast_slots = descend(fast)
    np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-5)
    # Whoever wrote or reads a checkpoint finds the same variables in both.
    assert [slot.shape for slot in fast_slots] == [slot.shape for slot in slots]
    for one, two in zip(fast_slots, slots, strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(("name", "arguments"), OPTIMIZERS)
def test_a_learning_rate_that_changes_is_followed(name: str, arguments: dict[str, Any]) -> None:
    weight = keras.Variable(np.ones(3, "float32"))
    fast = fused(getattr(keras.optimizers, name)(**arguments))
    fast.build([weight])
    fast.learning_rate = 0.0
    for _ in range(3):
        fast.apply([tf.ones(3)], [weight])
    np.testing.assert_array_equal(weight, np.ones(3))


def test_biases_can_be_left_out_of_the_decay() -> None:
    kernel, bias = (keras.Variable(np.ones(2, "float32"), name=name) for name in ("kernel", "bias"))
    fast = fused(keras.optimizers.AdamW(learning_rate=0.1, weight_decay=0.5))
    fast.exclude_from_weight_decay(var_names=["bias"])
    fast.build([kernel, bias])
    fast.apply([tf.zeros(2), tf.zeros(2)], [kernel, bias])
    np.testing.assert_allclose(kernel, [0.95, 0.95])
    np.testing.assert_array_equal(bias, [1, 1])


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam(amsgrad=True), keras.optimizers.Lion()])
def test_what_has_no_kernel_stays_as_it_is(optimizer: Any) -> None:
    assert fused(optimizer) is optimizer


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "SGD"])
def test_a_scaled_loss_updates_and_an_overflow_does_not(name: str) -> None:
    """As with float16: the update stands inside a condition."""
    weight = keras.Variable(np.ones(3, "float32"))
    optimizer = keras.optimizers.LossScaleOptimizer(
        fused(getattr(keras.optimizers, name)()), initial_scale=8.0
    )
    optimizer.build([weight])

    @tf.function
    def step(gradient: Any) -> None:
        optimizer.apply([gradient], [weight])

    step(tf.constant([np.inf, 1.0, 1.0]))
    np.testing.assert_array_equal(weight, np.ones(3))
    step(tf.constant([8.0, 8.0, 8.0]))
    assert (np.asarray(weight) < 1).all()
