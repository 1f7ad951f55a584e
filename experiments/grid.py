"""Grids of runs: which are to be done, and doing them side by side, one process a run."""

import contextlib
import itertools
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.executors import EXECUTORS
from ilnrepro import checkpoint, dataset, files, runfile
from ilnrepro.augmentation import epoch_steps
from ilnrepro.errors import InputError
from ilnrepro.locking import locked
from ilnrepro.protocols import PROTOCOLS, VARIANTS, Configuration, in_full
from ilnrepro.slabs import starts


@dataclass(frozen=True)
class Job:
    """One run to be done: its configuration, the data set file, and how many steps it will take."""

    configuration: Configuration
    data: Path
    steps: int

    @property
    def command(self):
        """The command that does it."""
        return [sys.executable, "-m", "ilnrepro", *words(self.configuration, self.data)]


def words(configuration, data):
    """The words of the `ilnrepro` command that does a run, but for its results folder."""
    c, default = configuration, PROTOCOLS[configuration.protocol.name]
    found = ["run", "--data", str(data), "--method", c.method, "--fold", str(c.fold), "--rate",
             in_full(c.rate), "--seed", str(c.seed), "--protocol", c.protocol.name]
    for key in VARIANTS:
        value = getattr(c.protocol, key)
        if value != getattr(default, key):
            found.append(f"--{key.replace('_', '-')}={value}")  # with =, for -1e-05 alone looks like an option
    return found


def plan(data_files, methods, protocol, rates, seeds, folds=None):
    """All runs of a grid, in the order method, data set, fold, rate, seed.

    Args:
      data_files: data set files, one a structure.
      folds: fold numbers; None takes all of each data set.

    Raises:
      InputError: a data set is unsound, lacks a fold, or two have one structure.
    """
    sets = [(Path(path), dataset.read(path)) for path in data_files]
    structures = [data.structure for _, data in sets]
    if len(set(structures)) < len(structures):
        raise InputError(f"data sets: two of them show the structure {structures[0]}; give one a structure")
    for path, data in sets:
        if folds is not None and not set(folds) <= set(data.folds):
            raise InputError(f"{path}: folds: it has {data.folds}, not all of {sorted(folds)}; choose among them")
    jobs = []
    for method, (path, data) in itertools.product(methods, sets):
        for fold, rate, seed in itertools.product(folds or data.folds, rates, seeds):
            configuration = Configuration(path.stem, data.checksum, data.structure, method, fold, rate, seed, protocol)
            training_images = int(data.trained_on(fold, protocol.site).sum())
            if protocol.slab and data.images.ndim == 4:
                training_images *= len(starts(data.images.shape[1], protocol.slab))
            jobs.append(Job(configuration, path, protocol.epochs * epoch_steps(
                training_images, len(configuration.angles), protocol.batch, protocol.steps_per_epoch)))
    return jobs


def run(jobs, results, executor="local", jobs_at_once=None, options=()):
    """Does the runs that are not done yet; a failed one does not stop the others.

    Args:
      results: the results folder.
      executor: a name of `executors.EXECUTORS`.
      jobs_at_once: runs side by side.
      options: further words for every `ilnrepro run` command.

    Returns:
      the failed jobs with their reasons, [(job, reason)].

    Raises:
      InputError: the results folder cannot be written, another grid is at work on it, or it holds a run of another
        configuration.
    """
    files.check_writable(results)
    with locked(results / ".grid.lock", "at work on a grid in this folder"):
        todo = remaining(jobs, results, options)
        for job in set(jobs) - set(todo):
            checkpoint.remove(results / job.configuration.path)  # of a run killed between its last two acts
        console = Console(stderr=True)
        console.print(f"{len(jobs)} runs, {len(jobs) - len(todo)} done before, {len(todo)} to do")
        if not todo:
            return []
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
                   TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
        failed = []
        with Progress(*columns, console=console, speed_estimate_period=600) as bar:
            everything = bar.add_task(f"runs 0/{len(todo)}", total=sum(job.steps for job in todo))
            ended = EXECUTORS[executor](todo, results, jobs_at_once, options,
                                        lambda steps: bar.advance(everything, steps))
            with contextlib.closing(ended):
                for finished, (job, reason) in enumerate(ended, 1):
                    bar.update(everything, description=f"runs {finished}/{len(todo)}")
                    if not console.is_terminal and finished < len(todo):  # a log shows the bar at its end alone
                        console.print(bar.get_renderable())
                    if reason:
                        failed.append((job, reason))
                        bar.console.print(f"failed: {job.configuration.path}: {reason}", markup=False)
        known = {job for job, _ in failed}
        return failed + [(job, "its run file is gone: was the results folder removed?") for job in jobs
                         if job not in known and not (results / job.configuration.path).exists()]


def remaining(jobs, results, options=()):
    """The jobs whose run files are not there yet, or where `options` ask for weights, have none."""
    weights = "--keep-weights" in options
    return [job for job in jobs if not runfile.is_done(results / job.configuration.path, job.configuration, weights)]


def estimate(jobs, results):
    """Seconds that jobs will take one after another, from the finished runs like them; None without any."""
    rates = []
    for path in results.glob("runs/*/*/*/*.h5"):
        try:
            run = runfile.read(path)
        except InputError:
            continue
        like = any(job.configuration.protocol == run.configuration.protocol
                   and job.configuration.dataset == run.configuration.dataset for job in jobs)
        if like:
            rates.append((run.timing["training"] + run.timing["test"]) / run.timing["steps"])
    return sum(job.steps for job in jobs) * statistics.median(rates) if rates else None
