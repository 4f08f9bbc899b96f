"""Muon for convolutional networks: updates of convolution kernels are orthogonalized as matrices.

Keras's Muon only orthogonalizes the updates of two-dimensional weights and trains convolutions with AdamW. The author's
implementation (https://github.com/KellerJordan/Muon) flattens the kernels, and learns in fewer steps. The optimizer has
the arguments of Keras's, which is the one stored in a saved model.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any

from imgtrain.model.runtime import keras, tf

__all__ = ["OUTPUT_LAYER", "convolutional_muon"]

OUTPUT_LAYER = "(^|/)output/"
"""Regular expression of the weights of the output layer, which must not be orthogonalized."""


def convolutional_muon(optimizer: keras.optimizers.Muon, *, precision: str) -> keras.optimizers.Muon:
    """Return Muon with the same arguments for training, which also orthogonalizes the updates of convolution kernels.

    Args:
        optimizer: Holds the arguments.
        precision: The precision of the network; with `bfloat16`, matrices are multiplied in it.
    """
    muon = _ConvolutionalMuon.from_config(optimizer.get_config())
    muon.matrix_dtype = tf.bfloat16 if precision == "bfloat16" else tf.float32
    return muon


class _ConvolutionalMuon(keras.optimizers.Muon):
    """Treats a kernel of shape (height, width, channels, filters) as a matrix of (height × width × channels, filters).

    Attributes:
        matrix_dtype: The dtype to multiply matrices in.
    """

    matrix_dtype = tf.float32

    def _should_use_adamw(self, variable: Any) -> bool:
        # Depthwise kernels end with their depth multiplier; each channel is a filter of its own.
        if len(variable.shape) > 2 and variable.shape[-1] > 1:
            return any(re.search(pattern, variable.path) for pattern in self.exclude_layers)
        return bool(super()._should_use_adamw(variable))

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        m.assign(m * self.momentum + gradient)
        update = gradient + self.momentum * m if self.nesterov else tf.convert_to_tensor(m)
        matrix = tf.reshape(update, (prod(variable.shape[:-1]), variable.shape[-1]))
        orthogonal = tf.cast(self._orthogonalize(matrix), variable.dtype)
        variable.assign_sub(tf.reshape(lr * self.lr_adjust(orthogonal), variable.shape))

    def _orthogonalize(self, matrix: Any) -> Any:
        """Return a matrix of the same shape whose singular values are all about 1: Newton-Schulz iterations."""
        tall = matrix.shape[0] > matrix.shape[1]
        x = tf.cast(matrix / (tf.norm(matrix) + 1e-7), self.matrix_dtype)
        for _ in range(self.ns_steps):
            # The product of the smaller side; x.T @ x instead of transposing a tall matrix.
            gram = tf.matmul(x, x, transpose_a=tall, transpose_b=not tall)
            polynomial = self.muon_b * gram + self.muon_c * tf.matmul(gram, gram)
            x = self.muon_a * x + (tf.matmul(x, polynomial) if tall else tf.matmul(polynomial, x))
        return x

    def _adamw_update_step(self, gradient: Any, variable: Any, learning_rate: Any, m: Any, v: Any) -> None:
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.value.handle,
            v=v.value.handle,
            beta1_power=tf.pow(tf.constant(self.adam_beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.constant(self.adam_beta_2, variable.dtype), step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.adam_beta_1,
            beta2=self.adam_beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )
