"""The defaults of a comparison: the protocol that suits a data set, and the learning rates to try under it."""

import math
from typing import Any

from ilnrepro.protocols import PROTOCOLS, Protocol, protocol
from ilnrepro.storage.dataset import DataSet

LARGE = 192  # pixels a side; images from this size on are halved, so that networks see about as much as the paper's
# {optimizer: learning rates}, the most promising first, because a small budget takes the first ones alone.
RATES = {"momentum": (0.1, 0.5, 0.05), "adam": (1e-3, 3e-4, 3e-3)}


def suitable_protocol(data: DataSet, name: str | None = None, **changes: Any) -> Protocol:
    """The protocol `name` with changes, or without a name one that suits the data.

    Such a protocol shows all images at all angles in each epoch, halves large images, and takes volumes slab by slab.

    Raises:
      InputError: unknown protocol, or a value that a field cannot take.
    """
    if name:
        return protocol(name, **changes)
    sides, divisor = data.images.shape[-2:], 2 ** (PROTOCOLS["lite"].pools + 1)
    large = min(sides) >= LARGE and not any(side % divisor for side in sides)
    if data.images.ndim == 4:
        return protocol("kolarik-quick", **({"shrink": 2} if large else {}) | changes)
    if large:
        return protocol("lite", **changes)
    quick = protocol("quick", **changes)
    if "steps_per_epoch" in changes:
        return quick
    return protocol("quick", **changes, steps_per_epoch=epoch_length(data, quick, len(data)))


def epoch_length(data: DataSet, training: Protocol, images: int) -> int:
    """The steps of an epoch that shows so many images, or all slabs of so many volumes, once at each angle."""
    from ilnrepro.ops.slabs import starts

    angles = dict(training.angles).get(data.structure, dict(training.angles)["LV"])
    if training.slab and data.images.ndim == 4:
        images *= len(starts(data.images.shape[1], training.slab))
    return math.ceil(images * len(angles) / training.batch)


def default_rates(training: Protocol) -> tuple[float, ...]:
    """The learning rates to try under a protocol, the most promising first."""
    return RATES[training.optimizer]
