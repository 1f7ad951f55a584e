"""The steps of `preparation` as TensorFlow operations, of which the graph of an exported model consists."""

from __future__ import annotations

from ilnrepro import tf
from ilnrepro.preparation import Preparation


def positions(preparation: Preparation, shape: tf.Tensor, spacing: tf.Tensor | None) -> tuple[list, list]:
    """(places of the grid's pixels in an image of this shape, places of the image's pixels in the grid), side by side.

    Args:
      shape: [2], rows and columns.
      spacing: a pixel's (height, width) in mm, if the preparation resamples to one.
    """
    there, back = [], []
    for axis in range(2):
        n = shape[axis]
        size = n if preparation.size is None else tf.constant(preparation.size[axis])
        if preparation.fit == "keep":
            size = tf.maximum(n, size)
        step = None
        if preparation.fit == "resize":
            step = tf.cast(n, tf.float64) / tf.cast(size, tf.float64)
        elif preparation.spacing is not None:
            step = preparation.spacing / tf.cast(spacing[axis], tf.float64)
        there.append(_along(size, n, step))
        back.append(_along(n, size, None if step is None else 1 / step))
    return there, back


def _along(count, n, step):
    """The places of `count` pixels among `n`, `step` apart about the centre; whole pixels without a step."""
    i = tf.cast(tf.range(count), tf.float64)
    if step is None:
        return i + tf.cast(tf.maximum(n - count, 0) // 2 - tf.maximum(count - n, 0) // 2, tf.float64)
    return (i - (tf.cast(count, tf.float64) - 1) / 2) * step + (tf.cast(n, tf.float64) - 1) / 2


def image(preparation: Preparation, images: tf.Tensor, places: list) -> tf.Tensor:
    """Images `[N, H, W]` in the data set's grid and grey levels, as `Preparation.image`."""
    x = tf.cast(images, tf.float64)
    low = tf.reduce_min(x, [1, 2], keepdims=True)
    if preparation.stretch:
        high = tf.reduce_max(x, [1, 2], keepdims=True)
        x = tf.math.ceil(255 * tf.math.divide_no_nan(x - low, high - low) - 0.5)
        low = tf.zeros_like(low)
    inside = True
    for axis, place in enumerate(places, 1):
        n = tf.shape(x)[axis]
        below = tf.math.floor(place)
        share = tf.reshape(place - below, [-1, 1] if axis == 1 else [1, -1])
        first = tf.clip_by_value(tf.cast(below, tf.int32), 0, n - 1)
        x = (1 - share) * tf.gather(x, first, axis=axis) + share * tf.gather(x, tf.minimum(first + 1, n - 1), axis=axis)
        within = (place >= 0) & (place <= tf.cast(n - 1, tf.float64))
        inside &= tf.reshape(within, [-1, 1] if axis == 1 else [1, -1])
    if preparation.stretch:
        x = tf.math.floor(x + 0.5)  # whole numbers, as their type has them
    return tf.cast(tf.where(inside, x, low), tf.float32)


def nearest(values: tf.Tensor, places: list) -> tf.Tensor:
    """The values of `[N, H, W]` nearest to the places, 0 outside, as `Preparation.back`."""
    inside = True
    for axis, place in enumerate(places, 1):
        n = tf.shape(values)[axis]
        index = tf.cast(tf.math.floor(place + 0.5), tf.int32)
        values = tf.gather(values, tf.clip_by_value(index, 0, n - 1), axis=axis)
        inside &= tf.reshape((index >= 0) & (index < n), [-1, 1] if axis == 1 else [1, -1])
    return tf.where(inside, values, tf.zeros_like(values))
