"""The command `python -m experiments verify-gpu`: a GPU's numbers against the CPU's, the cost of ILN, and one run.

Without a GPU it says so, and ends with status 2.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from experiments.measure import cost
from experiments.measure.bench.ours import methods
from ilnrepro import tf
from ilnrepro.console import call
from ilnrepro.norms import Normalization, kernels
from ilnrepro.storage import runfile

TOLERANCE = 2e-3  # of the largest value, for outputs and gradients in float32


def parity(method):
    """The largest relative difference of outputs and gradients between the GPU and the CPU, in float32.

    The GPU computes the fused form under XLA, the CPU the literal equations.
    """
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2, 64, 64, 32)) * rng.uniform(0.5, 3, 32) + rng.normal(size=32)).astype(np.float32)
    upstream = rng.normal(size=x.shape).astype(np.float32)
    results = []
    for device, form, compiled in (("CPU:0", "reference", False), ("GPU:0", "fused", True)):
        with tf.device(device):
            layer = Normalization(method, 32, form=form)
            apply = tf.function(lambda x, layer=layer: layer(x, training=True, relu=True), jit_compile=compiled)
            trainable = [v for v in layer.named_variables.values() if v.trainable]
            values = tf.constant(x)
            with tf.GradientTape() as tape:
                tape.watch(values)
                y = apply(values)
            results.append([y, *tape.gradient(y, [values, *trainable], upstream, unconnected_gradients="zero")])
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(a).max())) for a, b in
               zip(*([np.asarray(v) for v in side] for side in results), strict=True))


def add(commands, write_cost):
    """Adds the command to the subparsers `commands`.

    Args:
      write_cost: write_cost(measured, results) writes a measurement of `cost` and its table.
    """
    parser = commands.add_parser("verify-gpu", help="check a GPU against the CPU: parity, cost, one run, and a verdict")
    parser.add_argument("--results", type=Path, default=Path("build/verify-gpu"))
    parser.set_defaults(act=lambda arguments: verify(arguments, write_cost))


def verify(arguments, write_cost):
    """Checks parity, cost and one run; returns 0 if all is well, 1 if not, 2 without a GPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        print("verify-gpu: TensorFlow sees no GPU; install the extra 'gpu' on a machine that has one", file=sys.stderr)
        return 2
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    kernels.use("tensorflow")
    passed = True
    for method in methods():
        difference = parity(method)
        passed &= difference < TOLERANCE
        print(f"parity {method}: largest difference {difference:.1e}{'' if difference < TOLERANCE else ', TOO LARGE'}")
    measured = cost.measure()
    write_cost(measured, arguments.results)
    print((arguments.results / "tables" / "cost.md").read_text(encoding="utf-8"))
    passed &= _lite_run(arguments.results)
    print(f"verdict: {'the GPU does what the CPU does' if passed else 'something is wrong, see above'}")
    return 0 if passed else 1


def _lite_run(results):
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "phantom-lv-256.h5"
        for words in (["data_prep", "phantom", "--structure", "LV", "--output", str(data)],
                      ["ilnrepro", "run", "--data", str(data), "--results", str(results), "--protocol", "lite",
                       "--method", "iln", "--fold", "1", "--rate", "0.1"]):
            if status := call([sys.executable, "-m", *words]):
                print(f"lite run: `{' '.join(words[:2])}` failed with status {status}")
                return False
    run = runfile.read(results / "runs/phantom-lv-256/lite/iln/fold1-lr0.1-seed0.h5")
    print(f"lite run (SYNTHETIC): {run.status}, DSC {run.dice.mean() if run.test else float('nan'):.3f}, "
          f"{1000 * run.timing['training'] / run.timing['steps']:.1f} ms a step")
    return run.status == "complete"
