"""Keras optimizers with fused updates: one kernel per variable.

Keras implements an update as a chain of elementwise operations, each of which reads and writes the whole variable;
TensorFlow has one kernel for it. Results agree up to rounding. The optimizers have the same slots and config as the
Keras optimizers, which are the ones stored in a saved model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imgtrain.model.runtime import keras, tf

__all__ = ["fused"]


def fused(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return an equivalent fused optimizer; the optimizer itself if there is none."""
    fused_class = _FUSED.get(type(optimizer))
    if fused_class is None or getattr(optimizer, "amsgrad", False):
        return optimizer
    return fused_class.from_config(optimizer.get_config())


class _FusedWeightDecay:
    """Applies weight decay as a multiplication: one pass over memory instead of three.

    The factor is float32: if rate × decay is below 1e-6, rounding changes the decay by some percent.
    """

    def _apply_weight_decay(self: Any, variables: Sequence[Any]) -> None:
        # Keras has no public hook for this; without weight decay it is None.
        if self.weight_decay is None:
            return
        kept = 1.0 - tf.cast(self.learning_rate, tf.float32) * self.weight_decay
        for variable in variables:
            if self._use_weight_decay(variable):
                variable.assign(variable * tf.cast(kept, variable.dtype))


class _FusedAdam(_FusedWeightDecay, keras.optimizers.Adam):
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=tf.pow(tf.constant(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.constant(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, dtype),
        )


class _FusedAdamW(_FusedAdam, keras.optimizers.AdamW):
    pass


class _FusedSGD(_FusedWeightDecay, keras.optimizers.SGD):
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        gradient, learning_rate = tf.cast(gradient, variable.dtype), tf.cast(learning_rate, variable.dtype)
        if self.momentum == 0:
            tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=learning_rate, delta=gradient)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=_handle(self.momentums[self._get_variable_index(variable)]),
            lr=learning_rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


class _FusedRMSprop(_FusedWeightDecay, keras.optimizers.RMSprop):
    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        # The kernel always writes an increment, which is not part of the state without momentum.
        self._increments = [] if self._momentums else [tf.Variable(tf.zeros_like(v)) for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        arguments = {
            "var": variable.handle,
            "ms": _handle(self._velocities[index]),
            "mom": _handle(self._momentums[index]) if self._momentums else self._increments[index].handle,
            "lr": tf.cast(learning_rate, variable.dtype),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "grad": tf.cast(gradient, variable.dtype),
        }
        if self.centered:
            average = _handle(self._average_gradients[index])
            tf.raw_ops.ResourceApplyCenteredRMSProp(mg=average, **arguments)
        else:
            tf.raw_ops.ResourceApplyRMSProp(**arguments)


_FUSED: dict[type, Any] = {
    keras.optimizers.Adam: _FusedAdam,
    keras.optimizers.AdamW: _FusedAdamW,
    keras.optimizers.SGD: _FusedSGD,
    keras.optimizers.RMSprop: _FusedRMSprop,
}


def _handle(variable: Any) -> Any:
    """Return the resource handle of a Keras variable."""
    return variable.value.handle
