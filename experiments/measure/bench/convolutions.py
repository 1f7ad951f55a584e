"""Convolutions by themselves: `python -m experiments.measure.bench.convolutions`, in GFLOP/s by shape and pass.

TensorFlow's own operations, its oneDNN ones and the native ones take turns, and the best turn of each counts. With one
thread it is the processor's time that counts, so that what else the machine does matters less.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
from rich.console import Console

from ilnrepro import tf
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.norms.kernels import native

# Sides, channels in and out, taps, stride (transposed where 2), dilation; the first are the U-Net's at 256².
SHAPES = [((256, 256), 1, 16, 3, 1, 1), ((256, 256), 16, 16, 3, 1, 1), ((256, 256), 32, 16, 3, 1, 1),
          ((128, 128), 16, 32, 3, 1, 1), ((128, 128), 32, 32, 3, 1, 1), ((128, 128), 64, 32, 3, 1, 1),
          ((64, 64), 32, 64, 3, 1, 1), ((64, 64), 64, 64, 3, 1, 1), ((64, 64), 128, 64, 3, 1, 1),
          ((32, 32), 64, 128, 3, 1, 1), ((32, 32), 128, 128, 3, 1, 1), ((32, 32), 256, 128, 3, 1, 1),
          ((16, 16), 128, 256, 3, 1, 1), ((16, 16), 256, 256, 3, 1, 1),
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
    """Of one pass at batch 1."""
    sides, inputs, outputs, taps, _, _ = shape
    return 2 * int(np.prod(sides)) * inputs * outputs * taps**len(sides)


def works(shape, way):
    """{pass: what computes it}, for batch 1."""
    from ilnrepro.networks import convolutions
    from ilnrepro.norms import kernels

    kernels.use("native" if way == "native" else "tensorflow")
    sides, inputs, outputs, taps, stride, dilation = shape
    channels = (outputs, inputs) if stride == 2 else (inputs, outputs)
    x = tf.random.stateless_normal([1, *sides, inputs], (0, 0))
    w = tf.random.stateless_normal([*[taps] * len(sides), *channels], (0, 1))

    def forward(x, w):
        return convolutions.transposed(x, w) if stride == 2 else convolutions.convolution(x, w, dilation=dilation)

    def gradient(x, w, dy, by):
        with tf.GradientTape() as tape:
            tape.watch(x if by == "input" else w)
            y = forward(x, w)
        return tape.gradient(y, x if by == "input" else w, dy)

    graph = tf.function(forward)
    made = {"forward": lambda: graph(x, w)}
    dy = graph(x, w)
    for by in PASSES[1:]:
        function = tf.function(lambda x, w, dy, by=by: gradient(x, w, dy, by))
        made[by] = lambda function=function: function(x, w, dy)
    for work in made.values():
        work()
    return made


def worker(threads):
    """Answers for each [way, shape] on standard input with the best seconds of each pass in a few calls."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    clock, ready = time.process_time if threads == 1 else time.perf_counter, {}
    for line in sys.stdin:
        way, shape = json.loads(line)
        if (way, str(shape)) not in ready:
            ready[way, str(shape)] = works(shape, way)
        best = {}
        for kind, work in ready[way, str(shape)].items():
            times = []
            for _ in range(3):
                started = clock()
                work()
                times.append(clock() - started)
            best[kind] = min(times)
        print("{}" + json.dumps(best), flush=True)


def measure(threads, rounds, say):
    """{(shape, pass): {way: seconds}}."""
    processes = {}
    for way, onednn in (("TensorFlow", "0"), ("oneDNN", "1")):
        processes[way] = subprocess.Popen(
            [sys.executable, "-m", "experiments.measure.bench.convolutions", "--worker", "--threads", str(threads)],
            env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn, "TF_CPP_MIN_LOG_LEVEL": "3"}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8")
    processes["native"] = processes["TensorFlow"]
    found = {(name(shape), kind): dict.fromkeys(WAYS, float("inf")) for shape in SHAPES for kind in PASSES}
    for n in range(rounds):
        say(f"round {n + 1} of {rounds}")
        for shape in SHAPES:
            for way, process in processes.items():
                process.stdin.write(json.dumps([way, shape]) + "\n")
                process.stdin.flush()
                answer = next(line for line in process.stdout if line.startswith("{}"))
                for kind, seconds in json.loads(answer[2:]).items():
                    found[name(shape), kind][way] = min(found[name(shape), kind][way], seconds)
    for process in (processes["TensorFlow"], processes["oneDNN"]):
        process.stdin.close()
        process.wait()
    return found


def sheet(found, threads, rounds):
    """GFLOP/s by shape and pass, and the native ones over the better of TensorFlow's."""
    flops = {name(shape): flop(shape) for shape in SHAPES}
    body = [[shape, kind, *(f"{flops[shape] / times[way] / 1e9:.1f}" for way in WAYS),
             f"{min(times['TensorFlow'], times['oneDNN']) / times['native']:.2f}"]
            for (shape, kind), times in found.items()]
    return Sheet("Convolutions", f"GFLOP/s at batch 1, {threads} thread(s), {native.instruction_set()}: the best of "
                 f"{rounds} rounds of turns.", ["shape", "pass", *WAYS, "native over the better"], body)


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m experiments.measure.bench.convolutions", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.threads)
        return
    found = measure(arguments.threads, arguments.rounds, lambda text: print(text, file=sys.stderr, flush=True))
    table = sheet(found, arguments.threads, arguments.rounds)
    Console(width=120).print(table.rich())
    print(table.caption)


if __name__ == "__main__":
    main()
