"""The gates. A gate turns its parameter ρ into the shares of the maps that a rule mixes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ilnrepro import tf
from ilnrepro.norms import reference as equations
from ilnrepro.norms.values import Parameter


class Gate(NamedTuple):
    """A function from ρ to shares, and how ρ is learned.

    Attributes:
      shape: of ρ in a layer; None gives each channel a ρ of its own.
      shares: shares(ρ) -> (first, second, ...), which sum to 1.
      start: initial value of ρ; None takes `Settings.rho`.
      rate, limits: see `Parameter`.
    """

    shape: tuple | None
    shares: callable
    start: float | None = None
    rate: float = 1.0
    limits: tuple | None = None

    def parameter(self, channels, settings):
        """The variable ρ of a layer."""
        shape = [channels] if self.shape is None else self.shape
        start = settings.rho if self.start is None else self.start
        return Parameter(np.full(shape, start), rate=self.rate, limits=self.limits)


def _one_and_rest(gate):
    return lambda rho: (gate(rho), 1 - gate(rho))


def _softmax(rho):
    return tuple(tf.unstack(equations.softmax(rho), axis=-1))


CLIP = Gate((), _one_and_rest(equations.clip))
SIGMOID = Gate((), _one_and_rest(equations.sigmoid))
SOFTMAX = Gate((2,), _softmax)
SWITCH = Gate((2, 3), _softmax, start=1.0)  # the start of the authors' code; any equal numbers give equal weights
# The share is ρ itself, one for each channel: unlimited, held to [0, 1], and as the authors of BIN train it (Nam and
# Kim 2018, Eq. 4; the start and the tenfold rate are from their code).
UNCLAMPED = Gate(None, _one_and_rest(lambda rho: rho), start=0.0)
CLAMPED = UNCLAMPED._replace(limits=(0, 1))
PROJECTED = CLAMPED._replace(start=1.0, rate=10.0)
