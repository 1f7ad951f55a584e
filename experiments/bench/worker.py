"""One framework in a process of its own, taking its turn when told: `worker FRAMEWORK SIZE BATCH THREADS METHODS`.

Every line on standard input asks for one round; the answer is one line of JSON: for each (implementation, method, ...)
milliseconds a step, and over the plain network, measured just before, where this process has it. Between rounds the
process sleeps, so that several frameworks can take turns.
"""

import json
import random
import sys
import time

LEAST = 0.25  # seconds that one measurement takes at least
PLAIN = ("reference", "none")  # the plain network


def main(framework, size, batch, threads, methods):
    """Makes the steps, then measures a round for each line on standard input."""
    methods = methods.split(",")
    if framework == "ours":
        from experiments.bench import ours as peer

        peer.set_threads(int(threads))
    elif framework == "torch":
        import torch

        from experiments.bench import torch_peer as peer

        torch.set_num_threads(int(threads))
    else:
        from experiments.bench import keras_peer as peer
        from experiments.bench.ours import set_threads

        set_threads(int(threads))
    try:
        steps = peer.steps(int(size), int(batch), methods)
    except ImportError as error:
        print(json.dumps({"skipped": str(error)}), flush=True)
        return
    print(json.dumps({"ready": [list(key) for key in steps]}), flush=True)
    block = framework == "ours"  # several steps in one call, as training takes them
    repeats = {}
    for key, step in steps.items():
        for _ in range(2):  # a framework may compile in its first steps
            _seconds(step, 1, block)
        took = _seconds(step, 1, block)
        repeats[key] = max(1, round(LEAST / max(took, 1e-6)))
    keys = list(steps)
    for _ in sys.stdin:
        random.shuffle(keys)  # so that a moment's disturbance does not always meet the same
        found = []
        for key in keys:
            before, ms = (1000 * _seconds(steps[k], repeats[k], block) / repeats[k] if k in steps else None
                          for k in (PLAIN, key))
            found.append({"key": key, "ms": ms, "ratio": ms / before if before else None})
        print(json.dumps({"round": found}), flush=True)


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
