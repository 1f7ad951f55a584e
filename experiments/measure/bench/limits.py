"""The benchmark's part on physical limits: a step's arithmetic, the kernels' bandwidth against a copy's, memory."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from experiments.measure.bench.ours import IMPLEMENTATIONS, random_batch, training_step
from ilnrepro import tf
from ilnrepro.networks.layers import TransposedConvolution
from ilnrepro.networks.unet import UNet
from ilnrepro.norms import kernels


def step_flop(size, batch=1):
    """Floating-point operations of one training step's convolutions, counted from the shapes.

    A convolution costs 2·(output positions)·(numbers in its kernel) forward, as much again for the gradient of its
    weights, and as much again for the gradient of its input, which the first layer does not need.
    """
    network, total = UNet("none"), 0
    for i, layer in enumerate(network.layers):
        stage = layer.name.split("/")[0]
        level = network.pools if stage == "bottom" else 0 if stage == "head" else int(stage[-1]) - 1
        side = size // 2**level
        # A transposed convolution of stride 2 uses each of its inputs once for each kernel position.
        positions = (side // 2) ** 2 if isinstance(layer, TransposedConvolution) else side**2
        total += 2 * positions * int(tf.size(layer.weights)) * (2 if i == 0 else 3)
    return total * batch


def _seconds(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def kernel_rates(shape=(8, 256, 256, 16), repeats=7):
    """GB/s of each native kernel (bytes read and written over time), and of a plain copy.

    The calls are eager: on small maps they would show dispatch, so the map is large.
    """
    rng = np.random.default_rng(0)
    x, dy = (tf.constant(rng.standard_normal(shape), tf.float32) for _ in range(2))
    map_bytes = int(np.prod(shape)) * 4
    kernel = kernels.native
    mean, variance = kernel.moments(x)
    coefficients = (mean, tf.ones_like(mean), tf.zeros_like(mean))
    calls = {
        "moments": (1, lambda: kernel.moments(x)),
        "apply": (2, lambda: kernel.apply(x, *coefficients, relu=True)),
        "apply_gradient_sums": (2, lambda: kernel.apply_gradient_sums(dy, x, *coefficients, relu=True)),
        "apply_gradient_input": (
            3, lambda: kernel.apply_gradient_input(dy, x, *coefficients, mean, variance, relu=True)),
        "copy": (2, lambda: tf.identity(x) + 0),
    }
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, (_, call) in calls.items():
            times[name].append(_seconds(call))
    return {name: passes * map_bytes / min(times[name]) / 1e9 for name, (passes, _) in calls.items()}


def peak_memory(implementation, method, size=256, batch=8, network="paper"):
    """Peak memory of training steps, MiB above the start, measured in a process of their own."""
    done = subprocess.run([sys.executable, "-m", __name__, implementation, method, str(size), str(batch), network],
                          capture_output=True, encoding="utf-8", check=True)
    return float(done.stdout.split()[-1])


def _steps_memory(implementation, method, size, batch, network, steps=10):
    """The largest resident size during some steps, minus the size before the first, MiB."""
    form, kernel = IMPLEMENTATIONS[implementation]
    # After this step, libraries and compiled rules are in memory.
    training_step(method, form, kernel, *random_batch(32, 1, network), network)
    data = random_batch(size, batch, network)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak so far is forgotten
    before = _status("VmRSS")
    training_step(method, form, kernel, *data, network)(steps)
    return (_status("VmHWM") - before) / 1024


def _status(key):
    """A size of this process by its name in /proc/self/status, KiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


if __name__ == "__main__":
    print(_steps_memory(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
