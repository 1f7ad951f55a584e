"""The losses, each a function of a network's scores and the masks, and what turns scores into probabilities."""

from typing import NamedTuple

from ilnrepro import tf


class Loss(NamedTuple):
    """`function(scores, masks)` gives a scalar; `meaning` and `unit` describe it in run files and figures."""

    function: callable
    meaning: str
    unit: str


def margin(scores):
    """The logit of the structure's probability, `[N, ...]`.

    Args:
      scores: `[N, ..., 2]`, background and structure under a softmax: the structure's score over the background's; or
        `[N, ..., 1]`, the structure alone under a sigmoid: that score.
    """
    if scores.shape[-1] == 1:
        return scores[..., 0]
    background, structure = tf.unstack(scores, axis=-1)
    return structure - background


def cross_entropy(scores, masks):
    """Cross-entropy over two classes, mean over pixels, of scores `[N, ..., 2]` or `[N, ..., 1]` and masks `[N, ...]`.

    −log softmax(s)_m = log(1 + e^−z) with z the score of the true class over the other's: the same as TensorFlow's
    sparse softmax cross-entropy at a fifth of its time.
    """
    z = margin(scores)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(masks, z.dtype), z))


def bce_dice(scores, masks):
    """Binary cross-entropy, mean over voxels, + 1 − D (Kolarik et al. 2020, Eq. 10 and 11).

    D = (2·Σ p·m + 1) / (Σ p + Σ m + 1), sums over all voxels of the batch, p the structure's probability. The 1, which
    keeps D defined on empty masks, is not in the paper; it is in its authors' earlier code.
    """
    z = margin(scores)
    p, m = tf.sigmoid(z), tf.cast(masks, z.dtype)
    dice = (2 * tf.reduce_sum(p * m) + 1) / (tf.reduce_sum(p) + tf.reduce_sum(m) + 1)
    return cross_entropy(scores, masks) + 1 - dice


def soft_dice(scores, masks):
    """1 − D, D the mean over images and classes of (2·Σ p·m + 1e-6) / (Σ p + Σ m + 1e-6), sums over pixels (the public
    code of Xiao et al. 2021), of scores `[N, ..., 2]` and masks `[N, ...]`."""
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
