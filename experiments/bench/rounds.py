"""Interleaved rounds over several frameworks: each in a process of its own, one at work at a time."""

import json
import statistics
import subprocess
import sys


def measure(size, batch, threads, frameworks, rounds, say):
    """Milliseconds a step for everything that the frameworks offer.

    Args:
      frameworks: {'ours' | 'torch' | 'keras': methods}.
      say: called with a line of progress.

    Returns:
      a list of dictionaries (implementation, method, size, batch, threads, ms (median), ms_low, ms_high (quartiles),
      ratio_to_none: median over rounds of the ratio to the plain network, measured just before by the same process, or
      for another framework in the same round), and {framework: reason} for those that are missing.
    """
    workers, skipped = {}, {}
    for framework, methods in frameworks.items():
        say(f"{size}², batch {batch}, {threads} thread(s): building {framework}")
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.bench.worker", framework, str(size), str(batch), str(threads),
             ",".join(methods)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            encoding="utf-8")
        answer = _answer(process)
        if "ready" in answer:
            workers[framework] = process
        else:
            skipped[framework] = answer.get("skipped", "ended without a word")
    found = []
    for n in range(rounds):
        say(f"{size}², batch {batch}, {threads} thread(s): round {n + 1} of {rounds}")
        this = {}
        for process in workers.values():
            process.stdin.write("round\n")
            process.stdin.flush()
            this |= {tuple(of_it["key"]): of_it for of_it in _answer(process).get("round", [])}
        found.append(this)
    for process in workers.values():
        process.stdin.close()
        process.wait()
    return _summary(found, size, batch, threads), skipped


def _answer(process):
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    return {}


def _summary(found, size, batch, threads):
    rows = []
    for key in found[0]:
        values = [this[key]["ms"] for this in found]
        low, ms, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
        # Another process's steps are held against the plain network of the same round.
        ratios = [this[key]["ratio"] or this[key]["ms"] / this["reference", "none"]["ms"] for this in found]
        rows.append({"implementation": key[0], "method": key[1], **({"layout": key[2]} if len(key) > 2 else {}),
                     "size": size, "batch": batch, "threads": threads, "ms": ms, "ms_low": low, "ms_high": high,
                     "ratio_to_none": statistics.median(ratios)})
    return rows
