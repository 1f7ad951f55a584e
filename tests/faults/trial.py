"""The bench on which faults are tried: tiny runs, the content of undisturbed ones, and the tally of what went wrong."""

import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.phantom import phantom
from ilnrepro.comparison import planning
from ilnrepro.errors import InputError
from ilnrepro.protocols import protocol
from ilnrepro.storage import dataset, hdf5, verification

FAULTS = {"lost": "runs lost", "repeated": "finished runs repeated", "wrong": "wrong results",
          "unnoticed": "damaged files unnoticed", "left over": "files left over"}
METHODS, RATE, STEPS = ("none", "in"), 0.3, 30
ALWAYS = ["--checkpoint-seconds", "0"]
KILL = 5  # seconds that a run takes, and so a kill, so that the bar's time left is about right


@dataclass
class Tally:
    """The counts of what was tried, and all faults with their circumstances."""

    kills: Counter = field(default_factory=Counter)
    damage: Counter = field(default_factory=Counter)
    harmless: Counter = field(default_factory=Counter)
    disk: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    faults: dict = field(default_factory=lambda: {kind: [] for kind in FAULTS})

    @property
    def counts(self):
        """The number of faults of each kind."""
        return {kind: len(stories) for kind, stories in self.faults.items()}


@dataclass
class Bench:
    """Where and against what faults are tried: a data set, its grid of runs, and each run's content and the mean of
    their seconds when left alone."""

    folder: Path
    data: Path
    jobs: list
    whole: dict
    seconds: float
    tally: Tally
    advance: callable

    def judge(self, job, results, story):
        """Compares a finished run with the undisturbed one; removes nothing."""
        path = results / job.configuration.path
        if not path.exists():
            self.tally.faults["lost"].append(f"{story}: {path.name} is not there")
        elif content(path) != self.whole[job]:
            self.tally.faults["wrong"].append(f"{story}: {path.name}")

    def leftovers(self, results, story):
        """Notes the files in a results folder that are not whole run files."""
        for kind, path, text in verification.problems(results):
            self.tally.faults["left over"].append(f"{story}: {kind}: {path.name}: {text}")


def prepare(folder, seeds, tally, advance):
    """Makes the data set and does each run once, undisturbed."""
    data = folder / "tiny.h5"
    dataset.write(data, phantom("LV", 32, 6, crop=0.5))
    short = protocol("quick", steps_per_epoch=STEPS)
    jobs = planning.plan([data], METHODS, short, [RATE], range(seeds), [1])
    results, workers = folder / "whole", 2
    began = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        for done in pool.map(lambda job: finish(job, results), jobs):
            if done.returncode:
                raise InputError(f"a run that nobody disturbed failed: {done.stderr.strip()}")
            advance(KILL)
    seconds = workers * (time.monotonic() - began) / len(jobs)
    whole = {job: content(results / job.configuration.path) for job in jobs}
    return Bench(folder, data, jobs, whole, seconds, tally, advance)


def content(path):
    """A checksum of the content that two identical runs have in common; None for a damaged file."""
    try:
        with hdf5.reading(path, "run") as file:
            return hdf5.checksum(file)
    except InputError:
        return None


def words(job, results):
    """The command of a run that saves a checkpoint after each block."""
    return [*job.command, "--results", str(results), *ALWAYS, "--progress", "lines"]


def finish(job, results):
    """Gives the run's command and waits for its end."""
    return subprocess.run(words(job, results), capture_output=True, encoding="utf-8")


def same(bench, path, before, story):
    """Notes a finished run that was done again; returns its file's `identity`, or None while it is not finished."""
    now = identity(path)
    if before is not None and now != before:
        bench.tally.faults["repeated"].append(f"{story}: {path.name}")
    return now


def identity(path):
    """(inode, time of modification) of a file, which differ after it is written again; None without a file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def start_grid(bench, results, data=None):
    """Starts the grid of all runs by its command, in a process group of its own."""
    short = ["--protocol", "quick", "--steps-per-epoch", str(STEPS), "--rates", str(RATE), "--folds", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "experiments", "run", "--data", str(data or bench.data), "--results", str(results),
         "--methods", *METHODS, "--seeds", *sorted({str(job.configuration.seed) for job in bench.jobs}), "--quiet",
         "--jobs", "2", *short],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True)
