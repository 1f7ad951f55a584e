"""The physical limits: arithmetic against a matrix product, kernels against a copy, memory against the literal form."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from experiments.measure.bench.ours import ready_step
from ilnrepro import tf
from ilnrepro.networks.layers import TransposedConvolution
from ilnrepro.networks.unet import UNet
from ilnrepro.norms import kernels


def step_flop(size, batch=1):
    """Floating-point operations of one training step's convolutions, counted from the shapes.

    A convolution costs 2·(output positions)·(numbers in its kernel) forward, as much again for the gradient of its
    weights, and again for that of its input, which the first layer does not need.
    """
    network, total = UNet("none"), 0
    for i, layer in enumerate(network.layers):
        stage = layer.name.split("/")[0]
        level = network.pools if stage == "bottom" else 0 if stage == "head" else int(stage[-1]) - 1
        side = size // 2**level
        # A transposed convolution of stride 2 uses each of its inputs once a kernel position.
        positions = (side // 2) ** 2 if isinstance(layer, TransposedConvolution) else side**2
        total += 2 * positions * int(tf.size(layer.weights)) * (2 if i == 0 else 3)
    return total * batch


def matrix_product_rate(side=4096, repeats=3):
    """Best rate of a float32 matrix product, FLOP/s, on the threads that TensorFlow has."""
    a = tf.random.stateless_normal([side, side], (0, 0))
    product = tf.function(lambda a: tf.matmul(a, a))
    product(a)
    best = min(_seconds(lambda: product(a).numpy()[0, 0]) for _ in range(repeats))
    return 2 * side**3 / best


def _seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def kernel_rates(shape=(8, 256, 256, 16), repeats=7):
    """GB/s of each native kernel (bytes read and written over time), and of a plain copy. Eager, so the smallest maps
    would show dispatch; this one is large."""
    rng = np.random.default_rng(0)
    x, dy = (tf.constant(rng.standard_normal(shape), tf.float32) for _ in range(2))
    numbers = int(np.prod(shape)) * 4
    kernel = kernels.native
    mean, variance = kernel.moments(x)
    coefficients = (mean, tf.ones_like(mean), tf.zeros_like(mean))
    works = {
        "moments": (1, lambda: kernel.moments(x)),
        "apply": (2, lambda: kernel.apply(x, *coefficients, relu=True)),
        "apply_gradient_sums": (2, lambda: kernel.apply_gradient_sums(dy, x, *coefficients, relu=True)),
        "apply_gradient_input": (
            3, lambda: kernel.apply_gradient_input(dy, x, *coefficients, mean, variance, relu=True)),
        "copy": (2, lambda: tf.identity(x) + 0),
    }
    times = {name: [] for name in works}
    for _ in range(repeats):
        for name, (_, work) in works.items():
            times[name].append(_seconds(work))
    return {name: passes * numbers / min(times[name]) / 1e9 for name, (passes, _) in works.items()}


def peak_memory(method, form, size=256, batch=8):
    """MiB that a training step adds to a process at its peak, measured in a process of its own."""
    done = subprocess.run([sys.executable, "-m", __name__, method, form, str(size), str(batch)],
                          capture_output=True, encoding="utf-8", check=True)
    return float(done.stdout.split()[-1])


def _step_memory(method, form, size, batch):
    rng = np.random.default_rng(0)

    def ready(side, n):
        return (tf.constant(rng.random((n, side, side, 1)), tf.float32),
                tf.constant(rng.integers(0, 2, (n, side, side)), tf.int32))

    ready_step(method, form, "auto", *ready(32, 1))  # libraries and compiled rules are in memory from here on
    images, masks = ready(size, batch)
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            before = int(line.split()[1])
    ready_step(method, form, "auto", images, masks)(2)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


if __name__ == "__main__":
    print(_step_memory(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
