"""Interleaved rounds of timing over several frameworks, each in a process of its own, one at work at a time."""

import json
import os
import random
import statistics
import subprocess
import sys
from typing import NamedTuple

from experiments.measure.bench import parity

PLAIN = ("reference", "none")  # the plain network


class Framework(NamedTuple):
    """A framework that a worker measures.

    Attributes:
      module: of this package, with `steps(size, batch, methods)`.
      onednn: value of $TF_ENABLE_ONEDNN_OPTS; None leaves TensorFlow's own default.
      name: of its implementation; None takes the module's.
      options: further arguments of `steps`.
    """

    module: str
    onednn: str | None = "1"
    name: str | None = None
    options: dict = {}


FRAMEWORKS = {
    "ours": Framework("ours"),
    "installed": Framework("ours", None, "installed"),
    "volumes": Framework("ours", options={"network": "kolarik"}),
    "torch": Framework("torch_peer"),
    "keras": Framework("keras_peer", None),
    "keras-onednn": Framework("keras_peer", "1", "keras-onednn"),
    "use": Framework("use"),
    "product": Framework("product"),
}


def environment(threads, onednn="1"):
    """The environment variables of a process that is measured."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    variables = os.environ | dict.fromkeys(names, str(threads)) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    variables.pop("TF_ENABLE_ONEDNN_OPTS", None)
    return variables if onednn is None else variables | {"TF_ENABLE_ONEDNN_OPTS": onednn}


def measure(size, batch, threads, frameworks, rounds, say, plain=PLAIN):
    """Measures the time of a step for some methods of each framework.

    Each round measures each step once, with the plain network between any two. The order is drawn anew for each round,
    so that a periodic disturbance does not always meet the same step. Before that, `parity` checks the peers.

    Args:
      frameworks: {a key of FRAMEWORKS: methods}.
      say: called with a line of progress.
      plain: (implementation, method) of the step that the others are divided by.

    Returns:
      (rows, skipped). A row is a dictionary: implementation, method, size, batch, threads, ms (median over rounds),
      ms_low and ms_high (quartiles), and ratio_to_none (median over rounds of the ratio to the mean of the plain step
      just before and just after). skipped: {framework: reason} of those that are missing.
    """
    turns, workers, skipped = {}, [], {}
    for name, methods in frameworks.items():
        say(f"{size}², batch {batch}, {threads} thread(s): building {name}")
        module = FRAMEWORKS[name].module
        answer = {"skipped": parity.refusal(module, methods)} if module in parity.PEERS else {}
        if not answer.get("skipped"):
            process = _start(name, size, batch, threads, methods)
            answer = _answer(process)
        if "ready" in answer:
            workers.append(process)
            turns |= {tuple(key): (process, i) for i, key in enumerate(answer["ready"])}
        else:
            skipped[name] = answer.get("skipped", "ended without a word")
    measured = []
    for n in range(rounds):
        say(f"{size}², batch {batch}, {threads} thread(s): round {n + 1} of {rounds}")
        measured.append(one_round(list(turns), lambda key: _ask(*turns[key]), plain))
    for process in workers:  # not asked to end: TensorFlow's input pipelines can wait for each other for ever then
        process.kill()
        process.wait()
    return summary(measured, size, batch, threads), skipped


def one_round(keys, ms, plain=PLAIN):
    """{key: (milliseconds, ratio to the plain network)} of one round; `ms(key)` measures a step once."""
    times, before = {}, ms(plain)
    random.shuffle(keys)
    for key in keys:
        one, after = ms(key), ms(plain)
        times[key] = one, 2 * one / (before + after)
        before = after
    return times


def _start(name, size, batch, threads, methods):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.measure.bench.worker", name, str(size), str(batch), str(threads),
         ",".join(methods)], env=environment(threads, FRAMEWORKS[name].onednn), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8")


def _ask(process, number):
    process.stdin.write(f"{number}\n")
    process.stdin.flush()
    return _answer(process)["ms"]


def _answer(process):
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    return {}


def summary(measured, size, batch, threads):
    """The rows that `measure` returns, from the results of `one_round`."""
    rows = []
    for key in measured[0]:
        values, ratios = zip(*(one[key] for one in measured), strict=True)
        low, ms, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        rows.append({"implementation": key[0], "method": key[1], **({"layout": key[2]} if len(key) > 2 else {}),
                     "size": size, "batch": batch, "threads": threads, "ms": ms, "ms_low": low, "ms_high": high,
                     "ratio_to_none": statistics.median(ratios)})
    return sorted(rows, key=lambda row: (row["implementation"], row["method"]))
