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
    """The names of all methods, with GN4 and GN16 for <G>."""
    names = [name for name in METHODS if "<G>" not in name]
    return [*names[:4], "gn4", "gn16", *names[4:]]


def steps(size, batch, methods, network="paper"):
    """{(implementation, method): step}, where step(n) takes n steps on a random batch of images of `size`².

    ('reference', 'none') is the plain network: tf.nn convolution, bias and ReLU.

    Args:
      methods: names of methods, each in all implementations, or 'implementation/method'.
      network: name of the protocol whose network is measured; for volumes, an image is a slab of `size`².
    """
    wanted = [tuple(m.split("/")) for m in methods if "/" in m]
    wanted += [(implementation, m) for implementation in IMPLEMENTATIONS for m in methods if "/" not in m]
    result, data = {}, random_batch(size, batch, network)
    for implementation, method in wanted:
        form, kernel = IMPLEMENTATIONS[implementation]
        if kernel != "native" or kernels.native.available():
            result[implementation, method] = training_step(method, form, kernel, *data, network)
    return result


def random_batch(size, batch, network="paper"):
    """Random images `[batch, ..., 1]` and masks for a protocol's network."""
    rng, slab = np.random.default_rng(0), protocol(network).slab
    shape = (batch, *([slab] if slab else []), size, size)
    return tf.constant(rng.random((*shape, 1)), tf.float32), tf.constant(rng.integers(0, 2, shape), tf.int32)


def training_step(method, form, kernel, images, masks, network="paper"):
    """step(n), which takes n steps of one method on one batch; traced and warmed up. At rate 0 all steps are alike."""
    kernels.use(kernel)
    configuration = Configuration("random", "", "LV", method, 1, 0.1, 0, protocol(network, form=form, kernels=kernel))
    training = Training(configuration)
    batches = iter(tf.data.Dataset.from_tensors((images, masks)).repeat())

    def step(n=1):
        return float(training.block(batches, tf.constant(0.0), tf.constant(n))[-1])

    step()
    kernels.use("auto")
    return step


def set_threads(threads):
    """Sets the number of threads of this process; call it before TensorFlow does anything."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
