"""The float32 product of two square matrices, by NumPy and by TensorFlow: its rate is what a step is compared with."""

import numpy as np

from ilnrepro import tf

SIDE = 2048
FLOP = 2 * SIDE**3


def steps(size, batch, methods):
    """{("product", library): step}; `step` computes one product of side `SIDE`, whatever the arguments."""
    a = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    x, product = tf.constant(a), tf.function(lambda x: tf.matmul(x, x))
    products = {"numpy": lambda: a @ a, "tensorflow": lambda: product(x).numpy()}
    return {("product", library): products[library] for library in methods}
