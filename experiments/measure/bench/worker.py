"""The worker process that measures one framework: `worker FRAMEWORK SIZE BATCH THREADS METHODS`.

It answers in lines of JSON. The first lists the (implementation, method, ...) of its steps; then each number of a step
on standard input is answered with the milliseconds of that step. Between its turns the process sleeps.
"""

import importlib
import json
import sys
import time

from experiments.measure.bench.rounds import FRAMEWORKS

MINIMUM = 0.25  # seconds that one measurement takes at least


def main(name, size, batch, threads, methods):
    """Prepares the steps, then measures one for each line on standard input."""
    framework = FRAMEWORKS[name]
    try:
        peer = importlib.import_module(f"experiments.measure.bench.{framework.module}")
        if framework.module == "torch_peer":
            peer.torch.set_num_threads(int(threads))
        else:
            from experiments.measure.bench.ours import set_threads

            set_threads(int(threads))
        steps = peer.steps(int(size), int(batch), methods.split(","), **framework.options)
    except ImportError as error:
        print(json.dumps({"skipped": str(error)}), flush=True)
        return
    if framework.name:
        steps = {(framework.name, *key[1:]): step for key, step in steps.items()}
    block = framework.module == "ours"  # several steps in one call, as training takes them
    repeats = {}
    for key, step in steps.items():
        for _ in range(2):  # a framework may compile in its first steps
            _seconds(step, 1, block)
        took = _seconds(step, 1, block)
        repeats[key] = max(1, round(MINIMUM / max(took, 1e-6)))
    print(json.dumps({"ready": [list(key) for key in steps]}), flush=True)
    keys = list(steps)
    for line in sys.stdin:
        key = keys[int(line)]
        print(json.dumps({"ms": 1000 * _seconds(steps[key], repeats[key], block) / repeats[key]}), flush=True)


def _seconds(step, repeats, block):
    started = time.perf_counter()
    if block:
        step(repeats)
    else:
        for _ in range(repeats):
            step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(*sys.argv[1:])
