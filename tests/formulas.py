"""The reference of the tests: the papers' equations in float64 NumPy, and their derivatives.

Feature maps are `[N, ..., C]`. Nothing here knows how the library computes: moments are taken over the
feature map itself, once for every normalization, as the papers write them. Functions accept complex arrays,
so that `gradients` can differentiate them by finite differences along the imaginary axis, where nothing
cancels: exact to rounding.
"""

import functools
import re
from typing import NamedTuple

import numpy as np

from ilnrepro.norms import METHODS

NUMBERS = {"gn<G>": (4, 16), "iln<G>": (8,)}  # for the <G> of the table's rows; 4 for others
NAMES = [row.replace("<G>", str(number)) for row in METHODS
         for number in (NUMBERS.get(row, (4,)) if "<G>" in row else (0,))]
OVER_BATCH = ("bn", "brn", "sn", "bin", "bin-projected")  # instances of a batch see each other
EACH = ("bin-projected", "iln-clamped", "iln-unclamped")  # each channel has its own ρ


class Options(NamedTuple):
    """ε, the divisor of group normalization, a fixed gate, whether BN uses the batch at hand, and the steps for which
    batch renormalization is BN."""

    epsilon: float = 1e-5
    divisor: str = "deviation"
    frozen: float | None = None
    batch: bool = True
    renorm_steps: int = 5000


def instance(x, options):
    """Zhou et al., Eq. (1) and (2)."""
    return _divided(*_moments(x, _space(x)), options)


def layer(x, options):
    """Eq. (3)."""
    return _divided(*_moments(x, (*_space(x), x.ndim - 1)), options)


def group(x, groups, options):
    """Eq. (5) and (6), one group after the other; or divided by the variance instead of the deviation."""
    size = x.shape[-1] // groups
    parts = []
    for first in range(0, groups * size, size):
        centred, variance = _moments(x[..., first:first + size], (*_space(x), x.ndim - 1))
        if options.divisor == "variance":
            parts.append(centred / (variance + options.epsilon))
        else:
            parts.append(_divided(centred, variance, options))
    return np.concatenate(parts, -1)


def batch(x, values, options):
    """Ioffe and Szegedy 2015: the batch's own moments in training, moving averages at test time."""
    if options.batch:
        return _divided(*_moments(x, (0, *_space(x))), options)
    return _divided(x - values["moving_mean"], values["moving_variance"], options)


def batch_renormalization(x, values, options):
    """Ioffe 2017, algorithm 1, where r and d are constants to the gradient: their imaginary part is dropped."""
    mean, deviation, steps = (values[key] for key in ("moving_mean", "moving_deviation", "steps"))
    if not options.batch:
        return (x - mean) / deviation
    axes = (0, *_space(x))
    batch_mean, batch_deviation = x.mean(axes), np.sqrt(_moments(x, axes)[1].ravel() + options.epsilon)
    done = (steps.real - options.renorm_steps) / options.renorm_steps
    r_max, d_max = 1 + 2 * min(max(done / 7, 0), 1), 5 * min(max(done / 4, 0), 1)
    r = np.clip((batch_deviation / deviation).real, 1 / r_max, r_max)
    d = np.clip(((batch_mean - mean) / deviation).real, -d_max, d_max)
    return (x - batch_mean) / batch_deviation * r + d


def switchable(x, values, options):
    """Luo et al. 2019, Eq. (2), (3) and (5), the moments in the order IN, LN, BN."""
    moments = [(x.mean(axes, keepdims=True), _moments(x, axes)[1]) for axes in (
        _space(x), (*_space(x), x.ndim - 1), (0, *_space(x)))]
    if not options.batch:
        moments[2] = values["moving_mean"], values["moving_variance"]
    if options.frozen is None:
        weights = [np.exp(rho) / np.exp(rho).sum() for rho in values["rho"]]
    else:
        weights = [[options.frozen, (1 - options.frozen) / 2, (1 - options.frozen) / 2]] * 2
    mean, variance = (sum(w * pair[i] for w, pair in zip(weights[i], moments, strict=True)) for i in (0, 1))
    return (x - mean) / np.sqrt(variance + options.epsilon)


def batch_moments(x):
    """The moments that BN's moving averages follow: mean and population variance of each channel, `[C]`."""
    axes = (0, *_space(x))
    return x.mean(axes), x.var(axes)


def shares(gate, values, options):
    """The shares of the first and the second map (Eq. 4, and section 3 for Softmax)."""
    if options.frozen is not None:
        return options.frozen, 1 - options.frozen
    rho = values["rho"]
    if gate == "softmax":
        return np.exp(rho[0]) / np.exp(rho).sum(), np.exp(rho[1]) / np.exp(rho).sum()
    if gate == "itself":
        return rho, 1 - rho
    share = 1 / (np.exp(-rho) + 1) if gate == "sigmoid" else _clipped(rho)
    return share, 1 - share


def instance_layer(gate, x, values, options):
    """Eq. (4)."""
    a, b = shares(gate, values, options)
    return a * instance(x, options) + b * layer(x, options)


def batch_instance(gate, x, values, options):
    """Nam and Kim 2018, Eq. (3)."""
    a, b = shares(gate, values, options)
    return a * batch(x, values, options) + b * instance(x, options)


def iln(groups, x, values, options):
    """Section 2.1 as a whole."""
    return group(instance_layer("sigmoid", x, values, options), groups, options)


FORMULAS = {  # by the rows of the table: function of (x, values, options), after G for a row with <G>
    "none": lambda x, values, options: x,
    "bn": batch,
    "in": lambda x, values, options: instance(x, options),
    "ln": lambda x, values, options: layer(x, options),
    "gn<G>": lambda groups, x, values, options: group(x, groups, options),
    "brn": batch_renormalization,
    "sn": switchable,
    "bin": functools.partial(batch_instance, "clip"),
    "bin-projected": functools.partial(batch_instance, "itself"),
    "clip": functools.partial(instance_layer, "clip"),
    "sigmoid": functools.partial(instance_layer, "sigmoid"),
    "softmax": functools.partial(instance_layer, "softmax"),
    "iln": functools.partial(iln, 16),
    "iln<G>": iln,
    "iln-clamped": functools.partial(instance_layer, "itself"),
    "iln-unclamped": functools.partial(instance_layer, "itself"),
}


def formula(name):
    """The function (x, values, options) of a method's name, before γ and β."""
    if name in FORMULAS:
        return FORMULAS[name]
    stem, number = re.fullmatch(r"(\D+)(\d+)", name).groups()
    return functools.partial(FORMULAS[f"{stem}<G>"], int(number))


def forward(function, x, values, options, relu):
    """relu(γ·function(x + bias) + β); γ and β where `values` has them."""
    y = function(x + values["bias"], values, options)
    if "gamma" in values:
        y = values["gamma"] * y + values["beta"]
    return np.where(y.real > 0, y, 0) if relu else y


def gradients(function, x, values, options, relu, upstream):
    """Derivatives of Σ upstream·forward with respect to x and all `values`, by finite differences."""
    def loss_of(name):
        def loss(a):
            changed = {**values, name: a} if name != "x" else values
            y = forward(function, a if name == "x" else x, changed, options, relu)
            return np.sum(upstream * y)
        return loss

    return {name: finite_difference(loss_of(name), a) for name, a in {"x": x, **values}.items()}


def finite_difference(function, a, step=1e-30):
    """The gradient of a scalar function at the array `a`: Im function(a + i·step) / step, one by one."""
    a = np.asarray(a, complex)
    gradient = np.zeros(a.shape)
    for index in np.ndindex(a.shape):
        there = a.copy()
        there[index] += 1j * step
        gradient[index] = function(there).imag / step
    return gradient


class Example(NamedTuple):
    """A feature map, the values of a layer's variables by name, and the gradient that reaches the output."""

    x: np.ndarray
    values: dict
    upstream: np.ndarray


def example(name, space=(3, 2), channels=32, instances=2, seed=0):
    """A seeded example for a method: channels of unlike means, deviations and skewness."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(instances, *space, channels))
    x = x * rng.uniform(0.3, 3, channels) + rng.normal(size=channels)
    x += 0.3 * x**2 * rng.uniform(size=(instances, *[1] * len(space), channels))
    values = {"bias": rng.normal(size=channels)}
    if name != "none":
        values |= {"gamma": rng.uniform(0.5, 2, channels), "beta": rng.normal(size=channels)}
    if name == "sn":
        values["rho"] = rng.normal(size=(2, 3))
    elif name in EACH:
        values["rho"] = rng.uniform(-1, 2, channels) if name == "iln-unclamped" else rng.uniform(0, 1, channels)
    elif name in ("bin", "clip", "sigmoid", "softmax") or name.startswith("iln"):
        values["rho"] = np.array([0.3, -0.4]) if name == "softmax" else np.array(0.3)
    if name in OVER_BATCH:
        spread = "moving_deviation" if name == "brn" else "moving_variance"
        values |= {"moving_mean": rng.normal(size=channels), spread: rng.uniform(0.5, 2, channels)}
    if name == "brn":
        values["steps"] = np.array(12000.0)  # r within [1/1.4, 1.4] and d within ±1.75: some are cut off, some are not
    return Example(x, values, rng.normal(size=x.shape))


def error(actual, expected, floor=1.0):
    """The largest error, relative to the largest expected number or `floor`; infinite if not a number."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    worst = np.max(np.abs(actual - expected), initial=0) / max(np.max(np.abs(expected), initial=0), floor)
    return worst if np.isfinite(worst) else np.inf


def _space(x):
    return tuple(range(1, x.ndim - 1))


def _moments(x, axes):  # the centred map and its variance
    centred = x - x.mean(axes, keepdims=True)
    return centred, (centred**2).mean(axes, keepdims=True)


def _divided(centred, variance, options):
    return centred / np.sqrt(variance + options.epsilon)


def _clipped(rho):
    return rho if 0 < rho.real < 1 else np.clip(rho.real, 0, 1) + 0 * rho.real
