"""The paper's cost comparison (section 3.5): seconds for 200 training iterations, and parameters, ILN against IN."""

import json
import os
import platform
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from experiments.papers import published_cost
from ilnrepro import tf
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.comparison.sheet import write as write_sheet
from ilnrepro.errors import InputError
from ilnrepro.norms import FORMS, kernels
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.storage import files
from ilnrepro.training.step import Training

ITERATIONS = 200
METHODS = ("in", "iln")
_ROUND = 20  # iterations of one method before the next has its turn: interleaved, so that all meet the same machine


def measure(size=256, progress=True):
    """Times IN and ILN in both forms on random images, in turns. Returns what `write` needs, plain numbers and text."""
    trainings = {}
    for form in FORMS:
        for method in METHODS:
            configuration = Configuration("random", "", "LV", method, 1, 0.05, 0, protocol("paper", form=form))
            trainings[method, form] = Training(configuration)
    rng = np.random.default_rng(0)
    image = tf.constant(rng.random((1, size, size, 1)), tf.float32)
    mask = tf.constant(rng.integers(0, 2, (1, size, size)), tf.int32)
    ready = iter(tf.data.Dataset.from_tensors((image, mask)).repeat())
    for training in trainings.values():
        training.block(ready, tf.constant(0.0), tf.constant(2))  # traced and warmed up
    seconds = in_turns(
        {key: lambda training=training: training.block(ready, tf.constant(0.0), tf.constant(_ROUND)).numpy()
         for key, training in trainings.items()}, ITERATIONS // _ROUND,
        f"cost: {ITERATIONS} iterations of {len(trainings)} networks at {size}²" if progress else None)
    rows = [{"method": method, "form": form, "seconds_per_200_iterations": sum(seconds[method, form]),
             "rounds": seconds[method, form],
             "parameters": sum(int(tf.size(v)) for v in training.trainable)}
            for (method, form), training in trainings.items()]
    return {"rows": rows, "size": size, "batch": 1, **device()}


def in_turns(works, rounds, title):
    """Seconds of each of some works in each round, taken in turns, so that all meet the same machine.

    Args:
      works: functions by name.
      title: of the progress bar; None shows none.

    Returns:
      {name: [seconds, one a round]}.
    """
    seconds = {name: [] for name in works}
    with Progress(console=Console(stderr=True), disable=title is None) as bar:
        task = bar.add_task(title or "", total=rounds * len(works))
        for _ in range(rounds):
            for name, work in works.items():
                started = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - started)
                bar.advance(task)
    return seconds


def device():
    """What the measurement ran on, in words and numbers."""
    gpus = tf.config.list_physical_devices("GPU")
    return {"threads": tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
            "kernels": kernels.chosen(),
            "device": "GPU" if gpus else f"CPU ({platform.machine()}, {os.cpu_count()} cores)",
            "tensorflow": tf.__version__}


def measurement(path):
    """The measurement that a file holds; None where there is none.

    Raises:
      InputError: it is not what was written.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it, and measure again") from error


def _with_paper(measured):
    """Rows with ratios to IN, and the paper's."""
    paper = published_cost()
    rows = []
    for row in measured["rows"]:
        other = next(r for r in measured["rows"] if r["form"] == row["form"] and r["method"] == "in")
        kept = {key: value for key, value in row.items() if key != "rounds"}
        rows.append({**kept, "ratio_to_in": row["seconds_per_200_iterations"] / other["seconds_per_200_iterations"],
                     "parameters_beyond_in": row["parameters"] - other["parameters"]})
    for name in ("IN", "ILN"):
        seconds = paper[name]["seconds"]
        rows.append({"method": name.lower(), "form": "published", "seconds_per_200_iterations": seconds,
                     "parameters": None, "ratio_to_in": seconds / paper["IN"]["seconds"],
                     "parameters_beyond_in": paper[name]["beyond_in"]})
    return rows


def caption(measured):
    """What the table shows."""
    return (f"Cost: seconds for {ITERATIONS} training iterations and parameter count, ILN against IN, in both forms; "
            f"{measured['size']}×{measured['size']} images, batch {measured['batch']}, {measured['device']}, "
            f"{measured['threads']} threads, {measured['kernels']} kernels, TensorFlow {measured['tensorflow']}. "
            "'published' is the paper's, on an Nvidia Titan Xp with a batch size that it does not state: only the "
            "ratios compare.")


def build(measured):
    """(`Sheet`, tidy rows) of a measurement."""
    rows = _with_paper(measured)
    body = [[row["method"].upper(), row["form"], f"{row['seconds_per_200_iterations']:.1f}",
             f"{row['ratio_to_in']:.3f}",
             "" if row["parameters"] is None else f"{row['parameters']:,}", str(row["parameters_beyond_in"])]
            for row in rows]
    headings = ["Method", "form", "seconds for 200 iterations", "ratio to IN", "parameters", "beyond IN"]
    return Sheet("Cost (only the ratios compare with the paper's)", caption(measured), headings, body), rows


def write(measured, results):
    """Writes tables/cost.{md,csv,tex} and the measurement, cost.json, below `results`; returns a screen table."""
    results = Path(results)
    files.write_json(results / "cost.json", measured)
    table, rows = build(measured)
    write_sheet(results / "tables", "cost", table, rows)
    return table.rich()
