"""The losses against their formulas, written out in float64 NumPy, and their gradients against differences."""

import numpy as np
import pytest
import tensorflow as tf

from ilnrepro.ops.losses import LOSSES, bce_dice, cross_entropy, margin


def example(classes, shape=(2, 3, 4, 5)):
    rng = np.random.default_rng(0)
    return rng.normal(size=(*shape, classes)) * 3, rng.integers(0, 2, shape)


def probability(scores):
    if scores.shape[-1] == 1:
        return 1 / (1 + np.exp(-scores[..., 0]))
    powers = np.exp(scores)
    return powers[..., 1] / powers.sum(-1)


def formula(name, scores, masks):
    p = probability(scores)
    bce = np.mean(-masks * np.log(p) - (1 - masks) * np.log(1 - p))
    dice = (2 * np.sum(p * masks) + 1) / (np.sum(p) + np.sum(masks) + 1)
    pixels = tuple(range(1, p.ndim))
    soft = np.mean([(2 * np.sum(q * m, pixels) + 1e-6) / (np.sum(q, pixels) + np.sum(m, pixels) + 1e-6)
                    for q, m in ((p, masks), (1 - p, 1 - masks))])
    return {"cross-entropy": bce, "bce-dice": bce + 1 - dice, "dice": 1 - soft}[name]


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient(name, classes):
    scores, masks = example(classes)
    with tf.GradientTape() as tape:
        tape.watch(x := tf.constant(scores))
        loss = LOSSES[name].function(x, tf.constant(masks, tf.int32))
    assert abs(float(loss) - formula(name, scores, masks)) < 1e-13
    slope, differences, step = tape.gradient(loss, x).numpy(), np.zeros_like(scores), 1e-5
    for i in np.ndindex(scores.shape):
        moved = scores.copy()
        moved[i] += step
        differences[i] = formula(name, moved, masks)
        moved[i] -= 2 * step
        differences[i] = (differences[i] - formula(name, moved, masks)) / (2 * step)
    assert np.abs(slope - differences).max() < 1e-9


def test_the_margin_is_the_logit_of_the_probability():
    for classes in (1, 2):
        scores, _ = example(classes)
        p = probability(scores)
        assert np.abs(margin(tf.constant(scores)) - np.log(p / (1 - p))).max() < 1e-9


def test_empty_masks_and_certain_scores_give_finite_losses_and_gradients():
    for value in (-200.0, 200.0):
        scores = tf.fill([1, 2, 2, 2, 1], value)
        with tf.GradientTape() as tape:
            tape.watch(scores)
            loss = bce_dice(scores, tf.zeros([1, 2, 2, 2], tf.int32))
        assert np.isfinite(float(loss)) and np.isfinite(tape.gradient(loss, scores)).all()
    assert abs(float(bce_dice(tf.fill([1, 4, 1], -200.0), tf.zeros([1, 4], tf.int32)))) < 1e-12
    assert abs(float(cross_entropy(tf.fill([1, 4, 1], 200.0), tf.ones([1, 4], tf.int32)))) < 1e-12
