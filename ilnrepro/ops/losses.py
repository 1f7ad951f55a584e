"""The losses, functions of a network's scores and the true masks, and the logit of the structure's probability."""

from typing import NamedTuple

from ilnrepro import tf


class Loss(NamedTuple):
    """A loss.

    Attributes:
      function: function(scores, masks) gives a scalar.
      meaning, unit: as run files and figures describe it.
    """

    function: callable
    meaning: str
    unit: str


def margin(scores):
    """The logit of the structure's probability, `[N, ...]`.

    Args:
      scores: `[N, ..., 2]`, of background and structure under a softmax, whose difference is the logit; or
        `[N, ..., 1]`, of the structure under a sigmoid, which is the logit.
    """
    if scores.shape[-1] == 1:
        return scores[..., 0]
    background, structure = tf.unstack(scores, axis=-1)
    return structure - background


def cross_entropy(scores, masks):
    """Cross-entropy over two classes, mean over pixels, of scores `[N, ..., 2]` or `[N, ..., 1]` and masks `[N, ...]`.

    −log softmax(s)_m = log(1 + e^−z), where z is the true class's score minus the other's. It equals TensorFlow's
    sparse softmax cross-entropy and takes a fifth of its time.
    """
    z = margin(scores)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(masks, z.dtype), z))


def bce_dice(scores, masks):
    """Binary cross-entropy, mean over voxels, + 1 − D (Kolarik et al. 2020, Eq. 10 and 11).

    D = (2·Σ p·m + 1) / (Σ p + Σ m + 1) is the soft Dice coefficient, with sums over all voxels of the batch and p the
    structure's probability. The 1 keeps D defined on empty masks; it is not in the paper but in its authors' earlier
    code.
    """
    z = margin(scores)
    p, m = tf.sigmoid(z), tf.cast(masks, z.dtype)
    dice = (2 * tf.reduce_sum(p * m) + 1) / (tf.reduce_sum(p) + tf.reduce_sum(m) + 1)
    return cross_entropy(scores, masks) + 1 - dice


def soft_dice(scores, masks):
    """1 − D of scores `[N, ..., 2]` and masks `[N, ...]` (public code of Xiao et al. 2021).

    D is the soft Dice coefficient (2·Σ p·m + 1e-6) / (Σ p + Σ m + 1e-6), sums over an image's pixels, mean over images
    and both classes.
    """
    p = tf.sigmoid(margin(scores))
    m = tf.cast(masks, p.dtype)
    pixels = list(range(1, len(p.shape)))

    def dice(p, m):
        return ((2 * tf.reduce_sum(p * m, pixels) + 1e-6)
                / (tf.reduce_sum(p, pixels) + tf.reduce_sum(m, pixels) + 1e-6))

    return 1 - tf.reduce_mean([dice(p, m), dice(1 - p, 1 - m)])


LOSSES = {
    "cross-entropy": Loss(cross_entropy, "cross-entropy of the batch, mean over pixels", "nat"),
    "bce-dice": Loss(bce_dice, "cross-entropy of the batch, mean over voxels, + 1 - its soft Dice coefficient", "1"),
    "dice": Loss(soft_dice, "1 - soft Dice coefficient of the batch, mean over images and both classes", "1"),
}
