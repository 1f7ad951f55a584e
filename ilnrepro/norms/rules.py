"""The rules: normalizations as arithmetic on channel moments.

A rule transforms an affine map, y = scale·(x − mean) + offset for each instance and channel, which leads from the
convolution's output x to the normalized feature map. The mean of y is always `offset` and its variance
`scale²·variance`, so a rule never reads the feature map itself.

Each rule has a second form, `reference`: the equations of `reference.py` of which it consists, in the paper's order,
applied to the feature map.

A rule is a frozen dataclass with
  parameters(channels, settings): {name: `Parameter`} of the variables that it needs;
  rule(y, parameters, context): the `AffineMap` y, normalized;
  rule.reference(x, parameters, context, gamma, beta): the feature map x `[N, ..., C]`, normalized by the equations;
  affine: whether γ and β follow;
  needs_moments: whether it uses the moments of x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.norms import reference as equations
from ilnrepro.norms.gates import SWITCH, Gate
from ilnrepro.norms.values import AffineMap, Parameter


@dataclass(frozen=True)
class Identity:
    """No normalization: the feature map with its bias."""

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
    """(y − M) / √(V + ε), with mean M and variance V pooled over a group of channels, or over the batch.

    groups: the number of groups in which channels are pooled; 1 pools all of them (layer normalization), None pools
      none (instance normalization).
    over_batch: whether each channel is pooled over the instances of the batch (batch normalization).
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
        if self.groups is not None and self.groups > 1:  # [N, C] -> [N, G, C/G], a group's channels on the last axis
            channels = y.variance.shape[-1]
            split = AffineMap(*(tf.reshape(a, [-1, self.groups, channels // self.groups]) for a in y))
            pooled = _pool(split.offset, split.value_variance, axis=2)
            split = _normalize(split, *pooled, context, context.settings.group_divisor == "variance")
            return y._replace(scale=tf.reshape(split.scale, [-1, channels]),
                              offset=tf.reshape(split.offset, [-1, channels]))
        return _normalize(y, *self.moments(y, parameters, context), context)

    def moments(self, y, parameters, context):
        """(M, V) of the map y, broadcastable to `[N, C]`, where channels are not pooled in several groups."""
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


def _normalize(y, mean, variance, context, divide_by_variance=False):
    variance = variance + context.settings.epsilon
    r = 1 / variance if divide_by_variance else tf.math.rsqrt(variance)
    return y._replace(scale=y.scale * r, offset=(y.offset - mean) * r)


def _pool(mean, variance, axis):
    """(mean, variance) over an axis of channels or instances of equal size, from the moments of each."""
    pooled = tf.reduce_mean(mean, axis, keepdims=True)
    return pooled, tf.reduce_mean(variance + tf.math.squared_difference(mean, pooled), axis, keepdims=True)


BATCH = Normalize(over_batch=True)
INSTANCE = Normalize()
LAYER = Normalize(groups=1)


def group(groups):
    """Group normalization with this many groups (Eq. 5 and 6)."""
    return Normalize(groups=groups)


@dataclass(frozen=True)
class Renormalize:
    """Batch renormalization (Ioffe 2017, algorithm 1): (y − μ_B) / σ_B · r + d in training, (y − μ) / σ at test time.

    μ_B and σ_B = √(V_B + ε) are the batch's, μ and σ their moving averages, which start at 0 and 1. r = σ_B/σ, clipped
    to [1/r_max, r_max], and d = (μ_B − μ)/σ, clipped to [−d_max, d_max], are constants to the gradient. Where neither
    is clipped, training computes the same as a test.

    With s = `Settings.renorm_steps`, r_max = 1 and d_max = 0 for s steps, which is plain BN. Then they widen linearly,
    d_max to 5 at 5·s steps and r_max to 3 at 8·s. The paper gives these limits, s = 5000, and 'gradually' (section 4);
    the linear course is our choice, and so is a smaller s for a shorter training.
    """

    r_max: float = 3.0
    d_max: float = 5.0
    affine = True
    needs_moments = True

    def parameters(self, channels, settings):
        return {"moving_mean": Parameter(np.zeros(channels), trainable=False),
                "moving_deviation": Parameter(np.ones(channels), trainable=False),
                "steps": Parameter(np.zeros([]), trainable=False, decay=0.0)}

    def limits(self, parameters, context):
        """(r_max, d_max) at this step."""
        share = parameters["steps"] / context.settings.renorm_steps - 1

        def ramp(end):  # from 0 at renorm_steps to 1 at `end` times as many
            return tf.clip_by_value(share / (end - 1), 0, 1)

        return 1 + (self.r_max - 1) * ramp(8), self.d_max * ramp(5)

    def __call__(self, y, parameters, context):
        moving = parameters["moving_mean"], parameters["moving_deviation"]
        if not context.uses_batch:
            return y._replace(scale=y.scale / moving[1], offset=(y.offset - moving[0]) / moving[1])
        mean, variance = _pool(y.offset, y.value_variance, axis=0)
        deviation = tf.sqrt(variance + context.settings.epsilon)
        self._record_moments(mean, deviation, parameters, context)
        r, d = equations.renormalization(mean, deviation, *moving, *self.limits(parameters, context))
        return y._replace(scale=y.scale * (r / deviation), offset=(y.offset - mean) * (r / deviation) + d)

    def reference(self, x, parameters, context, gamma=None, beta=None):
        moving = parameters["moving_mean"], parameters["moving_deviation"]
        if context.uses_batch:
            y, mean, deviation = equations.batch_renormalization(x, *moving, *self.limits(parameters, context),
                                                                 context.settings.epsilon)
            self._record_moments(mean, deviation, parameters, context)
        else:
            y = (x - moving[0]) / moving[1]
        return y if gamma is None else equations.scale_and_shift(y, gamma, beta)

    @staticmethod
    def _record_moments(mean, deviation, parameters, context):
        context.batch_moments.update(moving_mean=mean, moving_deviation=deviation, steps=parameters["steps"] + 1)


@dataclass(frozen=True)
class Mix:
    """share₁ · first(y) + share₂ · second(y), the shares from a learned gate (Eq. 4).

    rho: the name of the gate's parameter; a rule with two gates needs two names.
    """

    gate: Gate
    first: object
    second: object
    rho: str = "rho"
    affine = True
    needs_moments = True

    def parameters(self, channels, settings):
        own = {} if settings.frozen_gate is not None else {self.rho: self.gate.parameter(channels, settings)}
        return _merge(own, self.first.parameters(channels, settings), self.second.parameters(channels, settings))

    def shares(self, parameters, context):
        """The shares of the two maps: scalars, or `[C]` where each channel has its own ρ."""
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
class Switch:
    """(y − Σ w_k·M_k) / √(Σ w'_k·V_k + ε), with k over the moments of IN, LN and BN (Luo et al. 2019, Eq. 3).

    ρ is `[2, 3]`; w = softmax(ρ₁) weighs the means and w' = softmax(ρ₂) the variances (Eq. 5). At test time BN's
    moments are moving averages, the default of the authors' code, where their paper averages over some batches. A
    frozen gate gives its share to IN, and half of the rest each to LN and BN.

    rho: the name of ρ.
    """

    rho: str = "rho"
    gate, first = SWITCH, INSTANCE
    affine = True
    needs_moments = True

    def parameters(self, channels, settings):
        own = {} if settings.frozen_gate is not None else {self.rho: self.gate.parameter(channels, settings)}
        return _merge(own, BATCH.parameters(channels, settings))

    def shares(self, parameters, context):
        """The shares of IN, LN and BN, each a pair (of the mean, of the variance)."""
        frozen = context.settings.frozen_gate
        if frozen is None:
            return self.gate.shares(parameters[self.rho])
        return (frozen, frozen), ((1 - frozen) / 2,) * 2, ((1 - frozen) / 2,) * 2

    def __call__(self, y, parameters, context):
        pooled = [rule.moments(y, parameters, context) for rule in (INSTANCE, LAYER, BATCH)]
        shares = self.shares(parameters, context)
        # The weights sum to 1, so y − Σ w_k·M_k is Σ w_k·(y − M_k), which keeps its digits where the means are large.
        centred = sum(share[0] * (y.offset - mean) for share, (mean, _) in zip(shares, pooled, strict=True))
        variance = sum(share[1] * variance for share, (_, variance) in zip(shares, pooled, strict=True))
        return _normalize(y._replace(offset=centred), 0, variance, context)

    def reference(self, x, parameters, context, gamma=None, beta=None):
        of_means, of_variances = ([share[i] for share in self.shares(parameters, context)] for i in (0, 1))
        moving = None if context.uses_batch else (parameters["moving_mean"], parameters["moving_variance"])
        y, mean, variance = equations.switchable_normalization(x, of_means, of_variances, context.settings.epsilon,
                                                               gamma, beta, moving)
        if context.uses_batch:
            context.batch_moments.update(moving_mean=mean, moving_variance=variance)
        return y


@dataclass(frozen=True)
class Cascade:
    """second(first(y)): two rules one after the other."""

    first: object
    second: object
    affine = True
    needs_moments = True

    def parameters(self, channels, settings):
        return _merge(self.first.parameters(channels, settings), self.second.parameters(channels, settings))

    def __call__(self, y, parameters, context):
        return self.second(self.first(y, parameters, context), parameters, context)

    def reference(self, x, parameters, context, gamma=None, beta=None):
        return self.second.reference(self.first.reference(x, parameters, context), parameters, context, gamma, beta)


def _merge(*parts):
    joined = {}
    for part in parts:
        for name in part:
            if name in joined:
                raise InputError(f"rule: two parts of it both need a parameter {name!r}; name one of them otherwise")
        joined |= part
    return joined


def gated_part(rule):
    """The part of a rule that has a gate, a `Mix` or a `Switch`, or None."""
    while isinstance(rule, Cascade):
        rule = rule.first
    return rule if isinstance(rule, (Mix, Switch)) else None


def undone_channels(rule, settings):
    """The number of channels on which the group normalization of a cascade undoes the mix before it, or None.

    It is the number of groups: there each channel is a group of its own, and dividing it by its own deviation leaves
    nothing of the mix but the effect of ε.
    """
    groups = isinstance(rule, Cascade) and isinstance(rule.second, Normalize) and rule.second.groups
    return groups if groups and settings.group_divisor == "deviation" else None
