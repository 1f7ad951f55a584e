"""The methods as one Keras 3 layer, to take away: `Normalization("iln")` in anybody's network."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ilnrepro.errors import InputError
from ilnrepro.norms import fused, kernels
from ilnrepro.norms import method as method_row
from ilnrepro.norms.values import Settings


@keras.saving.register_keras_serializable(package="ilnrepro")
class Normalization(keras.layers.Layer):
    """γ·normalize(x) + β by any method of `ilnrepro.norms.METHODS`, for feature maps `[N, ..., C]`.

    Use it where a BatchNormalization would stand, after a convolution and before its activation. The native kernels
    cannot be compiled by XLA, so where they are chosen the model is not either. Keras holds a gate to its limits after
    each step, but has no rate of its own for it: "bin-projected" learns its gate at the model's rate. Where a policy
    computes in 16 bits, this layer computes in 32.

    Args:
      method: a method's name: 'iln', 'gn4', 'bn', ...
      relu: whether the ReLU is applied as well, in the same pass.
      epsilon, group_divisor, rho, frozen_gate, batch_statistics, moving_decay, renorm_steps: see
        `ilnrepro.norms.Settings`.

    Raises:
      InputError: unknown method, groups that do not divide the channels, or a Keras back end other than TensorFlow.
    """

    def __init__(self, method: str = "iln", relu: bool = False, **options: Any) -> None:
        settings = {key: options.pop(key) for key in Settings.__dataclass_fields__ if key in options}
        super().__init__(**options)
        if keras.backend.backend() != "tensorflow":
            raise InputError(f"Keras back end: {keras.backend.backend()!r}; this layer needs 'tensorflow'")
        self.method, self.relu, self.settings = method, relu, Settings(**settings)
        self.rule = method_row(method).rule
        self.supports_jit = kernels.chosen() != "native"

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Makes γ and β `[C]`, and the method's own variables."""
        channels = shape[-1]
        if self.rule.affine:
            self.gamma = self.add_weight(name="gamma", shape=(channels,), initializer="ones", autocast=False)
            self.beta = self.add_weight(name="beta", shape=(channels,), initializer="zeros", autocast=False)
        parameters = self.rule.parameters(channels, self.settings)
        self.own = {
            name: self.add_weight(name=name, shape=p.start.shape, trainable=p.trainable, constraint=p.projection,
                                  initializer=keras.initializers.Constant(float(p.start.flat[0])), autocast=False)
            for name, p in parameters.items()}
        self.moves = any(not p.trainable for p in parameters.values())
        self.decays = {name: self.settings.moving_decay if p.decay is None else p.decay
                       for name, p in parameters.items()}

    def call(self, x: tf.Tensor, training: bool = False, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalizes `x`; in training, unless the layer is frozen, also moves the moving averages.

        `mask` is there because Keras hands one, None for images, to what takes a BatchNormalization's place.

        Raises:
          InputError: a mask of time steps.
        """
        if mask is not None:
            raise InputError(f"{self.name}: mask: given, but whole feature maps are normalized; remove the masking")
        values = {name: tf.convert_to_tensor(v) for name, v in self.own.items()}
        affine = [tf.convert_to_tensor(v) for v in (self.gamma, self.beta)] if self.rule.affine else [None, None]
        follows = bool(training) and self.trainable and self.moves
        bias = tf.zeros([x.shape[-1]], x.dtype)
        y, moments = fused.normalize(x, bias, *affine, values, self.rule, self.settings, follows, self.relu)
        for name, moment in moments.items():
            if follows:
                decay = self.decays[name]
                self.own[name].assign(decay * self.own[name] + (1 - decay) * moment)
        return y

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        settings = {key: getattr(self.settings, key) for key in Settings.__dataclass_fields__}
        return {**super().get_config(), "method": self.method, "relu": self.relu, **settings}

