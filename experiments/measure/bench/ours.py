"""This project's training step, in each of its implementations."""

import os

import numpy as np

from ilnrepro import tf
from ilnrepro.norms import METHODS, kernels
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.training.step import Training

# implementation -> (form, kernels)
IMPLEMENTATIONS = {"reference": ("reference", "tensorflow"), "tensorflow": ("fused", "tensorflow"),
                   "native": ("fused", "native")}


def methods():
    """Every method of the table, numbers put in for <G>."""
    names = [name for name in METHODS if "<G>" not in name]
    return [*names[:4], "gn4", "gn16", *names[4:]]


def steps(size, batch, methods, implementations=IMPLEMENTATIONS):
    """{(implementation, method): step}, where step(n) takes n steps on a ready batch [batch, size, size, 1].

    ('reference', 'none') is the plain network: tf.nn convolution, bias and ReLU.
    """
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((batch, size, size, 1)), tf.float32)
    masks = tf.constant(rng.integers(0, 2, (batch, size, size)), tf.int32)
    made = {}
    for implementation in implementations:
        form, kernel = IMPLEMENTATIONS[implementation]
        if kernel == "native" and not kernels.native.available():
            continue
        for method in methods:
            made[implementation, method] = ready_step(method, form, kernel, images, masks)
    return made


def ready_step(method, form, kernel, images, masks):
    """step(n) for one method on one ready batch, traced and warmed up. The rate is 0, so that all steps are alike."""
    kernels.use(kernel)
    chosen = protocol("paper", form=form, kernels=kernel)
    training = Training(Configuration("ready", "", "LV", method, 1, 0.1, 0, chosen))
    ready = iter(tf.data.Dataset.from_tensors((images, masks)).repeat())

    def step(n=1):
        return float(training.block(ready, tf.constant(0.0), tf.constant(n))[-1])

    step()
    kernels.use("auto")
    return step


def set_threads(threads):
    """Before TensorFlow does anything."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
