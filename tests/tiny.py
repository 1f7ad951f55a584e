"""Tiny data sets and short runs for the tests of the pipeline, by the real commands."""

import contextlib
import functools
import importlib
import io
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import pytest
import tensorflow as tf

from ilnrepro import console
from ilnrepro.comparison import executors
from ilnrepro.norms import fused, kernels
from ilnrepro.storage import dataset, hdf5
from ilnrepro.training import loop
from ilnrepro.training import process as training_process

ROOT = Path(__file__).parents[1]
_RULE = fused._compiled.__wrapped__
_NEW_TRAINING, _TRACED = loop.Training, {}
SHORT = ["--protocol", "tiny", "--epsilon", "1e-4"]  # a variant, so that paths and captions have one to tell


def command(*words):
    """Runs `python -m words...` in this process, which has TensorFlow loaded.

    Returns the finished process with its output as text, as if it had been one.
    """
    main = importlib.import_module(f"{words[0]}.__main__").main
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings(), \
            mock.patch.dict(os.environ, environment()), _training_here(), pytest.raises(SystemExit) as ending:
        console.command(lambda: main([str(word) for word in words[1:]]))
    said = []
    for stream in (out, err):
        stream.flush()
        said.append(stream.buffer.getvalue().decode())
    return subprocess.CompletedProcess(words, ending.value.code or 0, *said)


@contextlib.contextmanager
def _training_here():
    """Runs and grids train in this process, with its threads, and no rule waits for the compiler."""
    handlers = {number: signal.getsignal(number) for number in console.stopping_signals()}
    with mock.patch.object(training_process, "set_up", lambda run: kernels.use(run.protocol.kernels)), \
            mock.patch.object(fused, "_compiled", uncompiled), mock.patch.object(loop, "Training", _traced_once), \
            mock.patch.dict(executors.EXECUTORS, {"local": _here}):
        yield
    kernels.use("auto")
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _traced_once(configuration):
    """A `Training` at its start, whose graphs are those of an earlier one where only seed, rate or data differ."""
    fresh = _NEW_TRAINING(configuration)
    key = configuration.method, configuration.protocol, kernels.in_use()
    kept = _TRACED.setdefault(key, fresh)
    if kept is not fresh:
        kept.restore(fresh.state())
    return kept


@functools.cache
def uncompiled(*arguments):
    """`fused._compiled`, its functions left to TensorFlow."""
    def plain(function, **_):
        return graph(function, autograph=False)

    graph = tf.function
    with mock.patch.object(tf, "function", plain):
        return _RULE(*arguments)


def _here(jobs, results, _, options, advance):
    """An executor that does one run after the other in this process."""
    for job in jobs:
        done = command(*job.command[2:], "--results", results, *options)
        advance(job.steps)
        yield job, executors._reason(done.returncode, done.stderr.splitlines()) if done.returncode else None


def process(*words, cwd=None, timeout=300):
    """Runs `python -m words...` in a process of its own; returns the finished process with its output as text."""
    return subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, encoding="utf-8",
                          timeout=timeout, cwd=cwd, env=environment())


def environment():
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "COLUMNS": "200"}


def phantom(folder, structure="LV", size=32, subjects=3):
    """A phantom data set file made by the real command."""
    path = Path(folder) / f"tiny-{structure.lower()}.h5"
    done = command("data_prep", "phantom", "--structure", structure, "--size", size, "--subjects", subjects,
                   "--crop", 0.5, "--output", path)
    assert done.returncode == 0, done.stderr
    return path


def discs(folder):
    """A data set file of bright discs, that any network learns in a few steps however its sums are rounded."""
    rng, n = np.random.default_rng(0), 24
    rows, columns = np.mgrid[:32, :32]
    centres, radii = rng.uniform(13, 19, [n, 2]), rng.uniform(8, 12, n)
    masks = np.array([(rows - y) ** 2 + (columns - x) ** 2 < r**2 for (y, x), r in zip(centres, radii, strict=True)])
    images = (100 * masks + rng.integers(20, 120, masks.shape)).astype(np.uint8)
    path = Path(folder) / "discs.h5"
    dataset.write(path, dataset.DataSet(
        images, masks.astype(np.uint8), np.repeat(["a", "b", "c"], 8), np.array([f"disc {i}" for i in range(n)]),
        np.repeat([1, 2, 3], 8), "Discs", "LV", "", "", "", True))
    return path


def run(data, results, *words, by=command):
    """One short run by the real command; returns the finished process."""
    return by("ilnrepro", "run", "--data", data, "--results", results, *SHORT, *words)


def content(path):
    """A checksum of the content that two identical runs have in common."""
    with h5py.File(path) as file:
        return hdf5.checksum(file)
