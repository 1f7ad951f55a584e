"""The benchmark's part on whole runs: training from a file against the bare step, one run against two side by side."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from experiments.measure.bench.ours import set_threads
from ilnrepro import tf
from ilnrepro.ops.augmentation import batches, epoch_order, prepare
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.storage import dataset
from ilnrepro.training.step import Training


def measure(size=256, method="iln", rounds=7, steps=10):
    """Images a second of the bare step, of training from a file, and of two runs side by side.

    Returns:
      {'bare', 'training' (one thread, in turns in one process), 'training_over_bare', 'one_run_two_threads',
      'two_runs_one_thread', 'side_by_side_gain'}.
    """
    from data_prep.phantom import phantom

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phantom.h5"
        dataset.write(path, phantom("LV", size, 6))
        bare, training = _run(path, method, 1, rounds, steps)
        _, one_run = _run(path, method, 2, rounds, steps)
        pair = [subprocess.Popen(_command(path, method, 1, rounds, steps), stdout=subprocess.PIPE, encoding="utf-8")
                for _ in range(2)]
        two_runs = sum(float(process.communicate()[0].split()[-1]) for process in pair)
    return {"size": size, "method": method, "bare": bare, "training": training, "training_over_bare": training / bare,
            "one_run_two_threads": one_run, "two_runs_one_thread": two_runs, "side_by_side_gain": two_runs / one_run}


def _command(path, method, threads, rounds, steps):
    return [sys.executable, "-m", __name__, *map(str, (path, method, threads, rounds, steps))]


def _run(*arguments):
    done = subprocess.run(_command(*arguments), capture_output=True, encoding="utf-8", check=True)
    return tuple(float(word) for word in done.stdout.split()[-2:])


def _rates(path, method, threads, rounds, steps):
    """(bare, training) images a second, medians over rounds in which the two take turns."""
    set_threads(threads)
    data = dataset.read(path)
    configuration = Configuration("phantom", data.checksum, "LV", method, 1, 0.1, 0, protocol("paper", threads=threads))
    images, masks = prepare(data.images, data.masks)
    training = Training(configuration)
    index, angle = epoch_order(len(images), len(configuration.angles), 1, 0, 0)
    from_file = iter(batches(images, masks, index, np.deg2rad(configuration.angles)[angle]))
    first = tuple(tf.constant(a) for a in next(iter(batches(images, masks, index, np.zeros_like(angle, float)))))
    constant = iter(tf.data.Dataset.from_tensors(first).repeat())
    times = {"bare": [], "training": []}
    for n in range(rounds + 1):
        for name, source in (("bare", constant), ("training", from_file)):
            started = time.perf_counter()
            training.block(source, tf.constant(1e-3), tf.constant(steps)).numpy()
            if n:  # the first round traces and warms up
                times[name].append((time.perf_counter() - started) / steps)
    return [1 / np.median(times[name]) for name in ("bare", "training")]


if __name__ == "__main__":
    print(*_rates(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
