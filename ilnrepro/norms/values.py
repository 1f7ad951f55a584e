"""What rules take and give: affine maps, their variables, the settings, and one evaluation's context."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ilnrepro import tf


class AffineMap(NamedTuple):
    """y = scale·(x − mean) + offset, with the variance of x. Each `[N, C]`, or broadcastable to it."""

    scale: tf.Tensor
    offset: tf.Tensor
    variance: tf.Tensor

    @property
    def value_variance(self):
        """The variance of y."""
        return tf.square(self.scale) * self.variance


class Parameter(NamedTuple):
    """A variable that a rule needs, and how it changes in training.

    Attributes:
      start: where it starts.
      trainable: whether the optimizer moves it.
      rate: its learning rate, in learning rates of the network.
      limits: (least, greatest) value to which it is projected after each step, or None.
      decay: the share that a moving average keeps in one step; None leaves it to `Settings.moving_decay`.
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
    """What the paper leaves open, shared by all layers of a network.

    Attributes:
      epsilon: ε under every square root (not in the paper; 1e-12 in the authors' later code).
      group_divisor: group normalization of two groups or more divides by the 'deviation' (Eq. 2) or, as later code of
        the authors does, by the 'variance'.
      rho: where every ρ starts (paper, section 2.2), but for methods whose authors start it elsewhere.
      frozen_gate: the share of the first map, held fixed instead of learned; None learns it.
      batch_statistics: what BN uses at test time, its 'moving' averages or the 'batch' at hand.
      moving_decay: the share that a moving average keeps in one step.
      renorm_steps: batch renormalization is plain BN for so many steps; then its limits widen, to their ends at 5 and
        8 times as many (Ioffe 2017, section 4).
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
    """One evaluation of a rule: the settings, whether it is training, and the batch moments met (by parameter)."""

    settings: Settings
    training: bool
    batch_moments: dict = field(default_factory=dict)

    @property
    def uses_batch(self):
        return self.training or self.settings.batch_statistics == "batch"
