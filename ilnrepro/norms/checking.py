"""The check of a method: its rule agrees with its equations, and its gradients with finite differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.norms.layer import Normalization
from ilnrepro.norms.values import Settings

_CHANNELS = 32
_SPACES = ((3, 2), (2, 1, 3))  # an image's and a volume's
_TOLERANCE = 1e-10  # in float64, relative to the largest number
_SLOPE = 1e-5  # tolerance of gradients against finite differences
_STEP = 1e-5


@dataclass(frozen=True)
class Check:
    """The result of the check of a method.

    Attributes:
      method: its name.
      output, gradient: the largest errors of the fused form against the reference, relative to the largest number.
      slope: the largest error of its gradients against finite differences.
      sees_batch: whether the output of an instance depends on the rest of its batch in training.
      keeps_scale: whether a factor and a constant on the whole feature map change nothing, at a small ε.
      parameters: number of trainable parameters beside γ and β, in a layer of 32 channels.
    """

    method: str
    output: float
    gradient: float
    slope: float
    sees_batch: bool
    keeps_scale: bool
    parameters: int

    def __str__(self) -> str:
        words = [f"fused and reference agree to {max(self.output, self.gradient):.1e}",
                 f"gradients are slopes to {self.slope:.1e}",
                 f"instances of a batch {'see' if self.sees_batch else 'do not see'} each other in training",
                 f"a factor and a constant on the whole map change {'nothing' if self.keeps_scale else 'the output'}",
                 f"{self.parameters} numbers of its own in a layer of {_CHANNELS} channels"]
        return f"{self.method}: {'; '.join(words)}"


def check(name: str) -> Check:
    """Checks a method in float64, on images and volumes, in training and at test time, with and without the ReLU.

    The rule must compute the same as its reference form. The gradients by the input and by all variables must agree
    with finite differences. A constant feature map and a single pixel must give finite numbers.

    Raises:
      InputError: a check fails; the message says which.
    """
    output = gradient = 0.0
    for space in _SPACES:
        for training, relu in ((True, True), (False, False)):
            fused, reference = (_run(_layer(name, form), *_example(space), training, relu)
                                for form in ("fused", "reference"))
            output = max(output, _error(fused[0], reference[0]))
            gradient = max(gradient, *(_error(fused[1][key], reference[1][key]) for key in reference[1]))
    if not output < _TOLERANCE:
        raise InputError(f"{name}: the rule's output differs from its reference's by {output:.1e} of the largest "
                         "number; they must be the same function")
    if not gradient < _TOLERANCE:
        raise InputError(f"{name}: the rule's gradient differs from its reference's by {gradient:.1e} of the largest "
                         "number; they must be the same function")
    slope = _slope(name)
    if not slope < _SLOPE:
        raise InputError(f"{name}: its gradient is no slope: it differs from finite differences by {slope:.1e} of the "
                         "largest; tf.stop_gradient, or an operation that has no gradient, lies between")
    _check_finite(name)
    layer = _layer(name, "fused")
    return Check(name, output, gradient, slope, _sees_batch(name), _keeps_scale(name),
                 sum(int(np.prod(v.shape)) for v in layer.parameters.values() if v.trainable))


def _example(space, instances=2):
    """(x, upstream gradient), with channels of different mean, deviation and skewness."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(instances, *space, _CHANNELS))
    x = x * rng.uniform(0.3, 3, _CHANNELS) + rng.normal(size=_CHANNELS)
    x += 0.3 * x**2 * rng.uniform(size=(instances, *[1] * len(space), _CHANNELS))
    return x, rng.normal(size=x.shape)


def _layer(name, form, epsilon=1e-5):
    """A layer of the method with random variables, so that no symmetry hides an error."""
    layer = Normalization(name, _CHANNELS, Settings(epsilon=epsilon), form, dtype="float64")
    rng = np.random.default_rng(1)
    for key, variable in layer.named_variables.items():
        shift = 0.2 * rng.uniform(0.2, 1, variable.shape)
        variable.assign(variable + (shift if key in layer.parameters else rng.normal(size=variable.shape)))
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    return layer


def _run(layer, x, upstream, training, relu):
    """(the output, {name: gradient} of Σ upstream·output)."""
    variables = {key: v for key, v in layer.named_variables.items() if v.trainable}
    x, upstream = tf.constant(x), tf.constant(upstream)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training, relu)
    gradients = tape.gradient(y, {"x": x, **variables}, upstream)
    if missing := [key for key, value in gradients.items() if value is None]:
        raise InputError(f"method: no gradient reaches {', '.join(missing)}; use all variables, by operations that "
                         "have gradients")
    return y.numpy(), {key: tf.convert_to_tensor(value).numpy() for key, value in gradients.items()}


def _slope(name):
    """The largest error of the fused form's gradients against central differences of its output, over some entries."""
    layer = _layer(name, "fused")
    x, upstream = _example(_SPACES[0])
    state = {key: v.numpy() for key, v in layer.parameters.items()}

    def loss(changed):
        for key, value in state.items():  # because training updates averages
            layer.parameters[key].assign(value)
        return float(np.sum(upstream * layer(tf.constant(changed), True).numpy()))

    _, slopes = _run(layer, x, upstream, True, False)
    rng, worst = np.random.default_rng(2), 0.0
    for _ in range(6):
        index = tuple(int(rng.integers(n)) for n in x.shape)
        step = np.zeros_like(x)
        step[index] = _STEP
        worst = max(worst, _distance((loss(x + step) - loss(x - step)) / (2 * _STEP), slopes["x"][index], slopes["x"]))
    for key in set(slopes) - {"x"}:
        variable = layer.named_variables[key]
        value = np.array(variable.numpy())
        index = tuple(int(rng.integers(n)) for n in value.shape)
        ends = []
        for sign in (1, -1):
            moved = value.copy()
            moved[index] += sign * _STEP
            if key in state:
                state[key] = moved
            else:
                variable.assign(moved)
            ends.append(loss(x))
        if key in state:
            state[key] = value
        variable.assign(value)
        worst = max(worst, _distance((ends[0] - ends[1]) / (2 * _STEP), slopes[key][index], slopes[key]))
    return worst


def _distance(slope, gradient, all_gradients):
    error = abs(slope - gradient) / max(float(np.max(np.abs(all_gradients))), 1.0)
    return error if np.isfinite(error) else np.inf


def _check_finite(name):
    for x in (np.full((2, 3, 2, _CHANNELS), 5.0), _example((1, 1), 1)[0]):
        y, gradients = _run(_layer(name, "fused"), x, np.ones_like(x), True, False)
        if not all(np.isfinite(value).all() for value in (y, *gradients.values())):
            raise InputError(f"{name}: a constant channel or a single pixel gives numbers that are not finite; divide "
                             "by what ε keeps above 0")


def _sees_batch(name):
    x, upstream = _example(_SPACES[0])
    together = _run(_layer(name, "fused"), x, upstream, True, False)[0]
    alone = np.concatenate([_run(_layer(name, "fused"), x[i:i + 1], upstream[i:i + 1], True, False)[0]
                            for i in range(len(x))])
    return bool(_error(alone, together) > _TOLERANCE)


def _keeps_scale(name):
    x, upstream = _example(_SPACES[0])
    layer = _layer(name, "fused", epsilon=1e-14)
    bias = layer.bias.numpy()
    y = _run(layer, x, upstream, True, False)[0]
    changed = 3 * (x + bias) + 2 - bias
    return bool(_error(_run(_layer(name, "fused", epsilon=1e-14), changed, upstream, True, False)[0], y) < 1e-9)


def _error(value, wanted):
    """The largest error, relative to the largest number or 1; infinite for NaN."""
    worst = np.max(np.abs(value - wanted), initial=0) / max(np.max(np.abs(wanted), initial=0), 1.0)
    return float(worst) if np.isfinite(worst) else np.inf
