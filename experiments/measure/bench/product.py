"""The float32 product of two square matrices, by NumPy and by TensorFlow: the rate that a step is held against."""

import numpy as np

from ilnrepro import tf

SIDE = 2048
FLOP = 2 * SIDE**3


def steps(size, batch, methods):
    """{("product", library): step}; the product has a size of its own, and `step` takes it once."""
    a = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    x, product = tf.constant(a), tf.function(lambda x: tf.matmul(x, x))
    made = {"numpy": lambda: a @ a, "tensorflow": lambda: product(x).numpy()}
    return {("product", library): made[library] for library in methods}
