"""The equations of the papers, written literally on the feature map, each as one `tf.nn` call where there is one.

Equation numbers are those of Zhou et al., "U-Net Training with Instance-Layer Normalization", MMMI 2019. Feature maps
are `[N, H, W, C]` or `[N, D, H, W, C]`; a normalized map has the shape of its argument. Tests compare the fast form
with these functions, the benchmark compares its cost with theirs, and a reader can check them against the paper.
"""

from ilnrepro import tf


def instance_normalization(x, epsilon, gamma=None, beta=None):
    """Eq. (1), (2): moments over space, for each instance and channel."""
    mean, variance = tf.nn.moments(x, _space(x), keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


def layer_normalization(x, epsilon, gamma=None, beta=None):
    """Eq. (3), (2): moments over space and all channels, for each instance."""
    mean, variance = tf.nn.moments(x, [*_space(x), x.shape.rank - 1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


def group_normalization(x, groups, epsilon, divisor="deviation", gamma=None, beta=None):
    """Eq. (5), (6), (2): moments over space and the M = C // groups channels of a group, for each instance.

    divisor: 'deviation' divides by √(δ² + ε) as Eq. (2) does; 'variance' by δ² + ε, as later code of the authors does.
    """
    shape = tf.shape(x)
    split = tf.concat([shape[:-1], [groups, x.shape[-1] // groups]], 0)
    grouped = tf.reshape(x, split)  # [N, ..., groups, M]
    mean, variance = tf.nn.moments(grouped, [*_space(x), x.shape.rank], keepdims=True)
    if divisor == "variance":
        normalized = (grouped - mean) / (variance + epsilon)
    else:
        normalized = tf.nn.batch_normalization(grouped, mean, variance, None, None, epsilon)
    y = tf.reshape(normalized, shape)
    return y if gamma is None else scale_and_shift(y, gamma, beta)


def batch_normalization(x, epsilon, gamma=None, beta=None):
    """Ioffe and Szegedy 2015: moments over the batch and space, for each channel. Returns also the moments, `[C]`."""
    mean, variance = tf.nn.moments(x, [0, *_space(x)])
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon), mean, variance


def batch_renormalization(x, moving_mean, moving_deviation, r_max, d_max, epsilon):
    """Ioffe 2017, algorithm 1, in training: batch normalization, then y ← y·r + d. Returns also the batch's mean and
    deviation, `[C]`."""
    mean, variance = tf.nn.moments(x, [0, *_space(x)])
    deviation = tf.sqrt(variance + epsilon)
    r, d = renormalization(mean, deviation, moving_mean, moving_deviation, r_max, d_max)
    return (x - mean) / deviation * r + d, mean, deviation


def renormalization(mean, deviation, moving_mean, moving_deviation, r_max, d_max):
    """(r, d) of Ioffe 2017, algorithm 1, the correction from the batch's moments to the moving averages.

    r is clipped to [1/r_max, r_max] and d to [−d_max, d_max]; both are constants to the gradient.
    """
    r = tf.stop_gradient(tf.clip_by_value(deviation / moving_deviation, 1 / r_max, r_max))
    d = tf.stop_gradient(tf.clip_by_value((mean - moving_mean) / moving_deviation, -d_max, d_max))
    return r, d


def switchable_normalization(x, mean_weights, variance_weights, epsilon, gamma=None, beta=None, moving=None):
    """Luo et al. 2019, Eq. (2), (3): weighted sums of the moments of IN, LN and BN. Returns also BN's moments, `[C]`.

    moving: the moving averages (mean, variance), `[C]`, that replace the moments over the batch at test time.
    """
    instance_mean, instance_variance = tf.nn.moments(x, _space(x), keepdims=True)
    layer_mean, layer_variance = tf.nn.moments(x, [*_space(x), x.shape.rank - 1], keepdims=True)
    batch_mean, batch_variance = moving or tf.nn.moments(x, [0, *_space(x)])
    a, b, c = mean_weights
    mean = a * instance_mean + b * layer_mean + c * batch_mean
    a, b, c = variance_weights
    variance = a * instance_variance + b * layer_variance + c * batch_variance
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon), batch_mean, batch_variance


def combine(first_share, second_share, first, second):
    """Eq. (4): the weighted sum of two normalized feature maps."""
    return first_share * first + second_share * second


def sigmoid(rho):
    """Sigmoid(ρ) = 1 / (e^−ρ + 1), section 2.1."""
    return tf.nn.sigmoid(rho)


def clip(rho):
    """Clip(ρ) to [0, 1], as the original BIN does by section 2.1 (its authors project ρ after each step instead)."""
    return tf.clip_by_value(rho, 0, 1)


def softmax(rho):
    """Softmax(ρ₁, ρ₂), section 3."""
    return tf.nn.softmax(rho)


def scale_and_shift(x, gamma, beta):
    """γ·x + β, the last equation of section 2.1."""
    return gamma * x + beta


def _space(x):
    return list(range(1, x.shape.rank - 1))
