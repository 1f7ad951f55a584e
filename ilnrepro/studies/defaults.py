"""Which protocol suits a data set, where none is asked for, and the learning rates that are tried under it."""

import math
from typing import Any

from ilnrepro.networks import NETWORKS
from ilnrepro.protocols import PROTOCOLS, Protocol, protocol
from ilnrepro.storage.dataset import DataSet

LARGE = 192  # pixels of a side from which images are halved: the networks then see about what the paper's do
# Tried by optimizer, the most promising first, so that a small budget takes some of them.
RATES = {"momentum": (0.1, 0.5, 0.05), "adam": (1e-3, 3e-4, 3e-3)}


def suited(data: DataSet, name: str | None = None, **changes: Any) -> Protocol:
    """The protocol `name` with changes, or where there is no name one that suits the data: every image at every angle
    in each epoch, large images halved, volumes slab by slab.

    Raises:
      InputError: unknown protocol, or a value that a field cannot take.
    """
    if name:
        return protocol(name, **changes)
    if data.images.ndim == 4:
        return protocol("kolarik-quick", **changes)
    sides, divisor = data.images.shape[1:], 2 ** (PROTOCOLS["lite"].pools + 1)
    if min(sides) >= LARGE and not any(side % divisor for side in sides):
        return protocol("lite", **changes)
    chosen = protocol("quick", **changes)
    if "steps_per_epoch" in changes:
        return chosen
    return protocol("quick", **changes, steps_per_epoch=epoch(data, chosen, len(data)))


def epoch(data: DataSet, chosen: Protocol, images: int) -> int:
    """Steps that show each of so many images, or slabs of so many volumes, once at every angle."""
    from ilnrepro.ops.slabs import starts

    angles = dict(chosen.angles).get(data.structure, dict(chosen.angles)["LV"])
    if chosen.slab and data.images.ndim == 4:
        images *= len(starts(data.images.shape[1], chosen.slab))
    return math.ceil(images * len(angles) / chosen.batch)


def rates_of(chosen: Protocol) -> tuple[float, ...]:
    """The rates tried under a protocol, the most promising first."""
    return RATES[chosen.optimizer]


def takes_volumes(chosen: Protocol) -> bool:
    """Whether a protocol's network takes volumes."""
    return NETWORKS[chosen.network].dimensions == 3
