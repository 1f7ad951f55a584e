"""The arguments and values of rules: affine maps, parameters, settings, and the context of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ilnrepro import tf


class AffineMap(NamedTuple):
    """The affine map y = scale·(x − mean) + offset, with the variance of x; each `[N, C]`, or broadcastable to it."""

    scale: tf.Tensor
    offset: tf.Tensor
    variance: tf.Tensor

    @property
    def value_variance(self):
        """The variance of y."""
        return tf.square(self.scale) * self.variance


class Unapplied(NamedTuple):
    """A feature map that stands for relu(scale·(x − mean) + offset), which whoever reads it computes as it reads.

    By agreement, its gradient by `x` is that by its value, after the ReLU; those by scale and offset are as they are;
    and the mean has none. `fused.unapplied` makes the true gradient of these.

    Attributes:
      x: `[N, ..., C]`.
      mean, scale, offset: `[N, C]`.
    """

    x: tf.Tensor
    mean: tf.Tensor
    scale: tf.Tensor
    offset: tf.Tensor


class Parameter(NamedTuple):
    """A variable that a rule needs, and how training updates it.

    Attributes:
      start: its initial value.
      trainable: whether the optimizer updates it.
      rate: its learning rate, as a multiple of the network's.
      limits: (smallest, largest) value, to which it is clipped after each step, or None.
      decay: of a moving average, the share of its old value that it keeps in one step; None takes
        `Settings.moving_decay`.
    """

    start: np.ndarray
    trainable: bool = True
    rate: float = 1.0
    limits: tuple | None = None
    decay: float | None = None

    @property
    def projection(self):
        """The nearest value within the limits, as a function; None without limits."""
        if self.limits is None:
            return None
        return lambda value: tf.clip_by_value(value, *self.limits)


@dataclass(frozen=True)
class Settings:
    """Settings that the paper leaves open, the same for all layers of a network.

    Attributes:
      epsilon: ε under every square root (not in the paper; 1e-12 in the authors' later code).
      group_divisor: group normalization of two groups or more divides by the 'deviation' (Eq. 2) or, as later code of
        the authors does, by the 'variance'.
      rho: initial value of ρ (paper, section 2.2), except in methods whose authors start it elsewhere.
      frozen_gate: the share of the first map, held fixed instead of learned; None learns it.
      batch_statistics: the moments that BN takes at test time, its 'moving' averages or those of the test 'batch'.
      moving_decay: the share of its old value that a moving average keeps in one step.
      renorm_steps: the number of steps in which batch renormalization is plain BN. Then its limits widen until 5 and 8
        times as many steps (Ioffe 2017, section 4).
    """

    epsilon: float = 1e-5
    group_divisor: str = "deviation"
    rho: float = 0.5
    frozen_gate: float | None = None
    batch_statistics: str = "moving"
    moving_decay: float = 0.99
    renorm_steps: int = 5000


@dataclass
class Context:
    """The context in which a rule is evaluated.

    Attributes:
      settings: of the layer.
      training: whether it is a training step.
      batch_moments: {name of a moving average: the batch's moment that it follows}, filled by the rule.
      uses_batch: whether the batch's moments are used rather than the moving averages.
    """

    settings: Settings
    training: bool
    batch_moments: dict = field(default_factory=dict)

    @property
    def uses_batch(self):
        return self.training or self.settings.batch_statistics == "batch"
