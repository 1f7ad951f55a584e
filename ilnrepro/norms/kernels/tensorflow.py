"""The four streaming kernels as TensorFlow operations: any device, float32 or float64, compilable by XLA.

Feature maps are `[N, ..., C]`; P is the number of spatial positions; per-channel arrays are `[N, C]`.
"""

from ilnrepro import tf


def moments(x):
    """mean = Σ_p x / P and variance = Σ_p (x − mean)² / P, each `[N, C]`.

    Sums run over differences from the first pixel, so a constant channel gives exactly its value and exactly 0.
    """
    axes = _spatial_axes(x)
    # [N, 1, ..., 1, C]; a sum over the one pixel, because a map without pixels has one too, and its mean is NaN
    first = tf.reduce_sum(x[(slice(None), *[slice(1)] * len(axes))], axes, keepdims=True)
    shifted = x - first
    shift = tf.reduce_mean(shifted, axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(shifted, shift), axes)
    return tf.reshape(first + shift, tf.shape(variance)), variance


def apply(x, mean, scale, offset, relu):
    """y = scale·(x − mean) + offset, or with `relu` its positive part."""
    y = _broadcast(x, scale) * (x - _broadcast(x, mean)) + _broadcast(x, offset)
    return tf.nn.relu(y) if relu else y


def apply_gradient_sums(dy, x, mean, scale, offset, relu):
    """dscale = Σ_p g·(x − mean) and doffset = Σ_p g, with g = dy where y > 0 (everywhere without `relu`)."""
    axes = _spatial_axes(x)
    centred = x - _broadcast(x, mean)
    g = _through_relu(dy, x, mean, scale, offset, relu)
    return tf.reduce_sum(g * centred, axes), tf.reduce_sum(g, axes)


def apply_gradient_input(dy, x, mean, scale, offset, dmean, dvariance, relu):
    """dx = scale·g + (dmean + 2·dvariance·(x − mean)) / P, with g as of `apply_gradient_sums`.

    dmean is the total derivative by the mean, that through `apply` included.
    """
    positions = tf.cast(tf.reduce_prod(tf.shape(x)[1:-1]), x.dtype)
    g = _through_relu(dy, x, mean, scale, offset, relu)
    slope = _broadcast(x, dvariance * (2 / positions))
    return _broadcast(x, scale) * g + slope * (x - _broadcast(x, mean)) + _broadcast(x, dmean / positions)


def _through_relu(dy, x, mean, scale, offset, relu):
    if not relu:
        return dy
    # The same as scale·(x − mean) + offset > 0 without the sum's pass, since rounding keeps the sign of a sum.
    return tf.where(_broadcast(x, scale) * (x - _broadcast(x, mean)) > _broadcast(x, -offset), dy, tf.zeros_like(dy))


def _spatial_axes(x):
    return list(range(1, x.shape.rank - 1))


def _broadcast(x, channels):  # [N, C] -> [N, 1, ..., 1, C]
    for _ in _spatial_axes(x):
        channels = tf.expand_dims(channels, 1)
    return channels
