"""Slabs: volumes are cut into overlapping slabs of slices, and joined again from the middles of the slabs.

Kolarik et al. 2020, section 3.2: slabs of 16 slices share 8 with either neighbour, and prediction keeps the middle 8.
The paper leaves the ends open. Here the first slab of a volume also keeps its first slices, and the last slab its last.
Where half slabs do not fill the volume, the last slab ends with the volume and shares more slices. A volume thinner
than a slab is filled up behind its last slice with zeros, the least value of stretched images and no structure.
"""

import numpy as np

from ilnrepro.ops.entries import Entries


def starts(depth, slab):
    """The first slices of the slabs of a volume of `depth` slices; they are half a slab apart."""
    return [*range(0, depth - slab, slab // 2), max(0, depth - slab)]


def cut(volumes, slab):
    """The slabs `[n·S, slab, H, W]` of volumes `[n, D, H, W]`, volume by volume; of `Entries` it gives `Entries`."""
    if isinstance(volumes, Entries):
        begins = starts(volumes.shape[1], slab)
        return Entries(lambda i: _slab(volumes[i // len(begins)], begins[i % len(begins)], slab),
                       np.arange(len(volumes) * len(begins)), np.zeros((slab, *volumes.shape[2:]), volumes.dtype))
    parts = [_slab(volume, start, slab) for volume in volumes for start in starts(len(volume), slab)]
    return np.stack(parts) if parts else np.zeros((0, slab, *volumes.shape[2:]), volumes.dtype)


def _slab(volume, start, slab):
    part = volume[start:start + slab]
    return part if len(part) == slab else np.pad(part, ((0, slab - len(part)), (0, 0), (0, 0)))


def joined(slabs, depth):
    """The volume `[depth, H, W]` joined from the middle halves of its slabs `[S, slab, H, W]`.

    The first slab also gives the slices before its middle, and the last slab those after.
    """
    volume = np.empty((depth, *slabs.shape[2:]), slabs.dtype)
    margin = slabs.shape[1] // 4
    for start, part in zip(starts(depth, slabs.shape[1]), slabs, strict=True):
        skipped = margin if start else 0
        volume[start + skipped:start + len(part)] = part[skipped:depth]
    return volume
