"""Layers of the library with given values in their variables; their outputs and gradients in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from ilnrepro.norms import Normalization, Settings


def seldom(values, often):
    """The values of a parametrized test, of which those that are not in `often` are marked slow."""
    return [value if value in often else pytest.param(*(value if isinstance(value, tuple) else [value]),
                                                      marks=pytest.mark.slow) for value in values]


def built(name, values, form, dtype="float64", settings=None, channels=None):
    """A layer whose variables hold `values`, all of them and no others."""
    layer = Normalization(name, channels or len(values["bias"]), settings or Settings(), form, dtype=dtype)
    assert set(layer.named_variables) == set(values)
    for key, variable in layer.named_variables.items():
        assert variable.shape == np.shape(values[key]), key
        variable.assign(values[key])
    return layer


def run(layer, x, upstream, training=True, relu=False, through=lambda call: call):
    """(output, {name: gradient of Σ upstream·output}) by x and all trainable variables.

    through: `tf.function` or another wrapper of the computation.
    """
    variables = {key: v for key, v in layer.named_variables.items() if v.trainable}

    @through
    def call(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training, relu)
        return y, tape.gradient(y, {"x": x, **variables}, upstream)

    dtype = layer.bias.dtype
    y, gradients = call(tf.constant(x, dtype), tf.constant(upstream, dtype))
    assert all(gradient is not None for gradient in gradients.values())
    return y.numpy(), {key: tf.convert_to_tensor(gradient).numpy() for key, gradient in gradients.items()}


def form_of(name, use):
    """The form of a layer by a name of `conftest.FORMS`; the fixture `use` sets the kernels of the fused one."""
    if name == "reference":
        return "reference"
    use(name)
    return "fused"
