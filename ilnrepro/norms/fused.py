"""A rule applied to a feature map: moments, rule, apply, and the gradient that mirrors them.

The feature map is read twice and written once forward, and backward read twice more with the incoming gradient and
written once, whatever the rule.
"""

import tensorflow as tf

from ilnrepro.norms import kernels
from ilnrepro.norms.rules import AffineMap, Context


def normalize(x, bias, gamma, beta, parameters, rule, settings, training, relu):
    """relu(γ·rule(x + bias) + β), differentiable once in x and all parameters.

    Args:
      x: `[N, ..., C]`, a convolution's output without its bias.
      bias: `[C]`; gamma, beta: `[C]`, or None for a rule without them.
      parameters: the rule's own tensors by name.
      relu: whether the ReLU is applied.

    Returns:
      the normalized feature map, and the batch moments that moving averages follow (by parameter name).
    """
    if not rule.needs_moments:
        y = tf.nn.bias_add(x, bias)
        return (tf.nn.relu(y) if relu else y), {}
    names = list(parameters)
    kernel = kernels.module_for(x)

    def small(mean, variance, bias, gamma, beta, *values):
        context = Context(settings, training)
        start = AffineMap(tf.ones_like(mean), mean + bias, variance)
        y = rule(start, dict(zip(names, values, strict=True)), context)
        scale = tf.broadcast_to(y.scale * gamma, tf.shape(mean))
        offset = tf.broadcast_to(y.offset * gamma + beta, tf.shape(mean))
        return scale, offset, context.batch_moments

    @tf.custom_gradient
    def forward(x, *arguments):
        mean, variance = kernel.moments(x)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch((mean, variance, arguments))
            scale, offset, batch_moments = small(mean, variance, *arguments)
        y = kernel.apply(x, mean, scale, offset, relu)

        def gradient(dy, *_):
            dscale, doffset = kernel.apply_gradient_sums(dy, x, mean, scale, offset, relu)
            dmean, dvariance, *darguments = tape.gradient(
                (scale, offset), (mean, variance, *arguments), (dscale, doffset),
                unconnected_gradients=tf.UnconnectedGradients.ZERO)
            dmean -= scale * doffset
            return kernel.apply_gradient_input(dy, x, mean, scale, offset, dmean, dvariance, relu), *darguments

        moving = {name: tf.stop_gradient(tf.reshape(value, [-1])) for name, value in batch_moments.items()}
        kept.update(dict.fromkeys(moving))
        return (y, *moving.values()), gradient

    kept = {}
    y, *moments = forward(x, bias, gamma, beta, *(parameters[name] for name in names))
    return y, dict(zip(kept, moments, strict=True))
