"""A rule applied to a feature map: moments, rule, apply, and the gradient that mirrors them.

The feature map is read twice and written once forward, and backward read twice more with the incoming gradient and
written once, whatever the rule. The rule's own arithmetic, on arrays of `[N, C]`, is compiled to one operation forward
and one backward: dispatched one by one, its small operations would cost more than their work.
"""

import functools

from ilnrepro import tf
from ilnrepro.norms import kernels
from ilnrepro.norms.values import AffineMap, Context


def normalize(x, bias, gamma, beta, parameters, rule, settings, training, relu):
    """relu(γ·rule(x + bias) + β), differentiable once in x and all parameters.

    Args:
      x: `[N, ..., C]`, a convolution's output without its bias. Of 16 bits, its moments and all sums are taken in
        float32, for they would overflow.
      bias: `[C]`; gamma, beta: `[C]`; a rule without them passes by.
      parameters: the rule's own tensors by name.
      relu: whether the ReLU is applied.

    Returns:
      the normalized feature map, and the batch moments that moving averages follow (by parameter name).
    """
    if x.dtype.size < 4:
        wide = [v if v is None else tf.cast(v, tf.float32) for v in (x, bias, gamma, beta)]
        values = {name: tf.cast(v, tf.float32) for name, v in parameters.items()}
        y, moments = normalize(*wide, values, rule, settings, training, relu)
        return tf.cast(y, x.dtype), moments
    if not rule.needs_moments:
        y = tf.nn.bias_add(x, bias)
        return (tf.nn.relu(y) if relu else y), {}
    kernel = kernels.module_for(x)
    coefficients, gradients = _compiled(rule, settings, training, tuple(parameters), x.shape[-1], x.dtype)

    @tf.custom_gradient
    def forward(x, *arguments):
        mean, variance = kernel.moments(x)
        scale, offset, batch_moments = coefficients(mean, variance, *arguments)
        y = kernel.apply(x, mean, scale, offset, relu)

        def gradient(dy, *_):
            dscale, doffset = kernel.apply_gradient_sums(dy, x, mean, scale, offset, relu)
            dmean, dvariance, *darguments = gradients(dscale, doffset, mean, variance, *arguments)
            return kernel.apply_gradient_input(dy, x, mean, scale, offset, dmean, dvariance, relu), *darguments

        names.extend(batch_moments)
        return (y, *batch_moments.values()), gradient

    names = []
    y, *moments = forward(x, bias, gamma, beta, *parameters.values())
    return y, dict(zip(names, moments, strict=True))


@functools.cache
def _compiled(rule, settings, training, names, channels, dtype):
    """The rule's map from moments and parameters to (scale, offset, batch moments), and its gradient, each compiled.

    One pair for each number of channels and type, shared by all layers of that number.
    """

    def coefficients(mean, variance, bias, gamma, beta, *values):
        context = Context(settings, training)
        start = AffineMap(tf.ones_like(mean), mean + bias, variance)
        parameters = dict(zip(names, values, strict=True))
        y = rule(start, parameters, context)
        moving = {name: tf.reshape(value, parameters[name].shape) for name, value in context.batch_moments.items()}
        return y.scale * gamma, y.offset * gamma + beta, moving

    def gradients(dscale, doffset, *inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            scale, offset, _ = coefficients(*inputs)
        dmean, *others = tape.gradient((scale, offset), inputs, (dscale, doffset),
                                       unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return dmean - scale * doffset, *others  # the apply's own use of the mean

    return (tf.function(coefficients, jit_compile=True, autograph=False),
            tf.function(gradients, jit_compile=True, autograph=False))
