"""A rule applied to a feature map: moments, rule, apply, and the gradient that mirrors them.

The feature map is read twice and written once forward, and backward read twice more with the incoming gradient and
written once, whatever the rule. Between convolutions that sum moments and apply maps themselves it is not touched
forward, and backward read once with the incoming gradient, which is overwritten. The rule's own arithmetic, on arrays
of `[N, C]`, is compiled to one operation forward and one backward: dispatched one by one, its small operations would
cost more than their work.
"""

import functools

from ilnrepro import tf
from ilnrepro.norms import kernels
from ilnrepro.norms.values import AffineMap, Context, Unapplied


def normalize(x, bias, gamma, beta, parameters, rule, settings, training, relu):
    """relu(γ·rule(x + bias) + β), differentiable in x and all parameters.

    Args:
      x: `[N, ..., C]`, a convolution's output without its bias. For 16-bit x, moments and sums are computed in float32,
        because they could overflow.
      bias, gamma, beta: `[C]`; a rule without γ and β ignores these.
      parameters: the rule's own tensors by name.
      relu: whether the ReLU is applied.

    Returns:
      (the normalized feature map, {parameter: the batch moment that this moving average follows}).
    """
    if x.dtype.size < 4:
        wide = [v if v is None else tf.cast(v, tf.float32) for v in (x, bias, gamma, beta)]
        values = {name: tf.cast(v, tf.float32) for name, v in parameters.items()}
        y, moments = normalize(*wide, values, rule, settings, training, relu)
        return tf.cast(y, x.dtype), moments
    if not rule.needs_moments:
        return plain(x, bias, gamma, beta, parameters, rule, settings, training, relu)
    kernel = kernels.module_for(x)
    coefficients, gradients = _compiled(rule, settings, training, tuple(parameters), x.shape[-1], x.dtype)

    @tf.custom_gradient
    def forward(x, *arguments):
        mean, variance = kernel.moments(x)
        scale, offset, batch_moments = coefficients(mean, variance, *arguments)
        y = kernel.apply(x, mean, scale, offset, relu)

        @tf.custom_gradient
        def gradient(dy, x, *arguments):
            dscale, doffset = kernel.apply_gradient_sums(dy, x, mean, scale, offset, relu)
            dmean, dvariance, *darguments = gradients(dscale, doffset, mean, variance, *arguments)
            dx = kernel.apply_gradient_input(dy, x, mean, scale, offset, dmean, dvariance, relu)
            return (dx, *darguments), lambda *upstream: gradient_again(upstream, dy, x, *arguments)

        names.extend(batch_moments)
        return (y, *batch_moments.values()), lambda dy, *_: gradient(dy, x, *arguments)

    def gradient_again(upstream, dy, *inputs):
        with tf.GradientTape() as second:
            second.watch((dy, *inputs))
            with tf.GradientTape() as first:
                first.watch(inputs)
                values = dict(zip(parameters, inputs[4:], strict=True))
                y, _ = plain(*inputs[:4], values, rule, settings, training, relu)
            gradients = first.gradient(y, inputs, dy, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return second.gradient(gradients, (dy, *inputs), upstream,
                               unconnected_gradients=tf.UnconnectedGradients.ZERO)

    names = []
    y, *moments = forward(x, bias, gamma, beta, *parameters.values())
    return y, dict(zip(names, moments, strict=True))


def unapplied(x, moments, bias, gamma, beta, parameters, rule, settings, training):
    """`normalize` with the ReLU where the convolution before it gave the moments and whoever reads it applies the map.

    Args:
      moments: mean and variance of x, `[N, C]`; of a rule that needs none, any numbers. The gradient by x, which holds
        theirs, is first order.

    Returns:
      (an `Unapplied`, {parameter: the batch moment that this moving average follows}).
    """
    mean, variance = moments
    coefficients, gradients = _compiled(rule, settings, training, tuple(parameters), x.shape[-1], x.dtype)

    @tf.custom_gradient
    def forward(x, *arguments):
        scale, offset, batch_moments = coefficients(mean, variance, *arguments)

        def gradient(dy, dscale, doffset, *_):
            dmean, dvariance, *darguments = gradients(dscale, doffset, mean, variance, *arguments)
            dx = kernels.native.apply_gradient_input(dy, x, mean, scale, offset, dmean, dvariance, relu=True)
            return dx, *darguments

        names.extend(batch_moments)
        return (tf.identity(x), scale, offset, *batch_moments.values()), gradient

    names = []
    x, scale, offset, *moments = forward(x, bias, gamma, beta, *parameters.values())
    return Unapplied(x, mean, scale, offset), dict(zip(names, moments, strict=True))


def plain(x, bias, gamma, beta, parameters, rule, settings, training, relu):
    """The same as `normalize`, by TensorFlow's own operations alone.

    Any process can load such a graph, and gradients of any order exist. It is slower, because nothing is compiled and
    the backward pass keeps intermediate results of the forward pass.
    """
    if not rule.needs_moments:
        y = tf.nn.bias_add(x, bias)
        return (tf.nn.relu(y) if relu else y), {}
    mean, variance = kernels.portable.moments(x)
    scale, offset, moments = _coefficients(rule, settings, training, parameters, mean, variance, bias, gamma, beta)
    return kernels.portable.apply(x, mean, scale, offset, relu), moments


def _coefficients(rule, settings, training, parameters, mean, variance, bias, gamma, beta):
    """The rule's map from moments and parameters to (scale, offset, batch moments)."""
    context = Context(settings, training)
    y = rule(AffineMap(tf.ones_like(mean), mean + bias, variance), parameters, context)
    moving = {name: tf.reshape(value, parameters[name].shape) for name, value in context.batch_moments.items()}
    return y.scale * gamma, y.offset * gamma + beta, moving


@functools.cache
def _compiled(rule, settings, training, names, channels, dtype):
    """The rule's map from moments and parameters to (scale, offset, batch moments), and its gradient, each compiled.

    One pair for each number of channels and type, shared by all layers of that number.
    """

    def coefficients(mean, variance, bias, gamma, beta, *values):
        parameters = dict(zip(names, values, strict=True))
        return _coefficients(rule, settings, training, parameters, mean, variance, bias, gamma, beta)

    def gradients(dscale, doffset, *inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            scale, offset, _ = coefficients(*inputs)
        dmean, *others = tape.gradient((scale, offset), inputs, (dscale, doffset),
                                       unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return dmean - scale * doffset, *others  # the apply's own use of the mean

    compiled = rule.needs_moments  # else there is next to nothing to compute
    return (tf.function(coefficients, jit_compile=compiled, autograph=False),
            tf.function(gradients, jit_compile=compiled, autograph=False))
