"""The gates: how ρ becomes the shares of the maps that a rule mixes, and how it is learned."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ilnrepro import tf
from ilnrepro.norms import reference as equations
from ilnrepro.norms.values import Parameter


class Gate(NamedTuple):
    """How ρ becomes shares, and how it is learned.

    Attributes:
      shape: of ρ in a layer; None gives each channel its own.
      shares: shares(ρ) -> (first, second, ...).
      start: where ρ starts; None leaves it to `Settings.rho`.
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
SWITCH = Gate((2, 3), _softmax, start=1.0)  # the start of the authors' code; equal weights, as any start is
# ρ itself, one a channel: free, held to [0, 1], and as BIN's authors train it (Nam and Kim 2018, Eq. 4; the start and
# the tenfold rate are their code's).
UNCLAMPED = Gate(None, _one_and_rest(lambda rho: rho), start=0.0)
CLAMPED = UNCLAMPED._replace(limits=(0, 1))
PROJECTED = CLAMPED._replace(start=1.0, rate=10.0)
