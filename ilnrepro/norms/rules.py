"""The rules: every normalization as arithmetic on channel moments.

A rule carries a centred affine map per instance and channel, y = scale·(x − mean) + offset, from the convolution's
output x to the normalized feature map. Of the map's current value, `offset` is the mean and `scale²·variance` the
variance, always; so a normalization never needs to see the feature map again.

Each rule has a second form, `reference`: the equations of `reference.py` that it consists of, in the paper's order,
applied to the feature map itself.

What a rule is: a frozen dataclass with
  parameters(channels, settings): the variables it needs, by name;
  rule(y, parameters, context): the `AffineMap` y, normalized;
  rule.reference(x, parameters, context, gamma, beta): the feature map x `[N, ..., C]`, normalized literally;
  affine: whether γ and β follow; needs_moments: whether it looks at the moments at all.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ilnrepro.errors import InputError
from ilnrepro.norms import reference as equations


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
    """A variable that a rule needs: its start, and whether the optimizer moves it."""

    start: np.ndarray
    trainable: bool = True


@dataclass(frozen=True)
class Settings:
    """What the paper leaves open, shared by all layers of a network.

    Attributes:
      epsilon: ε under every square root (not in the paper; 1e-12 in the authors' later code).
      group_divisor: group normalization of two groups or more divides by the 'deviation' (Eq. 2) or, as later code of
        the authors does, by the 'variance'.
      rho: where every ρ starts (paper, section 2.2).
      frozen_gate: the share of the first map, held fixed instead of learned; None learns it.
      batch_statistics: what BN uses at test time, its 'moving' averages or the 'batch' at hand.
      moving_decay: the share that a moving average keeps in one step.
    """

    epsilon: float = 1e-5
    group_divisor: str = "deviation"
    rho: float = 0.5
    frozen_gate: float | None = None
    batch_statistics: str = "moving"
    moving_decay: float = 0.99


@dataclass
class Context:
    """One evaluation of a rule: the settings, whether it is training, and the batch moments met (by parameter)."""

    settings: Settings
    training: bool
    batch_moments: dict = field(default_factory=dict)

    @property
    def uses_batch(self):
        return self.training or self.settings.batch_statistics == "batch"


@dataclass(frozen=True)
class Identity:
    """No normalization: the biased feature map itself."""

    affine = False
    needs_moments = False

    def parameters(self, channels, settings):
        return {}

    def __call__(self, y, parameters, context):
        return y

    def reference(self, x, parameters, context, gamma=None, beta=None):
        return x


@dataclass(frozen=True)
class Normalize:
    """(y − M) / √(V + ε), with M and V pooled over a set of channels, or over the batch.

    groups: channels are pooled in this many groups; None pools no channels together (instance normalization), 1 all of
      them (layer normalization).
    over_batch: pool each channel over the instances of the batch (batch normalization).
    """

    groups: int | None = None
    over_batch: bool = False
    affine = True
    needs_moments = True

    def parameters(self, channels, settings):
        if self.groups is not None and channels % self.groups:
            raise InputError(f"{self.groups} groups do not divide {channels} channels; choose a number that does")
        if not self.over_batch:
            return {}
        return {"moving_mean": Parameter(np.zeros(channels), trainable=False),
                "moving_variance": Parameter(np.ones(channels), trainable=False)}

    def __call__(self, y, parameters, context):
        if self.groups is not None and self.groups > 1:  # [N, C] -> [N, G, C/G], where a group is an axis of its own
            channels = y.variance.shape[-1]
            split = AffineMap(*(tf.reshape(a, [-1, self.groups, channels // self.groups]) for a in y))
            pooled = _pool(split.offset, split.value_variance, axis=2)
            split = self._normalized(split, *pooled, context, context.settings.group_divisor == "variance")
            return y._replace(scale=tf.reshape(split.scale, [-1, channels]),
                              offset=tf.reshape(split.offset, [-1, channels]))
        return self._normalized(y, *self._moments(y, parameters, context), context)

    @staticmethod
    def _normalized(y, mean, variance, context, divide_by_variance=False):
        variance = variance + context.settings.epsilon
        r = 1 / variance if divide_by_variance else tf.math.rsqrt(variance)
        return y._replace(scale=y.scale * r, offset=(y.offset - mean) * r)

    def _moments(self, y, parameters, context):
        if self.over_batch:
            if not context.uses_batch:
                return parameters["moving_mean"], parameters["moving_variance"]
            moments = _pool(y.offset, y.value_variance, axis=0)
            context.batch_moments.update(moving_mean=moments[0], moving_variance=moments[1])
            return moments
        if self.groups == 1:
            return _pool(y.offset, y.value_variance, axis=1)
        return y.offset, y.value_variance

    def reference(self, x, parameters, context, gamma=None, beta=None):
        """The same by the papers' equations, on the feature map x `[N, ..., C]`."""
        settings = context.settings
        if self.over_batch:
            if not context.uses_batch:
                return tf.nn.batch_normalization(x, parameters["moving_mean"], parameters["moving_variance"], beta,
                                                 gamma, settings.epsilon)
            y, mean, variance = equations.batch_normalization(x, settings.epsilon, gamma, beta)
            context.batch_moments.update(moving_mean=mean, moving_variance=variance)
            return y
        if self.groups is None:
            return equations.instance_normalization(x, settings.epsilon, gamma, beta)
        if self.groups == 1:
            return equations.layer_normalization(x, settings.epsilon, gamma, beta)
        return equations.group_normalization(x, self.groups, settings.epsilon, settings.group_divisor, gamma, beta)


def _pool(mean, variance, axis):
    """Moments of several channels taken together, from the moments of each (equal numbers of positions)."""
    pooled = tf.reduce_mean(mean, axis, keepdims=True)
    return pooled, tf.reduce_mean(variance + tf.math.squared_difference(mean, pooled), axis, keepdims=True)


class Gate(NamedTuple):
    """How ρ becomes the shares of two maps: `numbers` of ρ a layer, and `shares(ρ)` -> (first, second)."""

    name: str
    numbers: int
    shares: callable


def _one_and_rest(gate):
    return lambda rho: (gate(rho), 1 - gate(rho))


CLIP = Gate("clip", 1, _one_and_rest(equations.clip))
SIGMOID = Gate("sigmoid", 1, _one_and_rest(equations.sigmoid))
SOFTMAX = Gate("softmax", 2, lambda rho: tuple(tf.unstack(equations.softmax(rho), axis=-1)))


@dataclass(frozen=True)
class Mix:
    """first share · first(y) + second share · second(y), the shares from one learned gate a layer (Eq. 4).

    rho: the name of the gate's parameter; a rule with two gates needs two names.
    """

    gate: Gate
    first: object
    second: object
    rho: str = "rho"
    affine = True
    needs_moments = True

    def parameters(self, channels, settings):
        shape = [] if self.gate.numbers == 1 else [self.gate.numbers]
        own = {} if settings.frozen_gate is not None else {self.rho: Parameter(np.full(shape, settings.rho))}
        return _joined(own, self.first.parameters(channels, settings), self.second.parameters(channels, settings))

    def shares(self, parameters, context):
        """The shares (first, second) of the two maps, scalars."""
        frozen = context.settings.frozen_gate
        return self.gate.shares(parameters[self.rho]) if frozen is None else (frozen, 1 - frozen)

    def __call__(self, y, parameters, context):
        a, b = self.first(y, parameters, context), self.second(y, parameters, context)
        share_a, share_b = self.shares(parameters, context)
        return y._replace(scale=share_a * a.scale + share_b * b.scale, offset=share_a * a.offset + share_b * b.offset)

    def reference(self, x, parameters, context, gamma=None, beta=None):
        a = self.first.reference(x, parameters, context)
        b = self.second.reference(x, parameters, context)
        y = equations.combine(*self.shares(parameters, context), a, b)
        return y if gamma is None else equations.scale_and_shift(y, gamma, beta)


@dataclass(frozen=True)
class Cascade:
    """second(first(y)): normalize again what the first rule made."""

    first: object
    second: object
    affine = True
    needs_moments = True

    def parameters(self, channels, settings):
        return _joined(self.first.parameters(channels, settings), self.second.parameters(channels, settings))

    def __call__(self, y, parameters, context):
        return self.second(self.first(y, parameters, context), parameters, context)

    def reference(self, x, parameters, context, gamma=None, beta=None):
        return self.second.reference(self.first.reference(x, parameters, context), parameters, context, gamma, beta)


def _joined(*parts):
    joined = {}
    for part in parts:
        for name in part:
            if name in joined:
                raise InputError(f"rule: two parts of it both need a parameter {name!r}; name one of them otherwise")
        joined |= part
    return joined


BATCH = Normalize(over_batch=True)
INSTANCE = Normalize()
LAYER = Normalize(groups=1)


def group(groups):
    """Group normalization with this many groups (Eq. 5 and 6)."""
    return Normalize(groups=groups)
