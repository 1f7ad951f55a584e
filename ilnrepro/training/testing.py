"""The test of a trained network: predicted masks of the test images, and their scores."""

import numpy as np

from ilnrepro import tf
from ilnrepro.ops.augmentation import enlarged
from ilnrepro.ops.metrics import COUNTS, at_own_resolution, overlap, surface_distances
from ilnrepro.ops.slabs import cut, joined

PART = 64  # test images that are scored at a time


def predict(training, images, truth, protocol):
    """Predicted masks, uint8 of the shape of `images`; volumes are predicted slab by slab."""
    if protocol.slab:
        return np.stack([joined(_in_batches(training, cut(volume[np.newaxis], protocol.slab), protocol.batch),
                                len(volume)) for volume in images])
    return _in_batches(training, images, protocol.batch, truth if protocol.class_mask == "oracle" else None)


def _in_batches(training, images, batch, truth=None):
    parts = []
    for i in range(0, len(images), batch):
        part = tf.constant(np.asarray(images[i:i + batch])[..., np.newaxis])
        known = None if truth is None else tf.constant(np.asarray(truth[i:i + batch]))
        parts.append(training.predict(part, known).numpy())
    return np.concatenate(parts)


def scores(truth, predicted, whole, spacing=None):
    """{name: `[n]`} of the pixel counts and distances of test images for a run file, see `runfile.Run.test`.

    Args:
      truth, predicted: masks at the resolution of the network.
      whole: the true masks at the data set's own resolution.
      spacing: of `whole`, in mm, `[n, dimensions]`; None where it is not known.
    """
    parts = [_scores(np.asarray(truth[part]), predicted[part], np.asarray(whole[part]),
                     None if spacing is None else spacing[part])
             for part in (slice(i, i + PART) for i in range(0, len(predicted), PART))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _scores(truth, predicted, whole, spacing):
    by_name = dict(zip(COUNTS, overlap(truth, predicted), strict=True))
    by_name |= at_own_resolution(whole, predicted)
    try:
        by_name |= dict(zip(("hd95", "assd"), surface_distances(truth, predicted), strict=True))
        if spacing is not None:
            by_name |= dict(zip(("hd95_mm", "assd_mm"), surface_distances(whole, enlarged(predicted, whole), spacing),
                              strict=True))
    except ImportError:  # an extra; the other scores stand without it
        pass
    return by_name
