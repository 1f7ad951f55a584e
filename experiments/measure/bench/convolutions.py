"""The benchmark's part on single convolutions: GFLOP/s by shape and pass.

TensorFlow's own operations, its oneDNN ones and the native ones take turns, and the best turn of each counts. With one
thread the processor's time is measured, so that other work on the machine matters less.
"""

import json
import subprocess
import sys
import time

import numpy as np

from experiments.measure.bench import product
from experiments.measure.bench.rounds import environment
from ilnrepro import tf
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.norms.kernels import native

# Sides, channels in and out, taps, stride (transposed where 2), dilation; the first are the U-Net's at 256², then its
# lowest at 128² and 64².
SHAPES = [((256, 256), 1, 16, 3, 1, 1), ((256, 256), 16, 16, 3, 1, 1), ((256, 256), 32, 16, 3, 1, 1),
          ((128, 128), 16, 32, 3, 1, 1), ((128, 128), 32, 32, 3, 1, 1), ((128, 128), 64, 32, 3, 1, 1),
          ((64, 64), 32, 64, 3, 1, 1), ((64, 64), 64, 64, 3, 1, 1), ((64, 64), 128, 64, 3, 1, 1),
          ((32, 32), 64, 128, 3, 1, 1), ((32, 32), 128, 128, 3, 1, 1), ((32, 32), 256, 128, 3, 1, 1),
          ((16, 16), 128, 256, 3, 1, 1), ((16, 16), 256, 256, 3, 1, 1),
          ((8, 8), 256, 256, 3, 1, 1), ((4, 4), 256, 256, 3, 1, 1),
          ((128, 128), 32, 16, 3, 2, 1), ((64, 64), 64, 32, 3, 2, 1), ((32, 32), 128, 64, 3, 2, 1),
          ((16, 16), 256, 128, 3, 2, 1), ((16, 64, 64), 32, 32, 3, 1, 1), ((16, 64, 64), 32, 32, 3, 1, 2),
          ((8, 32, 32), 64, 64, 3, 1, 1), ((8, 32, 32), 32, 64, 2, 2, 1)]
PASSES = ("forward", "input", "filters")
WAYS = ("TensorFlow", "oneDNN", "native")


def name(shape):
    sides, inputs, outputs, taps, stride, dilation = shape
    further = (f", {taps} taps, transposed" if stride == 2 else "") + (f", dilated {dilation}" if dilation > 1 else "")
    return f"{'×'.join(map(str, sides))}, {inputs} to {outputs}{further}"


def flop(shape):
    """Floating-point operations of one pass at batch 1."""
    sides, inputs, outputs, taps, _, _ = shape
    return 2 * int(np.prod(sides)) * inputs * outputs * taps**len(sides)


def passes(shape, way):
    """{pass: a function that computes it}, for batch 1, by TensorFlow's operations or the native ones."""
    from ilnrepro.networks import convolutions
    from ilnrepro.norms import kernels

    kernels.use("native" if way == "native" else "tensorflow")
    sides, inputs, outputs, taps, stride, dilation = shape
    channels = (outputs, inputs) if stride == 2 else (inputs, outputs)
    x = tf.random.stateless_normal([1, *sides, inputs], (0, 0))
    w = tf.random.stateless_normal([*[taps] * len(sides), *channels], (0, 1))

    def forward(x, w):
        return convolutions.transposed(x, w) if stride == 2 else convolutions.convolution(x, w, dilation=dilation)

    def gradient(x, w, dy, kind):
        with tf.GradientTape() as tape:
            tape.watch(x if kind == "input" else w)
            y = forward(x, w)
        return tape.gradient(y, x if kind == "input" else w, dy)

    graph = tf.function(forward)
    functions = {"forward": lambda: graph(x, w)}
    dy = graph(x, w)
    for kind in PASSES[1:]:
        function = tf.function(lambda x, w, dy, kind=kind: gradient(x, w, dy, kind))
        functions[kind] = lambda function=function: function(x, w, dy)
    for function in functions.values():
        function()
    return functions


def worker(threads):
    """Answers each [way, shape] on standard input with {pass: best seconds of a few calls}, in JSON.

    The way 'product' is the libraries' matrix product, and ignores the shape.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    clock, ready = time.process_time if threads == 1 else time.perf_counter, {}
    for line in sys.stdin:
        way, shape = json.loads(line)
        if (way, str(shape)) not in ready:
            ready[way, str(shape)] = passes(shape, way) if way != "product" else {
                library: step for (_, library), step in product.steps(None, None, ("numpy", "tensorflow")).items()}
        best = {}
        for kind, function in ready[way, str(shape)].items():
            times = []
            for _ in range(3):
                started = clock()
                function()
                times.append(clock() - started)
            best[kind] = min(times)
        print("{}" + json.dumps(best), flush=True)


def measure(threads, rounds, say, shapes=SHAPES):
    """The best seconds of each shape, pass and way, and the rate of the product in the same rounds.

    Returns:
      {threads, rounds, instruction_set, product_gflop_per_s, rows: [{shape, pass, gflop, seconds: {way: seconds}}]}.
    """
    processes = {}
    for way, onednn in (("TensorFlow", "0"), ("oneDNN", "1")):
        processes[way] = subprocess.Popen(
            [sys.executable, "-m", "experiments.measure.bench.convolutions", str(threads)],
            env=environment(threads, onednn), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, encoding="utf-8")
    processes["native"] = processes["product"] = processes["TensorFlow"]
    best = {}
    for n in range(rounds):
        say(f"convolutions, {threads} thread(s): round {n + 1} of {rounds}")
        for way, shape in [("product", None), *((way, shape) for shape in shapes for way in WAYS)]:
            processes[way].stdin.write(json.dumps([way, shape]) + "\n")
            processes[way].stdin.flush()
            answer = next(line for line in processes[way].stdout if line.startswith("{}"))
            for kind, seconds in json.loads(answer[2:]).items():
                key = way, shape, kind
                best[key] = min(best.get(key, seconds), seconds)
    for process in (processes["TensorFlow"], processes["oneDNN"]):
        process.stdin.close()
        process.wait()
    fastest = min(seconds for (way, *_), seconds in best.items() if way == "product")
    return {"threads": threads, "rounds": rounds, "instruction_set": native.instruction_set(),
            "product_gflop_per_s": product.FLOP / fastest / 1e9,
            "rows": [{"shape": name(shape), "pass": kind, "gflop": flop(shape) / 1e9,
                      "seconds": {way: best[way, shape, kind] for way in WAYS}}
                     for shape in shapes for kind in PASSES]}


def sheet(results, machine):
    """The table of GFLOP/s by shape and pass, with the ratio of native to the better of TensorFlow's."""
    body = []
    for row in results["rows"]:
        seconds = row["seconds"]
        native_rate = row["gflop"] / seconds["native"]
        body.append([row["shape"], row["pass"], *(f"{row['gflop'] / seconds[way]:.1f}" for way in WAYS),
                     f"{min(seconds['TensorFlow'], seconds['oneDNN']) / seconds['native']:.2f}",
                     f"{native_rate / results['product_gflop_per_s']:.2f}"])
    return Sheet(
        f"Convolutions, {results['threads']} thread(s)",
        f"GFLOP/s at batch 1, {results['threads']} thread(s), {results['instruction_set']}: the best of "
        f"{results['rounds']} rounds of turns; a 2048² float32 product reached {results['product_gflop_per_s']:.0f} in "
        f"the same. {machine}.",
        ["shape", "pass", *WAYS, "native over the better", "share of the product"], body)


if __name__ == "__main__":
    worker(int(sys.argv[1]))
