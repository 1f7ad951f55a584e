"""Tiny data sets and short runs for the tests of the pipeline, by the real commands."""

import subprocess
import sys
from pathlib import Path

from ilnrepro import hdf5

ROOT = Path(__file__).parents[1]
SHORT = ["--protocol", "quick", "--steps-per-epoch", "3", "--epochs", "2"]


def command(*words, cwd=None, timeout=300):
    """Runs `python -m words...`; returns the finished process with its output as text."""
    return subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, encoding="utf-8",
                          timeout=timeout, cwd=cwd, env=environment())


def environment():
    import os

    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "COLUMNS": "200"}


def phantom(folder, structure="LV", size=32, subjects=6):
    """A phantom data set file made by the real command."""
    path = Path(folder) / f"tiny-{structure.lower()}.h5"
    done = command("data_prep", "phantom", "--structure", structure, "--size", size, "--subjects", subjects,
                   "--crop", 0.5, "--output", path)
    assert done.returncode == 0, done.stderr
    return path


def run(data, results, *words):
    """One short run by the real command; returns the finished process."""
    return command("ilnrepro", "run", "--data", data, "--results", results, *SHORT, *words)


def content(path):
    """A checksum of all that must be the same for two identical runs."""
    import h5py

    with h5py.File(path) as file:
        return hdf5.checksum(file)
