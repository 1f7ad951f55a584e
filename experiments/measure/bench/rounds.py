"""Interleaved rounds over several frameworks: each in a process of its own, one at work at a time."""

import json
import random
import statistics
import subprocess
import sys

PLAIN = ("reference", "none")  # the plain network


def measure(size, batch, threads, frameworks, rounds, say):
    """Milliseconds a step for everything that the frameworks offer.

    In every round everything is measured once, in an order drawn anew so that a disturbance does not always meet the
    same, and the plain network between any two.

    Args:
      frameworks: {'ours' | 'torch' | 'keras': methods}.
      say: called with a line of progress.

    Returns:
      a list of dictionaries (implementation, method, size, batch, threads, ms (median), ms_low, ms_high (quartiles),
      ratio_to_none: median over rounds of the ratio to the plain network, the mean of just before and just after), and
      {framework: reason} for those that are missing.
    """
    turns, workers, skipped = {}, [], {}
    for framework, methods in frameworks.items():
        say(f"{size}², batch {batch}, {threads} thread(s): building {framework}")
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.measure.bench.worker", framework, str(size), str(batch), str(threads),
             ",".join(methods)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            encoding="utf-8")
        answer = _answer(process)
        if "ready" in answer:
            workers.append(process)
            turns |= {tuple(key): (process, i) for i, key in enumerate(answer["ready"])}
        else:
            skipped[framework] = answer.get("skipped", "ended without a word")
    found = []
    for n in range(rounds):
        say(f"{size}², batch {batch}, {threads} thread(s): round {n + 1} of {rounds}")
        found.append(one_round(list(turns), lambda key: _ask(*turns[key])))
    for process in workers:
        process.stdin.close()
        process.wait()
    return summary(found, size, batch, threads), skipped


def one_round(keys, ms):
    """{key: (milliseconds, ratio to the plain network)}; `ms` measures a key once."""
    found, before = {}, ms(PLAIN)
    random.shuffle(keys)
    for key in keys:
        one, after = ms(key), ms(PLAIN)
        found[key] = one, 2 * one / (before + after)
        before = after
    return found


def _ask(process, number):
    process.stdin.write(f"{number}\n")
    process.stdin.flush()
    return _answer(process)["ms"]


def _answer(process):
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    return {}


def summary(found, size, batch, threads):
    """The rows of some rounds, see `measure`."""
    rows = []
    for key in found[0]:
        values, ratios = zip(*(this[key] for this in found), strict=True)
        low, ms, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        rows.append({"implementation": key[0], "method": key[1], **({"layout": key[2]} if len(key) > 2 else {}),
                     "size": size, "batch": batch, "threads": threads, "ms": ms, "ms_low": low, "ms_high": high,
                     "ratio_to_none": statistics.median(ratios)})
    return sorted(rows, key=lambda row: (row["implementation"], row["method"]))
