"""The test of a trained network: predicted masks of the test images, and their distances from the true masks."""

import numpy as np

from ilnrepro import tf
from ilnrepro.ops.metrics import surface_distances
from ilnrepro.ops.slabs import cut, joined


def predict(training, images, truth, protocol):
    """Masks uint8 of the shape of `images`; volumes are predicted slab by slab."""
    if protocol.slab:
        return np.stack([joined(_in_batches(training, cut(volume[np.newaxis], protocol.slab), protocol.batch),
                                len(volume)) for volume in images])
    return _in_batches(training, images, protocol.batch, truth if protocol.class_mask == "oracle" else None)


def _in_batches(training, images, batch, truth=None):
    parts = []
    for i in range(0, len(images), batch):
        part = tf.constant(images[i:i + batch, ..., np.newaxis])
        parts.append(training.predict(part, None if truth is None else tf.constant(truth[i:i + batch])).numpy())
    return np.concatenate(parts)


def distances(truth, predicted):
    """The surface distances by name, see `metrics`; none where their package is not installed."""
    try:
        hd95, assd = surface_distances(truth, predicted)
    except ImportError:  # an extra; the other scores stand without it
        return {}
    return {"hd95": hd95, "assd": assd}
